"""Network namespaces without a name: the kernel takes them away when the last process that holds them is gone."""

import ctypes
import errno
import functools
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from emulator.errors import UsageError
from emulator.parent import LOST, signalled_at_our_end

__all__ = ["Namespace", "enter_in_child", "entered", "namespace_at", "new_namespace"]

CLONE_NEWNET = 0x4000_0000
OF_THIS_THREAD = "/proc/thread-self/ns/net"


class Namespace:
    """A network namespace, held open by a descriptor. With the last descriptor and the last process in it, it goes."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def path(self) -> str:
        """Where other programs find it while this process lives: ``nsenter --net=PATH``."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it. May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_namespace() -> Namespace:
    """A new, empty namespace: it has a loopback interface that is down. UsageError without the right to make one."""
    with ThreadPoolExecutor(1) as apart:  # a thread that has left its namespace is good for nothing else
        return apart.submit(_made).result()


def namespace_at(path: str | os.PathLike[str]) -> Namespace:
    """The namespace behind a file: ``/run/netns/NAME``, ``/proc/PID/ns/net``, or `Namespace.path` of another process.

    UsageError: it cannot be opened, or is no network namespace.
    """
    try:
        held = Namespace(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        raise UsageError(f"network namespace {os.fspath(path)}: to enter it takes root") from None
    except OSError as error:
        raise UsageError(f"network namespace {os.fspath(path)}: {error.strerror}") from None
    try:
        with entered(held):
            pass
    except UsageError as error:
        held.close()
        raise UsageError(f"{os.fspath(path)}: {error}") from None
    return held


@contextmanager
def entered(namespace: Namespace | None) -> Iterator[None]:
    """Sockets that are made inside belong to `namespace`, for good; None changes nothing. UsageError.

    It is this thread that goes there and comes back, so do not await inside: other tasks would come along.
    """
    if namespace is None:
        yield
        return
    back = os.open(OF_THIS_THREAD, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", namespace.fd, CLONE_NEWNET, doing="enter the network namespace")
        try:
            yield
        finally:
            _call("setns", back, CLONE_NEWNET, doing="come back from the network namespace")
    finally:
        os.close(back)


def enter_in_child(namespace: Namespace | None) -> Callable[[], None]:
    """What a child process does before its program starts (``preexec_fn``): go there, and die when we die.

    With the limits of `signalled_at_our_end`, so have servers keep their user.
    """
    libc, die_with_us = _libc(), signalled_at_our_end(signal.SIGKILL)

    def enter() -> None:
        if namespace is not None and libc.setns(namespace.fd, CLONE_NEWNET):
            os._exit(LOST)
        die_with_us()

    return enter


def _made() -> Namespace:
    _call("unshare", CLONE_NEWNET, doing="make a network namespace")
    return Namespace(os.open(OF_THIS_THREAD, os.O_RDONLY | os.O_CLOEXEC))


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int, doing: str) -> None:
    """A system call of Linux. UsageError in words."""
    try:
        function = getattr(_libc(), name)
    except AttributeError:
        raise UsageError(f"cannot {doing}: that takes Linux") from None
    if function(*arguments) == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EPERM:
        raise UsageError(f"cannot {doing}: that takes root (CAP_SYS_ADMIN)")
    raise UsageError(f"cannot {doing}: {os.strerror(number)}")
