import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.service import Reply
from cloud_stub.site.dhcp import DhcpServer
from cloud_stub.site.dhcp_faults import (
    Overload,
    Rogue,
    ShortLease,
    Silence,
)
from emulator.machines import dhcp as machine
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import BROADCAST, UNSPECIFIED, Address
from emulator.wire.dhcp import MessageType, decode, encode, lease_from
from tests.unit.cloud_stub.site.dhcp_site import (
    LEASE_S,
    SERVER,
    Clock,
    ask,
    discover,
    from_link,
    mac,
    message,
    renew,
    request,
    server,
    take,
)


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


def test_the_history_tells_who_asked_and_what_came() -> None:
    dhcp = server(Clock())
    take(dhcp, 1)
    assert [(one.request, one.reply) for one in dhcp.history] == [
        (f"DISCOVER {mac(1)}", "OFFER 192.168.40.100"),
        (f"REQUEST {mac(1)}", "ACK 192.168.40.100"),
    ]
    assert dhcp.history_json()[0]["data"] == {"hostname": "ZPR000001"}


def test_a_network_can_have_options_of_its_own() -> None:
    dhcp = server(Clock(), options={58: (90).to_bytes(4, "big"), 6: None})
    offer = ask(dhcp, MessageType.DISCOVER, 1)
    assert offer is not None and (offer.t1_s, offer.dns) == (90, ())


def by_relay(dhcp: DhcpServer, kind: MessageType, relay: str = "10.9.0.1", **changes: Any) -> list[Reply]:
    return dhcp.answer(encode(message(kind, 1, relay=relay, **changes)), Address(relay, 67))


def test_a_relay_gets_the_replies_and_its_network_an_address_of_its_own() -> None:
    dhcp = server(Clock())
    (reply,) = by_relay(dhcp, MessageType.DISCOVER)
    offer = decode(reply.data)
    assert reply.to == Address("10.9.0.1", 67)
    assert (offer.your_address, offer.relay, offer.prefix_length, offer.routers) == (
        "10.9.0.10",
        "10.9.0.1",
        24,
        ("10.9.0.1",),
    )
    (reply,) = by_relay(dhcp, MessageType.REQUEST, requested="10.9.0.10", server=SERVER)
    assert decode(reply.data).type is MessageType.ACK
    assert renew(dhcp, 1, "10.9.0.10") is MessageType.ACK, "renewals come straight"
    assert dhcp.leases() == {mac(1): "10.9.0.10"}


def test_a_nak_by_a_relay_is_broadcast_over_there() -> None:
    dhcp = server(Clock())
    (reply,) = by_relay(dhcp, MessageType.REQUEST, requested="192.168.40.100", broadcast=False)
    nak = decode(reply.data)
    assert (nak.type, nak.message, nak.broadcast, reply.to.host) == (MessageType.NAK, "wrong network", True, "10.9.0.1")


def test_a_relay_of_our_own_network_gets_from_the_pool_and_a_strange_one_nothing() -> None:
    dhcp = server(Clock())
    (reply,) = by_relay(dhcp, MessageType.DISCOVER, "192.168.40.9")
    assert (decode(reply.data).your_address, reply.to) == ("192.168.40.100", Address("192.168.40.9", 67))
    assert by_relay(dhcp, MessageType.DISCOVER, "172.16.0.1") == []
    assert dhcp.history[-1].reply == "no network for this relay"


def test_who_has_an_address_of_its_own_may_ask_what_else_it_has_to_know() -> None:
    dhcp = server(Clock())
    asked = encode(message(MessageType.INFORM, 1, client_address="192.168.40.50", broadcast=False))
    (reply,) = dhcp.answer(asked, Address("192.168.40.50", 68, link=mac(1)))
    ack = decode(reply.data)
    assert reply.to == Address("192.168.40.50", 68, link=mac(1))
    assert (ack.type, ack.your_address, ack.lease_s, ack.dns) == (
        MessageType.ACK,
        UNSPECIFIED,
        None,
        ("192.168.40.53",),
    )
    assert dhcp.leases() == {}


def test_nobody_gives_back_the_address_of_another() -> None:
    dhcp = server(Clock())
    address = take(dhcp, 1)
    take(dhcp, 2)
    ask(dhcp, MessageType.RELEASE, 2, client_address=address)
    ask(dhcp, MessageType.DECLINE, 2, requested=address)
    assert dhcp.history[-1].reply == "ignored: not the address of this client"
    assert set(dhcp.leases()) == {mac(1), mac(2)}


def test_a_client_identifier_comes_back() -> None:
    offer = ask(server(Clock()), MessageType.DISCOVER, 1, client_id=b"\x00ours")
    assert offer is not None and offer.client_id == b"\x00ours"


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
    dhcp.inject(Rogue())
    dhcp.inject(ShortLease(lease_s=0))
    dhcp.inject(Overload())
    assert len(dhcp.answer(data, from_link(1))) <= 2


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
