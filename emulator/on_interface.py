"""A charger on a network interface of this machine, in a network namespace or not."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from emulator.clock import system_utc
from emulator.env import Spec
from emulator.errors import UsageError
from emulator.local import FACTORY, Mode
from emulator.net.capture import Capture
from emulator.net.linux import LinuxHost
from emulator.net.namespace import namespace_at


@dataclass(frozen=True, slots=True)
class InterfaceAt:
    """An Ethernet interface that the charger is to have for itself."""

    name: str
    namespace: Path | None = None
    """The file of a network namespace (``/run/netns/NAME``, ``/proc/PID/ns/net``); None: the one that we are in."""


def interface_from(name: str | None, namespace: Path | None) -> InterfaceAt | None:
    """Read ``--interface NAME --netns PATH``; None: the charger is on no interface. UsageError."""
    if name is None:
        if namespace is not None:
            raise UsageError(f"--netns {namespace}: is of no use without --interface")
        return None
    return InterfaceAt(name, namespace)


@contextmanager
def charger_host(at: InterfaceAt, serial: str, capture: Capture | None = None) -> Iterator[LinuxHost]:
    """The charger's host at the interface; in the end the interface is as it was. UsageError: see `LinuxHost`.

    `capture` has every frame there.
    """
    with ExitStack() as stack:
        namespace = None if at.namespace is None else stack.enter_context(namespace_at(at.namespace))
        if capture is not None:
            capture.sniff(at.name, system_utc, namespace=namespace, name=serial)
        yield stack.enter_context(closing(LinuxHost(at.name, name=serial, namespace=namespace)))


def cabled(spec: Spec) -> Spec:
    """The same charger, set by its installer for the cable that it hangs on."""
    return replace(spec, local=FACTORY.with_changes({"mode": Mode.ETHERNET}))
