"""The port to the world: one machine's view of its network. Chargers and stub services both get a `Host`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from emulator.errors import NetError
from emulator.local import FACTORY, Local, Mode
from emulator.wire.address import Address

__all__ = ["Address", "Carrier", "Closer", "Datagrams", "Host", "Interface", "Receiver", "Stream"]

DATAGRAM_QUEUE_MAX = 256  # like a kernel socket buffer: what comes when it is full is dropped


class Datagrams(Protocol):
    """A bound UDP socket."""

    @property
    def local(self) -> Address: ...

    def send(self, data: bytes, to: Address) -> None:
        """Send one datagram. Never blocks and never raises for the network's sake: UDP may lose it."""

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for one datagram. Raises NetError(CLOSED) once closed."""

    def close(self) -> None: ...


class Receiver(Protocol):
    """Who gets the bytes of a `Stream`. All calls come from the event loop, never from inside `write`."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, error: NetError | None) -> None:
        """Called exactly once, last. None: the peer ended the connection in order, or we closed it."""

    def pause_writing(self) -> None:
        """The send buffer is over its high-water mark."""

    def resume_writing(self) -> None: ...


class Stream(Protocol):
    """One connected byte stream (TCP, or TLS over another Stream). Push-style: no task per connection."""

    @property
    def local(self) -> Address: ...

    @property
    def peer(self) -> Address: ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes accepted by `write` that have not left this host yet."""

    def attach(self, receiver: Receiver) -> None:
        """Set the receiver. Bytes (or an end) that arrived before are delivered soon after. May be called again."""

    def write(self, data: bytes) -> None:
        """Queue bytes. Ignored once the stream has ended."""

    def close(self) -> None:
        """Send what is queued, then end in order (FIN)."""

    def abort(self) -> None:
        """End now (RST); what is queued is lost."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Closer(Protocol):
    """A listening port."""

    @property
    def local(self) -> Address: ...

    def close(self) -> None:
        """Stop accepting. Streams already accepted live on."""


@dataclass(frozen=True, slots=True)
class Interface:
    """The address settings of a host, from a lease or fixed."""

    address: str
    prefix_length: int = 24
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class Carrier:
    """The link that is up."""

    mode: Mode
    signal_dbm: float | None = None
    """None where there is no radio."""
    detail: str = ""
    """Access point and channel, cell, or PLC gateway: for people, without secrets."""


WIRED = Carrier(Mode.ETHERNET)


class Host(Protocol):
    """One machine on a network: UDP, TCP out, TCP in. Errors are `NetError` and nothing else."""

    @property
    def name(self) -> str: ...

    @property
    def link_address(self) -> str:
        """The MAC address of the interface, ``02:...``."""

    @property
    def interface(self) -> Interface | None: ...

    @property
    def carrier(self) -> Carrier | None:
        """The link that is up; None while none is."""

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Bring the link of this kind up, with the installer's settings: associate, attach or find the gateway.

        NetError: one of the reasons of the link, ``no_carrier`` to ``plc_full``. A host that is a cable takes any mode;
        over LTE-M the operator hears its broadcasts, else the site.
        """

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Take the link down: every stream ends, the address is gone. `power_cycle` resets a modem that hangs."""

    def set_interface(self, interface: Interface | None) -> None:
        """Take an address, or give it up."""

    async def address_in_use(self, address: str) -> bool:
        """Whether another machine on the network of the link has this address (RFC 2131 section 4.4.1).

        Works without an address of one's own. Takes as long as one has to wait for an answer that may not come.
        """

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """Open a UDP socket; port 0 picks a free one. `broadcast` works without an address (DHCP)."""

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a TCP connection. NetError NO_ADDRESS, UNREACHABLE, REFUSED, TIMED_OUT or RESET."""

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept TCP connections; `serve` is called with each and attaches its receiver at once."""
