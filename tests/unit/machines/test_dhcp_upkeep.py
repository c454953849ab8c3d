import math
from itertools import pairwise

import pytest

from emulator.machines.dhcp import (
    DECLINE_WAIT_S,
    SOONEST_S,
    Bound,
    Expired,
    Nak,
    State,
)
from emulator.machines.effects import Send
from emulator.wire.address import BROADCAST, Address
from emulator.wire.dhcp import INFINITE_S, MessageType
from tests.unit.machines.dhcp_talk import LEASE_S, OTHER, SERVER, bound, client, due, reply, sent, sent_to, silence


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
    nak = Nak(State.RENEWING, SERVER.host, None)
    assert machine.receive(reply(MessageType.NAK, request), SERVER, LEASE_S / 2) == [nak]
    assert machine.lease is None


def test_whoever_answers_first_while_rebinding_may_also_refuse() -> None:
    machine = client()
    bound(machine)
    request = sent(machine.wake(LEASE_S * 0.9))
    nak = reply(MessageType.NAK, request, server=OTHER.host)
    assert machine.receive(nak, OTHER, LEASE_S * 0.9) == [Nak(State.REBINDING, OTHER.host, None)]


def test_an_alarm_that_comes_after_the_end_finds_the_lease_expired() -> None:
    machine = client()
    bound(machine)
    assert machine.wake(LEASE_S * 3) == [Expired()]


def test_an_ack_that_comes_before_the_alarm_but_after_the_end_does_not_save_the_lease() -> None:
    machine = client()
    bound(machine)
    request = sent(machine.wake(LEASE_S * 0.9))
    assert machine.receive(reply(MessageType.ACK, request), SERVER, LEASE_S) == [Expired()]
    assert (machine.state, machine.lease) == (State.INIT, None)


def test_a_lease_is_given_back_and_the_client_rests() -> None:
    machine = client()
    assert machine.release(0.0) == []
    bound(machine)
    effects = machine.release(10.0)
    goodbye = sent([*effects])
    assert sent_to([*effects]) == SERVER
    assert (goodbye.type, goodbye.client_address, goodbye.server) == (
        MessageType.RELEASE,
        "192.168.40.107",
        SERVER.host,
    )
    assert (goodbye.requested, goodbye.hostname, goodbye.parameters) == (None, None, ())
    assert (machine.state, machine.lease, machine.deadline()) == (State.INIT, None, None)
    assert machine.wake(1e6) == [] and machine.release(1e6) == []
    assert sent(machine.start(1e6)).type is MessageType.DISCOVER


def test_an_address_that_somebody_else_uses_is_declined_and_another_is_asked_for() -> None:
    machine = client()
    assert machine.decline(0.0) == []
    bound(machine)
    effects = machine.decline(1.0)
    refusal = sent(effects)
    assert sent_to(effects) == Address(BROADCAST, 67)
    assert (refusal.type, refusal.requested, refusal.server, refusal.client_address) == (
        MessageType.DECLINE,
        "192.168.40.107",
        SERVER.host,
        "0.0.0.0",
    )
    assert (machine.state, machine.lease, due(machine)) == (State.INIT, None, 1.0 + DECLINE_WAIT_S)
    again = sent(machine.wake(due(machine)))
    assert (again.type, again.requested) == (MessageType.DISCOVER, None)


def test_a_renewal_may_bring_another_address_and_other_dns_servers() -> None:
    machine = client()
    bound(machine)
    request = sent(machine.wake(LEASE_S / 2))
    changed = reply(MessageType.ACK, request, your_address="192.168.40.9", dns=("192.168.40.2",))
    (result,) = machine.receive(changed, SERVER, LEASE_S / 2)
    assert isinstance(result, Bound)
    assert (result.lease.address, result.lease.dns) == ("192.168.40.9", ("192.168.40.2",))
    assert result.asked_in is State.RENEWING


@pytest.mark.parametrize(
    ("lease_s", "t1_s", "t2_s", "renews_at", "rebinds_at"),
    [
        (3600, 600, 1200, 600.0, 1200.0),
        (3600, 1200, 600, 1800.0, 3150.0),
        (3600, 0, 0, 1800.0, 3150.0),
        (3600, 600, 7200, 1800.0, 3150.0),
        (3600, INFINITE_S, INFINITE_S, 1800.0, 3150.0),
        (1, None, None, 0.5, 0.875),
        (1, 1, 1, 0.5, 0.875),
        (2, 1, 2, 1.0, 1.75),
        (INFINITE_S - 1, None, None, (INFINITE_S - 1) / 2, (INFINITE_S - 1) * 0.875),
    ],
)
def test_renewing_and_rebinding_begin_when_the_server_says_or_at_the_usual_times(
    lease_s: int, t1_s: int | None, t2_s: int | None, renews_at: float, rebinds_at: float
) -> None:
    machine = client()
    bound(machine, lease_s=lease_s, t1_s=t1_s, t2_s=t2_s)
    seen = silence(machine, 0.0, float(lease_s))
    sends = [(t, effect.to.host) for t, effect in seen if isinstance(effect, Send)]
    assert next(t for t, host in sends if host == SERVER.host) == pytest.approx(renews_at)
    assert next(t for t, host in sends if host == BROADCAST) == pytest.approx(rebinds_at)
    assert seen[-1] == (lease_s, Expired())


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
