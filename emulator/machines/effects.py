"""What machines ask of the world, and the shape that drivers expect of them."""

from dataclasses import dataclass
from typing import Protocol

from emulator.wire.address import Address


@dataclass(frozen=True, slots=True)
class Send:
    """One datagram to put on the wire."""

    data: bytes
    to: Address


@dataclass(frozen=True, slots=True)
class Tried:
    """What one server did when it was asked: ``answered``, ``silent``, ``garbage``, ``servfail``, ``RATE`` ..."""

    server: Address
    what: str


class Effect(Protocol):
    """Any frozen value that a machine returns: `Send`, or a result that the machine's own module defines."""


class DatagramMachine(Protocol):
    """A pure protocol client over datagrams. `now` is monotonic seconds; results come back as effects."""

    def start(self, now: float) -> list[Effect]: ...

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]: ...

    def wake(self, now: float) -> list[Effect]: ...

    def deadline(self) -> float | None: ...
