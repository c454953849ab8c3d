"""A DHCP server that is asked without a network: by hand-made messages of numbered clients."""

from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from cloud_stub.site.dhcp import DhcpServer
from cloud_stub.site.dhcp_pool import Scope
from emulator.wire.address import UNSPECIFIED, Address
from emulator.wire.dhcp import DhcpMessage, MessageType, decode, encode

SERVER = "192.168.40.1"
ROGUE = "192.168.66.1"
LEASE_S = 3600


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def scope(*, first: int = 100, last: int = 102, **changes: Any) -> Scope:
    settings: dict[str, Any] = {
        "network": "192.168.40.0/24",
        "server": SERVER,
        "pool": (f"192.168.40.{first}", f"192.168.40.{last}"),
        "router": SERVER,
        "dns": ["192.168.40.53"],
        "lease_s": LEASE_S,
    }
    return Scope(**settings | changes)


def server(clock: Clock, **changes: Any) -> DhcpServer:
    return DhcpServer(
        scope(**changes),
        renumbered=scope(first=200, last=202),
        rogue=Scope(
            network="192.168.66.0/24",
            server=ROGUE,
            pool=("192.168.66.10", "192.168.66.19"),
            router="192.168.66.2",
            dns=("192.168.66.3",),
        ),
        relayed=[Scope(network="10.9.0.0/24", server=SERVER, pool=("10.9.0.10", "10.9.0.11"), router="10.9.0.1")],
        rng=Random(1),
        utc=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        now=clock,
    )


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def from_link(number: int) -> Address:
    return Address(UNSPECIFIED, 68, link=mac(number))


def message(kind: MessageType, number: int, **changes: object) -> DhcpMessage:
    plain = DhcpMessage(type=kind, xid=number, mac=mac(number), broadcast=True, hostname=f"ZPR{number:06}")
    return replace(plain, **changes)  # type: ignore[arg-type]


def ask(dhcp: DhcpServer, kind: MessageType, number: int, **changes: object) -> DhcpMessage | None:
    replies = dhcp.answer(encode(message(kind, number, **changes)), from_link(number))
    return decode(replies[0].data) if replies else None


def discover(dhcp: DhcpServer, number: int, **changes: object) -> str | None:
    """The address that the server offers."""
    offer = ask(dhcp, MessageType.DISCOVER, number, **changes)
    assert offer is None or offer.type is MessageType.OFFER
    return None if offer is None else offer.your_address


def request(dhcp: DhcpServer, number: int, address: str, **changes: object) -> MessageType | None:
    """How the server answers a request for an address that it offered."""
    reply = ask(dhcp, MessageType.REQUEST, number, **({"requested": address, "server": SERVER} | changes))
    return None if reply is None else reply.type


def renew(dhcp: DhcpServer, number: int, address: str) -> MessageType | None:
    reply = ask(dhcp, MessageType.REQUEST, number, client_address=address, broadcast=False)
    return None if reply is None else reply.type


def take(dhcp: DhcpServer, number: int) -> str:
    """A lease by offer and request."""
    address = discover(dhcp, number)
    assert address is not None
    assert request(dhcp, number, address) is MessageType.ACK
    return address
