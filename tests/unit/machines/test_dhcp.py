from itertools import pairwise

import pytest

from emulator.machines.dhcp import (
    REBOOT_SENDS,
    REQUEST_SENDS,
    RESTART_S,
    Bound,
    Nak,
    State,
)
from emulator.wire.address import BROADCAST, Address
from emulator.wire.dhcp import DhcpMessage, MessageType, decode, encode
from tests.unit.machines.dhcp_talk import LEASE_S, MAC, OTHER, SERVER, bound, client, due, reply, sent, sent_to, silence


def test_four_messages_make_a_lease() -> None:
    machine = client()
    effects = machine.start(0.0)
    discover = sent(effects)
    assert sent_to(effects) == Address(BROADCAST, 67)
    assert (discover.type, discover.broadcast, discover.hostname) == (MessageType.DISCOVER, True, "ZPR000001")
    assert machine.state == "SELECTING"

    effects = machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.1)
    request = sent(effects)
    assert sent_to(effects) == Address(BROADCAST, 67)
    assert (request.type, request.requested, request.server) == (MessageType.REQUEST, "192.168.40.107", SERVER.host)
    assert (request.xid, machine.state) == (discover.xid, State.REQUESTING)

    (result,) = machine.receive(reply(MessageType.ACK, request), SERVER, 0.2)
    assert isinstance(result, Bound)
    assert result.lease == machine.lease
    assert (result.lease.address, result.lease.dns) == ("192.168.40.107", ("192.168.40.1",))
    assert machine.state is State.BOUND
    assert due(machine) == pytest.approx(0.1 + LEASE_S / 2), "T1 counts from the request"


def test_silence_is_answered_with_ever_longer_patience() -> None:
    machine = client()
    machine.start(0.0)
    times = [0.0] + [t for t, _ in silence(machine, 0.0, 600.0)]
    gaps = [after - before for before, after in pairwise(times)]
    for gap, expected in zip(gaps, [4, 8, 16, 32, 64, 64, 64], strict=False):
        assert gap == pytest.approx(expected, abs=1.0)
    assert len(set(gaps)) == len(gaps), "each wait is drawn anew"
    assert machine.state is State.SELECTING


def test_a_month_without_a_server_changes_nothing() -> None:
    machine = client()
    machine.start(0.0)
    seen = silence(machine, 0.0, 30 * 86400.0)
    assert len(seen) > 30 * 86400 / 66
    assert sent([seen[-1][1]]).secs == 0xFFFF


def test_the_first_offer_is_taken() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    request = sent(machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.1))
    second = reply(MessageType.OFFER, discover, your_address="192.168.40.50", server=OTHER.host)
    assert machine.receive(second, OTHER, 0.2) == []
    assert machine.receive(reply(MessageType.ACK, request, server=OTHER.host), OTHER, 0.3) == []
    assert machine.receive(reply(MessageType.NAK, request, server=OTHER.host), OTHER, 0.3) == []
    assert machine.state is State.REQUESTING
    assert machine.offered_by == (SERVER.host, OTHER.host), "two servers on one network are worth a look"


def test_an_offer_of_no_use_is_passed_over_for_a_later_one() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    assert machine.receive(reply(MessageType.OFFER, discover, lease_s=0), SERVER, 0.1) == []
    assert machine.no_use is not None and "is no lease" in machine.no_use
    short = encode(decode(reply(MessageType.OFFER, discover)), instead={6: b"\x08\x08\x08"})
    assert machine.receive(short, SERVER, 0.1) == []
    assert machine.no_use == "option 6: 3 bytes are not addresses"
    request = sent(machine.receive(reply(MessageType.OFFER, discover, server=OTHER.host), OTHER, 0.2))
    assert request.server == OTHER.host


@pytest.mark.parametrize(
    "changes",
    [{"xid": 12345}, {"mac": "02:00:00:00:00:02"}, {"server": None}, {"lease_s": None}, {"your_address": "0.0.0.0"}],
)
def test_offers_for_others_or_of_no_use_are_ignored(changes: dict[str, object]) -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    assert machine.receive(reply(MessageType.OFFER, discover, **changes), SERVER, 0.1) == []
    assert machine.state is State.SELECTING


def test_an_unanswered_request_is_repeated_and_then_begun_anew() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.0)
    seen = [sent([effect]).type for _, effect in silence(machine, 0.0, 130.0)]
    assert seen[:REQUEST_SENDS] == [MessageType.REQUEST] * (REQUEST_SENDS - 1) + [MessageType.DISCOVER]


def test_a_nak_ends_the_lease_and_the_client_begins_anew() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    request = sent(machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.0))
    nak = reply(MessageType.NAK, request, message="wrong network" * 20)
    (result,) = machine.receive(nak, SERVER, 1.0)
    assert isinstance(result, Nak)
    assert (result.asked_in, result.server) == (State.REQUESTING, SERVER.host)
    assert result.message is not None and result.message.startswith("wrong network") and len(result.message) < 200
    assert (machine.state, machine.lease) == (State.INIT, None)
    assert 1.0 + RESTART_S[0] <= due(machine) <= 1.0 + RESTART_S[1]
    again = sent(machine.wake(due(machine)))
    assert again.type is MessageType.DISCOVER
    assert again.xid != discover.xid


def test_a_remembered_address_is_asked_for_first() -> None:
    machine = client(remembered="192.168.40.107")
    assert machine.state.value == "INIT-REBOOT"
    request = sent(machine.start(0.0))
    assert machine.state is State.REBOOTING
    assert (request.type, request.requested, request.server) == (MessageType.REQUEST, "192.168.40.107", None)
    (result,) = machine.receive(reply(MessageType.ACK, request), SERVER, 0.1)
    assert isinstance(result, Bound)
    assert (result.asked_in, machine.offered_by) == (State.REBOOTING, ())


def test_a_remembered_address_that_nobody_knows_is_forgotten() -> None:
    machine = client(remembered="192.168.40.107")
    machine.start(0.0)
    seen = [sent([effect]).type for _, effect in silence(machine, 0.0, 15.0)]
    assert seen == [MessageType.REQUEST] * (REBOOT_SENDS - 1) + [MessageType.DISCOVER]


def test_a_remembered_address_of_another_network_is_refused() -> None:
    machine = client(remembered="10.0.0.9")
    request = sent(machine.start(0.0))
    nak = Nak(State.REBOOTING, SERVER.host, None)
    assert machine.receive(reply(MessageType.NAK, request), SERVER, 0.1) == [nak]
    assert sent(machine.wake(due(machine))).requested is None


def test_a_restart_asks_for_the_address_of_before() -> None:
    machine = client()
    bound(machine)
    assert sent(machine.start(100.0)).requested == "192.168.40.107"


def test_before_the_start_nothing_happens() -> None:
    machine = client()
    assert machine.deadline() is None
    assert machine.wake(5.0) == []
    assert machine.receive(reply(MessageType.OFFER, DhcpMessage(MessageType.DISCOVER, 0, MAC)), SERVER, 5.0) == []


def test_an_ack_that_comes_after_the_end_of_its_lease_is_not_used() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    request = sent(machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.0))
    assert machine.receive(reply(MessageType.ACK, request, lease_s=2), SERVER, 2.0) == []
    assert machine.no_use == "ACK of a lease of 2 s came 2.0 s after the request"
