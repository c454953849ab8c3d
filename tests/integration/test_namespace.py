"""Network namespaces without a name: sockets keep theirs, children die with us, and nothing is left behind."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys

import pytest

from emulator.errors import UsageError
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, enter_in_child, entered, namespace_at, new_namespace
from tests.programs import Program, left_over
from tests.requirements import program

pytestmark = pytest.mark.needs("root", "nsenter")

WITHIN_S = 10.0


def interfaces(namespace: Namespace | None) -> list[str]:
    return ask_kernel(namespace, lambda kernel: [each.get("ifname") for each in kernel.get_links()])


def inode(namespace: Namespace) -> int:
    return os.fstat(namespace.fd).st_ino


def test_a_new_one_is_empty_and_we_stay_where_we_were() -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with new_namespace() as made:
        assert interfaces(made) == ["lo"]
        assert inode(made) != before == os.stat("/proc/thread-self/ns/net").st_ino


def test_a_socket_stays_in_the_namespace_that_it_was_made_in() -> None:
    with new_namespace() as one, new_namespace() as other:
        bound = []
        for namespace in (one, other):  # the same port, twice
            with entered(namespace):
                bound.append(socket.create_server(("", 8883)))
        assert [each.getsockname()[1] for each in bound] == [8883, 8883]
        for each in bound:
            each.close()


def test_an_error_inside_brings_us_back_all_the_same() -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with new_namespace() as made, pytest.raises(ZeroDivisionError), entered(made):
        1 / 0  # noqa: B018
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_the_kernel_may_be_asked_from_a_coroutine() -> None:
    async def ask() -> list[str]:
        with new_namespace() as made:
            return interfaces(made)

    assert asyncio.run(ask()) == ["lo"]


def test_others_find_it_by_its_path_for_as_long_as_it_is_held() -> None:
    with new_namespace() as made:
        path, number = made.path, inode(made)
        with namespace_at(path) as found:
            assert inode(found) == number
        entering = [program("nsenter"), f"--net={path}", sys.executable, "-c"]
        look = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
        assert int(subprocess.run([*entering, look], check=True, capture_output=True).stdout) == number
    with pytest.raises(UsageError, match="No such file"):
        namespace_at(path)


@pytest.mark.parametrize("wrong", ["/nonexistent", "/proc/self/ns/uts", __file__])
def test_what_is_no_network_namespace_is_named(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        namespace_at(wrong)


def test_a_child_is_born_in_it() -> None:
    with new_namespace() as made:
        look = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
        told = subprocess.run(
            [sys.executable, "-c", look], check=True, capture_output=True, preexec_fn=enter_in_child(made)
        )
        assert int(told.stdout) == inode(made)


PARENT = """
import subprocess, time
from emulator.net.namespace import enter_in_child, new_namespace
child = subprocess.Popen(["sleep", "600"], preexec_fn=enter_in_child(new_namespace()))
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_dies_with_us_even_if_we_are_killed() -> None:
    with Program(sys.executable, "-c", PARENT) as parent:
        child = int(parent.line())
        assert left_over([child]) == [child]
        watched = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([watched], [], [], WITHIN_S)
        os.close(watched)
        assert ended, "it lives on"


@pytest.mark.needs("setpriv")
def test_without_the_right_to_it_that_is_said() -> None:
    without = [program("setpriv"), "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-c"]
    make = "from emulator.net.namespace import new_namespace as n\ntry: n()\nexcept Exception as e: print(repr(e))"
    told = subprocess.run([*without, make], capture_output=True, text=True, check=True, timeout=WITHIN_S)
    assert told.stdout == "UsageError('cannot make a network namespace: that takes root (CAP_SYS_ADMIN)')\n", told
