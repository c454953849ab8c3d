import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.dhcp import (
    REBOOT_SENDS,
    REQUEST_SENDS,
    RESTART_S,
    SOONEST_S,
    Bound,
    DhcpClient,
    Expired,
    Nak,
    State,
)
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import BROADCAST, Address
from emulator.wire.dhcp import INFINITE_S, DhcpMessage, MessageType, decode, encode

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
    assert machine.state is State.REQUESTING


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
    assert machine.receive(reply(MessageType.NAK, request), SERVER, 1.0) == [Nak()]
    assert (machine.state, machine.lease) == (State.INIT, None)
    assert 1.0 + RESTART_S[0] <= due(machine) <= 1.0 + RESTART_S[1]
    again = sent(machine.wake(due(machine)))
    assert again.type is MessageType.DISCOVER
    assert again.xid != discover.xid


def test_renewal_is_asked_of_the_same_server_and_granted() -> None:
    machine = client()
    bound(machine)
    effects = machine.wake(LEASE_S / 2)
    request = sent(effects)
    assert sent_to(effects) == SERVER
    assert (request.client_address, request.requested, request.server) == ("192.168.40.107", None, None)
    assert (request.broadcast, machine.state) == (False, State.RENEWING)
    (result,) = machine.receive(reply(MessageType.ACK, request), SERVER, LEASE_S / 2 + 0.1)
    assert isinstance(result, Bound)
    assert due(machine) == pytest.approx(LEASE_S)


def test_without_its_server_a_lease_is_renewed_rebound_and_lost() -> None:
    machine = client()
    bound(machine)
    seen = silence(machine, 0.0, LEASE_S)
    sends = [(t, effect.to.host) for t, effect in seen if isinstance(effect, Send)]
    assert seen[-1] == (LEASE_S, Expired())
    assert [host for t, host in sends if t < LEASE_S * 0.875] == [SERVER.host] * 6
    assert {host for t, host in sends if t >= LEASE_S * 0.875} == {BROADCAST}
    gaps = [after - before for (before, _), (after, _) in pairwise(sends)]
    assert gaps[:2] == [675.0, 337.5], "half of what is left to T2, then half again"
    assert min(gaps[:3]) >= 60
    assert (machine.state, machine.lease) == (State.INIT, None)
    assert sent(machine.wake(due(machine))).type is MessageType.DISCOVER


def test_any_server_may_answer_while_rebinding_but_not_while_renewing() -> None:
    machine = client()
    bound(machine)
    request = sent(machine.wake(LEASE_S / 2))
    assert machine.receive(reply(MessageType.ACK, request, server=OTHER.host), OTHER, LEASE_S / 2) == []
    request = sent(machine.wake(LEASE_S * 0.9))
    assert machine.state is State.REBINDING
    (result,) = machine.receive(reply(MessageType.ACK, request, server=OTHER.host), OTHER, LEASE_S * 0.9)
    assert isinstance(result, Bound)
    assert result.lease.server == OTHER.host


def test_a_refused_renewal_takes_the_address_away() -> None:
    machine = client()
    bound(machine)
    request = sent(machine.wake(LEASE_S / 2))
    assert machine.receive(reply(MessageType.NAK, request), SERVER, LEASE_S / 2) == [Nak()]
    assert machine.lease is None


def test_an_alarm_that_comes_after_the_end_finds_the_lease_expired() -> None:
    machine = client()
    bound(machine)
    assert machine.wake(LEASE_S * 3) == [Expired()]


def test_an_ack_that_comes_after_the_end_of_its_lease_is_not_used() -> None:
    machine = client()
    discover = sent(machine.start(0.0))
    request = sent(machine.receive(reply(MessageType.OFFER, discover), SERVER, 0.0))
    assert machine.receive(reply(MessageType.ACK, request, lease_s=2), SERVER, 2.0) == []


def test_a_remembered_address_is_asked_for_first() -> None:
    machine = client(remembered="192.168.40.107")
    request = sent(machine.start(0.0))
    assert machine.state is State.REBOOTING
    assert (request.type, request.requested, request.server) == (MessageType.REQUEST, "192.168.40.107", None)
    (result,) = machine.receive(reply(MessageType.ACK, request), SERVER, 0.1)
    assert isinstance(result, Bound)


def test_a_remembered_address_that_nobody_knows_is_forgotten() -> None:
    machine = client(remembered="192.168.40.107")
    machine.start(0.0)
    seen = [sent([effect]).type for _, effect in silence(machine, 0.0, 15.0)]
    assert seen == [MessageType.REQUEST] * (REBOOT_SENDS - 1) + [MessageType.DISCOVER]


def test_a_remembered_address_of_another_network_is_refused() -> None:
    machine = client(remembered="10.0.0.9")
    request = sent(machine.start(0.0))
    assert machine.receive(reply(MessageType.NAK, request), SERVER, 0.1) == [Nak()]
    assert sent(machine.wake(due(machine))).requested is None


def test_a_restart_asks_for_the_address_of_before() -> None:
    machine = client()
    bound(machine)
    assert sent(machine.start(100.0)).requested == "192.168.40.107"


def test_a_lease_without_end_needs_no_alarm() -> None:
    machine = client()
    result = bound(machine, lease_s=INFINITE_S)
    assert (result.lease.lease_s, machine.deadline()) == (math.inf, None)
    assert machine.wake(1e9) == []


def test_a_wake_before_the_deadline_does_nothing() -> None:
    machine = client()
    machine.start(0.0)
    before = due(machine)
    assert machine.wake(before - 0.001) == []
    assert due(machine) == before
    bound(machine)
    before = due(machine)
    assert machine.wake(before - 0.001) == []
    assert (due(machine), machine.state) == (before, State.BOUND)


def test_before_the_start_nothing_happens() -> None:
    machine = client()
    assert machine.deadline() is None
    assert machine.wake(5.0) == []
    assert machine.receive(reply(MessageType.OFFER, DhcpMessage(MessageType.DISCOVER, 0, MAC)), SERVER, 5.0) == []


def test_a_day_with_an_hourly_lease_is_48_renewals() -> None:
    machine = client()
    bound(machine)
    renewals, now = 0, 0.0
    while (now := due(machine)) <= 86400.0:
        request = sent(machine.wake(now))
        (result,) = machine.receive(reply(MessageType.ACK, request), SERVER, now + 0.01)
        assert isinstance(result, Bound)
        renewals += 1
    assert renewals == 48


def test_a_lease_of_one_second_is_renewed_without_hurry() -> None:
    machine = client()
    bound(machine, lease_s=1)
    for _ in range(100):
        now = due(machine)
        request = sent(machine.wake(now))
        machine.receive(reply(MessageType.ACK, request, lease_s=1), SERVER, now)
        assert due(machine) - now >= SOONEST_S


kinds = st.sampled_from([MessageType.OFFER, MessageType.ACK, MessageType.NAK, MessageType.DISCOVER])
spoils = st.fixed_dictionaries(
    {},
    optional={
        "lease_s": st.none() | st.sampled_from([0, 1, 60, 86400, INFINITE_S]),
        "t1_s": st.none() | st.integers(0, 100),
        "t2_s": st.none() | st.integers(0, 100),
        "server": st.none() | st.sampled_from([SERVER.host, OTHER.host]),
        "your_address": st.ip_addresses(v=4).map(str),
    },
)
steps = st.one_of(
    st.tuples(st.just("garbage"), st.binary(max_size=320)),
    st.tuples(st.just("reply"), st.tuples(kinds, spoils)),
    st.tuples(st.just("pass"), st.sampled_from([0.0, 0.01, 1.0, 30.0, 400.0, 50_000.0])),
)


@given(st.lists(steps, max_size=40), st.integers(0, 99))
def test_whatever_comes_the_client_neither_raises_nor_spins(story: list[tuple[str, object]], seed: int) -> None:
    machine, now = client(seed), 0.0
    last = sent(machine.start(now))
    for step, value in story:
        effects: list[Effect] = []
        if step == "garbage":
            assert isinstance(value, bytes)
            effects = machine.receive(value, SERVER, now)
        elif step == "reply":
            kind, changes = value  # type: ignore[misc]
            effects = machine.receive(reply(kind, last, **changes), SERVER, now)  # type: ignore[has-type]
        else:
            assert isinstance(value, float)
            now += value
            effects = [effect for _, effect in silence(machine, now - value, now)]
            assert len(effects) <= value / SOONEST_S
        assert machine.deadline() is None or due(machine) > now
        assert (machine.lease is not None) == (machine.state in (State.BOUND, State.RENEWING, State.REBINDING))
        last = next((decode(effect.data) for effect in reversed(effects) if isinstance(effect, Send)), last)
