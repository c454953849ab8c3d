import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.dhcp import OFFER_HOLD_S, DhcpServer, Exhausted, Nak, NoDns, Silence
from cloud_stub.service import Reply
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.machines import dhcp as machine
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import BROADCAST, UNSPECIFIED, Address
from emulator.wire.dhcp import DhcpMessage, MessageType, decode, encode, lease_from

SERVER = "192.168.40.1"
LEASE_S = 3600


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def server(clock: Clock, *, first: int = 100, last: int = 102, **changes: object) -> DhcpServer:
    settings: dict[str, object] = {
        "address": SERVER,
        "prefix_length": 24,
        "pool_first": f"192.168.40.{first}",
        "pool_last": f"192.168.40.{last}",
        "router": SERVER,
        "dns": ["192.168.40.53"],
        "lease_s": LEASE_S,
    }
    settings |= changes
    return DhcpServer(rng=Random(1), utc=lambda: datetime(2026, 1, 1, tzinfo=UTC), now=clock, **settings)  # type: ignore[arg-type]


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


def test_an_offer_and_an_ack_say_all_that_a_charger_needs() -> None:
    dhcp = server(Clock())
    (offer,) = dhcp.answer(encode(message(MessageType.DISCOVER, 7)), from_link(7))
    assert offer.to == Address(BROADCAST, 68, link=mac(7)), "an address that the client has not got yet hears nothing"
    assert decode(offer.data).xid == 7
    ack = ask(dhcp, MessageType.REQUEST, 7, requested="192.168.40.100", server=SERVER)
    assert ack is not None
    lease = lease_from(ack)
    assert (lease.address, lease.prefix_length, lease.server) == ("192.168.40.100", 24, SERVER)
    assert (lease.router, lease.dns, lease.lease_s) == (SERVER, ("192.168.40.53",), LEASE_S)
    assert dhcp.leases() == {mac(7): "192.168.40.100"}


def test_a_renewal_is_answered_to_the_address() -> None:
    dhcp = server(Clock())
    address = take(dhcp, 1)
    renewal = encode(message(MessageType.REQUEST, 1, client_address=address, broadcast=False))
    (reply,) = dhcp.answer(renewal, Address(address, 68, link=mac(1)))
    assert reply.to == Address(address, 68, link=mac(1))
    assert decode(reply.data).type is MessageType.ACK


def test_every_client_gets_an_address_of_its_own_until_none_is_left() -> None:
    dhcp = server(Clock())
    assert {take(dhcp, number) for number in (1, 2, 3)} == {f"192.168.40.{host}" for host in (100, 101, 102)}
    assert discover(dhcp, 4) is None
    assert dhcp.history[-1].reply == "no address left"


def test_an_offer_is_held_for_a_while_only() -> None:
    clock = Clock()
    dhcp = server(clock, last=100)
    assert discover(dhcp, 1) == "192.168.40.100"
    assert discover(dhcp, 1) == "192.168.40.100", "the same client gets the same offer"
    assert discover(dhcp, 2) is None
    clock.s = OFFER_HOLD_S
    assert discover(dhcp, 2) == "192.168.40.100"
    assert request(dhcp, 1, "192.168.40.100") is MessageType.NAK


def test_a_lease_that_is_not_renewed_ends_and_one_that_is_does_not() -> None:
    clock = Clock()
    dhcp = server(clock, last=101)
    idle, kept = take(dhcp, 1), take(dhcp, 2)
    clock.s = LEASE_S / 2
    assert renew(dhcp, 2, kept) is MessageType.ACK
    clock.s = LEASE_S
    assert dhcp.leases() == {mac(2): kept}
    assert take(dhcp, 3) == idle
    assert renew(dhcp, 1, idle) is MessageType.NAK


def test_a_client_comes_back_to_its_former_address() -> None:
    clock = Clock()
    dhcp = server(clock)
    take(dhcp, 1)
    former = take(dhcp, 2)
    clock.s = LEASE_S * 2
    assert discover(dhcp, 2) == former


def test_a_wish_is_granted_when_the_address_is_free() -> None:
    dhcp = server(Clock())
    assert discover(dhcp, 1, requested="192.168.40.102") == "192.168.40.102"
    assert discover(dhcp, 2, requested="192.168.40.102") == "192.168.40.100"
    assert discover(dhcp, 3, requested="10.0.0.1") == "192.168.40.101"


@pytest.mark.parametrize("wanted", ["192.168.40.103", "192.168.40.1", "10.0.0.1", "0.0.0.0"])
def test_an_address_that_is_not_ours_to_give_is_refused(wanted: str) -> None:
    dhcp = server(Clock())
    replies = dhcp.answer(encode(message(MessageType.REQUEST, 1, requested=wanted)), from_link(1))
    assert [(decode(reply.data).type, reply.to.host) for reply in replies] == [(MessageType.NAK, BROADCAST)]


def test_a_remembered_address_is_granted_even_after_the_server_forgot_it() -> None:
    dhcp = server(Clock())
    assert request(dhcp, 1, "192.168.40.101", server=None) is MessageType.ACK
    assert request(dhcp, 2, "192.168.40.101", server=None) is MessageType.NAK


def test_the_address_of_another_client_is_refused() -> None:
    dhcp = server(Clock())
    address = take(dhcp, 1)
    assert renew(dhcp, 2, address) is MessageType.NAK
    assert request(dhcp, 2, address) is MessageType.NAK
    assert dhcp.leases() == {mac(1): address}


def test_a_client_that_asks_for_another_address_holds_one_only() -> None:
    dhcp = server(Clock())
    take(dhcp, 1)
    assert request(dhcp, 1, "192.168.40.102") is MessageType.ACK
    assert dhcp.leases() == {mac(1): "192.168.40.102"}
    assert {discover(dhcp, 2), discover(dhcp, 3)} == {"192.168.40.100", "192.168.40.101"}


def test_an_offer_that_the_client_leaves_for_another_server_is_free_again() -> None:
    dhcp = server(Clock(), last=100)
    discover(dhcp, 1)
    assert request(dhcp, 1, "10.0.0.5", server="10.0.0.1") is None
    assert discover(dhcp, 2) == "192.168.40.100"


def test_a_released_address_is_free_and_a_declined_one_is_not() -> None:
    clock = Clock()
    dhcp = server(clock, last=100)
    address = take(dhcp, 1)
    assert ask(dhcp, MessageType.RELEASE, 1, client_address=address) is None
    assert take(dhcp, 2) == address
    assert ask(dhcp, MessageType.DECLINE, 2, requested=address, server=SERVER) is None
    assert discover(dhcp, 3) is None
    clock.s = LEASE_S
    assert discover(dhcp, 3) == address


def test_server_and_router_are_never_lent() -> None:
    dhcp = server(Clock(), first=0, last=3, router="192.168.40.2")
    assert (discover(dhcp, 1), discover(dhcp, 2)) == ("192.168.40.3", None)


def test_a_pool_of_sixty_thousand_is_lent_to_the_last_address() -> None:
    clock = Clock()
    dhcp = server(clock, address="127.16.0.1", prefix_length=12, pool_first="127.16.0.2", pool_last="127.16.234.97")
    assert dhcp.pool.size == 60_000
    for round_ in range(2):
        clock.s = round_ * LEASE_S * 2.0
        assert len({dhcp.pool.offer(str(number), None, clock.s) for number in range(60_000)}) == 60_000
        assert dhcp.pool.offer("late", None, clock.s) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"first": 102, "last": 101},
        {"pool_first": "10.0.0.1"},
        {"pool_last": "192.168.41.1"},
        {"pool_first": "nowhere"},
        {"first": 1, "last": 1},
        {"prefix_length": 33},
        {"lease_s": 0},
        {"dns": ["nowhere"]},
        {"router": "nowhere"},
        {"address": "10.0.0.1", "prefix_length": 8, "pool_first": "10.0.0.2", "pool_last": "10.255.255.254"},
    ],
)
def test_a_pool_that_cannot_be_is_bad_usage(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="dhcp pool"):
        server(Clock(), **changes)  # type: ignore[arg-type]


def test_the_history_tells_who_asked_and_what_came() -> None:
    dhcp = server(Clock())
    take(dhcp, 1)
    assert [(one.request, one.reply) for one in dhcp.history] == [
        (f"DISCOVER {mac(1)}", "OFFER 192.168.40.100"),
        (f"REQUEST {mac(1)}", "ACK 192.168.40.100"),
    ]
    assert dhcp.history_json()[0]["data"] == {"hostname": "ZPR000001"}


def test_silence_strikes_the_named_charger_only() -> None:
    dhcp = server(Clock())
    undo = dhcp.inject(Silence(who="ZPR000001"))
    assert (discover(dhcp, 1), discover(dhcp, 2)) == (None, "192.168.40.100")
    assert dhcp.history[0].reply == "silence"
    undo()
    assert discover(dhcp, 1) == "192.168.40.101"


def test_the_server_can_forget_to_name_dns() -> None:
    dhcp = server(Clock())
    dhcp.inject(NoDns())
    offer = ask(dhcp, MessageType.DISCOVER, 1)
    assert offer is not None
    assert offer.dns == ()


def test_an_exhausted_pool_serves_old_clients_and_no_new_ones() -> None:
    clock = Clock()
    dhcp = server(clock)
    address = take(dhcp, 1)
    dhcp.inject(Exhausted())
    assert discover(dhcp, 2) is None
    assert request(dhcp, 2, "192.168.40.101", server=None) is MessageType.NAK
    assert renew(dhcp, 1, address) is MessageType.ACK


def test_the_server_can_refuse_every_request() -> None:
    dhcp = server(Clock())
    dhcp.inject(Nak(count=1))
    address = discover(dhcp, 1)
    assert address is not None
    assert request(dhcp, 1, address) is MessageType.NAK
    assert request(dhcp, 1, address) is MessageType.ACK


def test_every_fault_of_the_table_can_be_read_from_data() -> None:
    table = {fault.kind: fault for fault in DhcpServer.FAULTS}
    assert sorted(table) == ["dhcp.exhausted", "dhcp.nak", "dhcp.no_dns", "dhcp.silence"]
    for kind, fault in table.items():
        assert fault_from({"kind": kind}, table) == fault()


@given(st.binary(max_size=400))
def test_garbage_is_answered_with_silence(data: bytes) -> None:
    dhcp = server(Clock())
    assert dhcp.answer(data, from_link(1)) == []
    assert not dhcp.history


@given(st.sampled_from(MessageType), st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(str), st.booleans())
def test_any_client_message_is_handled(kind: MessageType, wanted: str, own: str, ours: bool) -> None:
    dhcp = server(Clock())
    data = encode(message(kind, 1, requested=wanted, client_address=own, server=SERVER if ours else None))
    assert len(dhcp.answer(data, from_link(1))) <= 1


def converse(client: machine.DhcpClient, dhcp: DhcpServer, clock: Clock, until: float) -> list[Effect]:
    """Let the real client and the server talk without loss; the client's results, in order."""
    results: list[Effect] = []
    pending = client.start(clock.s)
    while True:
        while pending:
            effect = pending.pop(0)
            if not isinstance(effect, Send):
                results.append(effect)
                continue
            sender = from_link(1) if client.lease is None else Address(client.lease.address, 68, link=mac(1))
            replies: list[Reply] = dhcp.answer(effect.data, sender)
            for reply in replies:
                pending += client.receive(reply.data, Address(SERVER, 67), clock.s)
        deadline = client.deadline()
        if deadline is None or deadline > until:
            return results
        clock.s = deadline
        pending = client.wake(clock.s)


def test_our_own_client_lives_a_day_on_one_address() -> None:
    clock = Clock()
    dhcp = server(clock)
    client = machine.DhcpClient(mac=mac(1), hostname="ZPR000001", timing=load_profile("pro").dhcp, rng=Random(1))
    results = converse(client, dhcp, clock, 86400.0)
    assert all(isinstance(result, machine.Bound) for result in results)
    assert len(results) == 1 + 48
    assert {result.lease.address for result in results if isinstance(result, machine.Bound)} == {"192.168.40.100"}


def test_our_own_client_survives_a_silent_day_in_between() -> None:
    clock = Clock()
    dhcp = server(clock)
    client = machine.DhcpClient(mac=mac(1), hostname="ZPR000001", timing=load_profile("pro").dhcp, rng=Random(1))
    converse(client, dhcp, clock, 100.0)
    dhcp.inject(Silence(for_s=86400.0))
    results = converse(client, dhcp, clock, clock.s + 90000.0)
    assert isinstance(results[-1], machine.Bound)


def test_a_server_that_is_never_started_can_be_stopped() -> None:
    asyncio.run(server(Clock()).stop())


def test_the_server_knows_who_has_an_address_by_host_name_or_else_by_mac() -> None:
    dhcp = server(Clock())
    assert dhcp.client_at("192.168.40.100") == "192.168.40.100"
    for number, hostname in ((1, "ZPR000001"), (2, None)):
        address = discover(dhcp, number, hostname=hostname)
        assert address is not None and dhcp.client_at(address) == address
        assert request(dhcp, number, address, hostname=hostname) is MessageType.ACK
        assert dhcp.client_at(address) == (hostname or mac(number))


def test_an_address_that_is_lent_again_is_the_new_client() -> None:
    dhcp = server(Clock(), first=100, last=100)
    for number in (1, 2):
        assert discover(dhcp, number) == "192.168.40.100"
        assert request(dhcp, number, "192.168.40.100") is MessageType.ACK
        assert dhcp.client_at("192.168.40.100") == f"ZPR{number:06}"
        ask(dhcp, MessageType.RELEASE, number, client_address="192.168.40.100")
