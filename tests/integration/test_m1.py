"""M1: the charger never listens. What a whole running charger has open, by the kernel's own tables."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bench import BenchProgram
from tests.programs import CloudProgram, Program, python

LISTENING = "0A"  # TCP_LISTEN, net/tcp_states.h of Linux
SOCKET = re.compile(r"^socket:\[(\d+)\]$")

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the tables of Linux")


def sockets_of(pid: int) -> set[str]:
    """Inode of every socket that a process has open."""
    links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    return {found[1] for link in links if (found := SOCKET.match(link))}


def listening(pid: int) -> list[str]:
    """``address:port`` in hex, as the kernel writes them, of every TCP socket with which a process listens."""
    own = sockets_of(pid)
    rows = (row for name in ("tcp", "tcp6") for row in _rows(Path(f"/proc/{pid}/net/{name}")))
    return [local for local, state, inode in rows if state == LISTENING and inode in own]


def _rows(table: Path) -> Iterator[tuple[str, str, str]]:
    if table.exists():
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            yield columns[1], columns[3], columns[9]


def in_hex(url: str) -> str:
    """``http://127.0.0.1:8090`` as the kernel writes it."""
    host, _, port = url.removeprefix("http://").partition(":")
    return "".join(f"{int(byte):02X}" for byte in reversed(host.split("."))) + f":{int(port):04X}"


def test_a_charger_in_every_state_has_no_listening_socket() -> None:
    with CloudProgram("--bus", "local") as cloud:
        assert listening(cloud.pid), "this test sees listening sockets where there are some"
        command = python("emulator", "run", "--json", "--plug-in", "--control", cloud.ready["control"])
        with Program(*command) as charger:
            for event in ("device.power_on", "boot.address.passed", "device.online", '"state":"charging"'):
                charger.line_with(event)
                assert listening(charger.pid) == [], event
            assert sockets_of(charger.pid)
            charger.press_ctrl_c()
            assert charger.ended().status == 130


def test_with_a_bench_only_that_listens_and_not_on_the_chargers_address(tmp_path: Path) -> None:
    with (
        CloudProgram("--bus", "local") as cloud,
        BenchProgram(tmp_path, "--control", cloud.ready["control"]) as charger,
    ):
        charger.bench.wait_online(within_s=30)
        charger.bench.plug_in()
        charger.bench.wait_for("device.charging", state="charging", within_s=30)
        assert listening(charger.pid) == [in_hex(charger.ready["bench"])]
        address = charger.bench.snapshot()["link"]["address"]
        assert address not in charger.ready["bench"]
        charger.press_ctrl_c()
        assert charger.ended().status == 130
