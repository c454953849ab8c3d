import pytest

from cloud_stub.site.dhcp import DhcpServer
from cloud_stub.site.dhcp_faults import (
    Exhausted,
    Nak,
    NoDns,
    Option,
    Overload,
    Renumber,
    Rogue,
    ShortLease,
    ShortOption,
    Silence,
    Slow,
    WrongDns,
)
from cloud_stub.site.dhcp_pool import OFFER_HOLD_S
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.wire.dhcp import DhcpError, MessageType, decode, encode, lease_from
from tests.unit.cloud_stub.site.dhcp_site import (
    LEASE_S,
    ROGUE,
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


TABLE = {fault.kind: fault for fault in DhcpServer.FAULTS}


@pytest.mark.parametrize("kind", TABLE)
def test_every_fault_of_the_table_can_be_read_from_data_and_struck_and_healed(kind: str) -> None:
    clock = Clock()
    dhcp = server(clock)
    fault = fault_from({"kind": kind}, TABLE)
    assert fault == TABLE[kind]()
    undo = dhcp.inject(fault)
    data = encode(message(MessageType.DISCOVER, 1))
    assert len(dhcp.answer(data, from_link(1))) <= 2
    undo()
    clock.s = OFFER_HOLD_S
    (offer,) = dhcp.answer(data, from_link(1))
    lease = lease_from(decode(offer.data))
    assert (lease.server, lease.dns, lease.lease_s, offer.delay_s) == (SERVER, ("192.168.40.53",), LEASE_S, 0.0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "dhcp.option", "code": 53}, "code: .*what kind of message"),
        ({"kind": "dhcp.option", "code": 255}, "code: "),
        ({"kind": "dhcp.option", "hex": "abc"}, "hex: "),
        ({"kind": "dhcp.wrong_dns", "dns": "nowhere"}, "dns: "),
        ({"kind": "dhcp.short_lease", "lease_s": -1}, "lease_s: "),
        ({"kind": "dhcp.short_option", "option": 53}, "option: "),
        ({"kind": "dhcp.slow", "delay_s": 0}, "delay_s: "),
        ({"kind": "dhcp.silence", "to": "RELEASE"}, "to: "),
        ({"kind": "dhcp.rogue", "count": 1}, "count: "),
    ],
)
def test_a_fault_that_makes_no_sense_is_bad_usage(fault: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fault_from(fault, TABLE)


def test_the_server_can_offer_and_then_not_answer_the_request() -> None:
    dhcp = server(Clock())
    dhcp.inject(Silence(to="REQUEST"))
    address = discover(dhcp, 1)
    assert address is not None and request(dhcp, 1, address) is None


def test_the_server_can_name_a_dns_server_that_is_none() -> None:
    dhcp = server(Clock())
    dhcp.inject(WrongDns(dns="192.168.40.99"))
    offer = ask(dhcp, MessageType.DISCOVER, 1)
    assert offer is not None and offer.dns == ("192.168.40.99",)


def test_a_short_lease_is_short_for_the_server_too() -> None:
    clock = Clock()
    dhcp = server(clock)
    dhcp.inject(ShortLease(lease_s=2))
    ack = ask(dhcp, MessageType.REQUEST, 1, requested="192.168.40.100", server=SERVER)
    assert ack is not None and ack.lease_s == 2
    clock.s = 1.9
    assert dhcp.leases() == {mac(1): "192.168.40.100"}
    clock.s = 2.0
    assert dhcp.leases() == {}


def test_a_slow_server_says_the_same_later() -> None:
    dhcp = server(Clock())
    dhcp.inject(Slow(delay_s=7.0))
    (reply,) = dhcp.answer(encode(message(MessageType.DISCOVER, 1)), from_link(1))
    assert (reply.delay_s, decode(reply.data).type) == (7.0, MessageType.OFFER)


@pytest.mark.parametrize("option", [1, 3, 6, 51, 54])
def test_an_option_can_lack_its_last_byte(option: int) -> None:
    dhcp = server(Clock())
    dhcp.inject(ShortOption(option=option))  # type: ignore[arg-type]
    (reply,) = dhcp.answer(encode(message(MessageType.DISCOVER, 1)), from_link(1))
    with pytest.raises(DhcpError, match=rf"option {option}: 3 bytes"):
        decode(reply.data)


def test_several_options_can_be_changed_at_once() -> None:
    dhcp = server(Clock())
    dhcp.inject(Option(code=58, hex="0000003c"))
    dhcp.inject(Option(code=59, hex="00000078"))
    dhcp.inject(Option(code=3))
    offer = ask(dhcp, MessageType.DISCOVER, 1)
    assert offer is not None
    assert (offer.t1_s, offer.t2_s, offer.routers) == (60, 120, ())


def test_an_overloaded_reply_says_the_same_elsewhere() -> None:
    dhcp = server(Clock())
    plain = ask(dhcp, MessageType.DISCOVER, 1)
    dhcp.inject(Overload())
    (reply,) = dhcp.answer(encode(message(MessageType.DISCOVER, 1)), from_link(1))
    assert decode(reply.data) == plain
    assert reply.data[108:236].strip(b"\0") and reply.data[44:108].strip(b"\0")


def test_more_than_a_client_takes_is_put_where_there_is_room_or_not_sent() -> None:
    many = [f"10.1.0.{host}" for host in range(100)]
    dhcp = server(Clock(), dns=many)
    data = encode(message(MessageType.DISCOVER, 1))
    (reply,) = dhcp.answer(data, from_link(1))
    assert len(reply.data) <= 576 - 28 and decode(reply.data).dns == tuple(many)
    (reply,) = dhcp.answer(encode(message(MessageType.DISCOVER, 1, max_bytes=1500)), from_link(1))
    assert len(reply.data) > 576 and decode(reply.data).dns == tuple(many)
    dhcp.inject(Option(code=43, hex="00" * 600))
    assert dhcp.answer(data, from_link(1)) == []
    assert dhcp.history[-1].reply.startswith("OFFER 192.168.40.100 is lost: ")


def offers(dhcp: DhcpServer, number: int) -> list[str | None]:
    """Who offers, in order."""
    replies = dhcp.answer(encode(message(MessageType.DISCOVER, number)), from_link(number))
    return [decode(reply.data).server for reply in replies]


def test_a_second_server_offers_first_or_second_and_gives_what_leads_nowhere() -> None:
    dhcp = server(Clock())
    undo = dhcp.inject(Rogue(first=False))
    assert offers(dhcp, 1) == [SERVER, ROGUE]
    undo()
    dhcp.inject(Rogue())
    assert offers(dhcp, 1) == [ROGUE, SERVER]
    data = encode(message(MessageType.REQUEST, 1, requested="192.168.66.10", server=ROGUE))
    (reply,) = dhcp.answer(data, from_link(1))
    lease = lease_from(decode(reply.data))
    assert (lease.server, lease.router, lease.dns) == (ROGUE, "192.168.66.2", ("192.168.66.3",))
    assert dhcp.leases() == {}, "the site's server knows nothing of it"
    assert renew(dhcp, 1, lease.address) is MessageType.NAK, "and refuses the address when it is rebound"
    assert [one.reply for one in dhcp.history if one.data.get("server") == ROGUE][-1] == "ACK 192.168.66.10"


def test_after_renumbering_old_addresses_are_refused_and_others_handed_out() -> None:
    dhcp = server(Clock())
    old = take(dhcp, 1)
    undo = dhcp.inject(Renumber(who="ZPR000001"))
    assert ask(dhcp, MessageType.REQUEST, 1, requested=old) == ask(dhcp, MessageType.REQUEST, 1, client_address=old)
    assert request(dhcp, 1, old, server=None) is MessageType.NAK
    new = take(dhcp, 1)
    assert (old, new, take(dhcp, 2)) == ("192.168.40.100", "192.168.40.200", "192.168.40.101")
    undo()
    assert request(dhcp, 1, new, server=None) is MessageType.NAK
    assert request(dhcp, 1, old, server=None) is MessageType.ACK


def test_a_fault_strikes_the_client_that_is_named_even_when_it_says_no_name() -> None:
    dhcp = server(Clock(), last=100)
    address = take(dhcp, 1)
    dhcp.inject(Silence(who="ZPR000001"))
    assert ask(dhcp, MessageType.RELEASE, 1, client_address=address, hostname=None) is None
    assert dhcp.leases() == {mac(1): address}
