"""Both ends of a conversation with the DHCP client: what a server says, and what the client does by itself."""

from dataclasses import replace
from random import Random

from emulator.machines.dhcp import Bound, DhcpClient
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.dhcp import DhcpMessage, MessageType, decode, encode

MAC = "02:5a:70:72:00:01"
SERVER = Address("192.168.40.1", 67)
OTHER = Address("192.168.40.2", 67)
LEASE_S = 3600


def client(seed: int = 1, *, remembered: str | None = None) -> DhcpClient:
    timing = load_profile("pro").dhcp
    return DhcpClient(mac=MAC, hostname="ZPR000001", timing=timing, rng=Random(seed), remembered=remembered)


def sent(effects: list[Effect]) -> DhcpMessage:
    (send,) = effects
    assert isinstance(send, Send)
    return decode(send.data)


def sent_to(effects: list[Effect]) -> Address:
    (send,) = effects
    assert isinstance(send, Send)
    return send.to


def reply(kind: MessageType, to: DhcpMessage, **changes: object) -> bytes:
    """What the server at 192.168.40.1 says to a message."""
    nak = kind is MessageType.NAK
    message = DhcpMessage(
        type=kind,
        xid=to.xid,
        mac=to.mac,
        your_address="0.0.0.0" if nak else "192.168.40.107",
        prefix_length=None if nak else 24,
        routers=() if nak else ("192.168.40.1",),
        dns=() if nak else ("192.168.40.1",),
        lease_s=None if nak else LEASE_S,
        server=SERVER.host,
    )
    return encode(replace(message, **changes))  # type: ignore[arg-type]


def bound(machine: DhcpClient, now: float = 0.0, **changes: object) -> Bound:
    """Take the machine through the four messages, at once."""
    discover = sent(machine.start(now))
    request = sent(machine.receive(reply(MessageType.OFFER, discover, **changes), SERVER, now))
    (result,) = machine.receive(reply(MessageType.ACK, request, **changes), SERVER, now)
    assert isinstance(result, Bound)
    return result


def due(machine: DhcpClient) -> float:
    deadline = machine.deadline()
    assert deadline is not None
    return deadline


def silence(machine: DhcpClient, now: float, until: float) -> list[tuple[float, Effect]]:
    """What the machine does by itself until then, in order."""
    seen: list[tuple[float, Effect]] = []
    while (deadline := machine.deadline()) is not None and deadline <= until:
        assert deadline > now, "a deadline must lie ahead"
        now = deadline
        seen += [(now, effect) for effect in machine.wake(now)]
    return seen
