"""What is done about failures: the waits, the exact counts, and that nothing but a finite plan comes of anything."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.local import Mode
from emulator.machines.reconnect import (
    Action,
    PowerCycleModem,
    Reboot,
    Reconnect,
    ReconnectNow,
    RestartLink,
    Retry,
    Situation,
    Trouble,
    reconnect_delay_s,
)
from emulator.profile import Backoff, load_profile

TIMING = load_profile("pro").backoff
AT_WIFI = Situation(Mode.WIFI, linked=True, car=False)
NO_WIFI = replace(AT_WIFI, linked=False)
AT_LTE = replace(AT_WIFI, mode=Mode.LTE)


class Fixed(Random):
    """A random source that always draws the same."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


def no_jitter() -> Random:
    return Fixed(0.0)


def fail(
    machine: Reconnect, times: int, trouble: Trouble = Trouble.OTHER, at: Situation = AT_WIFI, stage: str = "hub"
) -> dict[int, Action]:
    """The actions that are no mere waits, by the number of the failure."""
    actions = {n: machine.failed(stage, trouble, at, no_jitter) for n in range(1, times + 1)}
    return {n: action for n, action in actions.items() if not isinstance(action, Retry)}


@pytest.mark.parametrize(
    ("attempt", "car", "draw", "expected_s"),
    [
        (0, False, 0.9, 10.0),
        (0, True, 0.9, 10.0),
        (1, False, 0.0, 11.0),
        (3, False, 0.0, 19.0),
        (3, False, 0.75, 19.0 + 0.75 * 19.0 / 3),
        (3, True, 0.75, 19.0 + 0.75 * 19.0 / 2),
        (6, True, 0.0, 46.0),
        (7, True, 0.0, 55.0),
        (13, False, 0.0, 179.0),
        (14, False, 0.0, 190.0),
        (1000, True, 0.0, 55.0),
    ],
)
def test_the_delay_follows_the_formula(attempt: int, car: bool, draw: float, expected_s: float) -> None:
    assert reconnect_delay_s(attempt, car=car, timing=TIMING, rng=Fixed(draw)) == pytest.approx(expected_s)


@given(st.integers(0, 10**9), st.booleans(), st.integers(0, 99))
def test_a_charger_waits_between_ten_seconds_and_about_four_minutes(attempt: int, car: bool, seed: int) -> None:
    delay_s = reconnect_delay_s(attempt, car=car, timing=TIMING, rng=Random(seed))
    assert 10.0 <= delay_s <= (10 + 45) * 1.5 if car else (10 + 180) * 4 / 3


def test_a_fleet_that_fails_together_does_not_come_back_together() -> None:
    delays = {reconnect_delay_s(14, car=False, timing=TIMING, rng=Random(serial)) for serial in range(1000)}
    assert len(delays) == 1000
    assert max(delays) - min(delays) > 60


def test_the_wait_grows_with_the_failures_of_one_stage_in_a_row() -> None:
    machine = Reconnect(TIMING)
    waits = [machine.failed(stage, Trouble.OTHER, AT_WIFI, no_jitter) for stage in ("names", "names", "hub", "names")]
    assert waits == [Retry(11), Retry(14), Retry(11), Retry(19)]
    machine.passed("names")
    assert machine.failed("names", Trouble.OTHER, AT_WIFI, no_jitter) == Retry(11)


def test_with_a_car_the_wait_is_capped_lower() -> None:
    machine = Reconnect(without_forced())
    with_car = replace(AT_WIFI, car=True)
    waits = [machine.failed("hub", Trouble.OTHER, with_car, no_jitter) for _ in range(20)]
    assert waits[-1] == Retry(10 + 45)
    assert machine.failed("hub", Trouble.OTHER, AT_WIFI, no_jitter) == Retry(10 + 180)


def without_forced() -> Backoff:
    """The timing of the profile, without the actions that the number of errors leads to."""
    return TIMING.model_copy(update={"forced_at": ()})


def test_errors_10_30_60_and_90_force_a_reconnect_and_no_other() -> None:
    now = ReconnectNow()
    assert fail(Reconnect(TIMING), 300) == {10: now, 30: now, 60: now, 90: now}


def test_without_a_connection_wifi_is_restarted_at_these_counts_and_other_links_are_not() -> None:
    again = RestartLink()
    assert fail(Reconnect(TIMING), 300, at=NO_WIFI, stage="link") == {10: again, 30: again, 60: again, 90: again}
    for mode in (Mode.LTE, Mode.PLC, Mode.ETHERNET):
        assert fail(Reconnect(TIMING), 300, at=replace(NO_WIFI, mode=mode), stage="link") == {}


def test_what_failed_before_counts_for_the_restart_whatever_stage_it_was() -> None:
    machine = Reconnect(TIMING)
    fail(machine, 5, stage="names")
    machine.passed("names")
    machine.lost(Trouble.OTHER)
    assert fail(machine, 4, stage="hub") == {4: ReconnectNow()}


def test_a_hub_that_has_us_ends_all_counts() -> None:
    machine = Reconnect(TIMING)
    fail(machine, 9, Trouble.TRANSPORT, AT_LTE)
    machine.online()
    assert (machine.errors, machine.ppp_limit) == (0, 2)
    assert machine.lost(Trouble.OTHER) == Retry(10)
    assert machine.failed("hub", Trouble.OTHER, AT_LTE, no_jitter) == Retry(11)


def test_a_wi_fi_link_that_was_lost_is_tried_again_after_a_second_and_then_as_anything_else() -> None:
    machine = Reconnect(TIMING)
    assert machine.lost(Trouble.WIFI_LOST) == Retry(1)
    waits = [machine.failed("link", Trouble.OTHER, NO_WIFI, no_jitter) for _ in range(3)]
    assert waits == [Retry(11), Retry(14), Retry(19)]
    machine.passed("link")
    assert machine.failed("names", Trouble.WIFI_LOST, NO_WIFI, no_jitter) == Retry(1)
    assert machine.errors == 5, "a loss is an error as any other"
    fail(machine, 4, stage="link", at=NO_WIFI)
    assert machine.failed("names", Trouble.WIFI_LOST, NO_WIFI, no_jitter) == RestartLink(), "the tenth"


def test_on_lte_ppp_is_restarted_after_2_transport_failures_then_after_7_12_and_so_on() -> None:
    machine = Reconnect(without_forced())
    restarts = list(fail(machine, 2100, Trouble.TRANSPORT, AT_LTE))
    rounds = [later - earlier for earlier, later in zip([0, *restarts], restarts, strict=False)]
    assert rounds[:5] == [2, 7, 12, 17, 22]
    assert rounds[19:] == [97, *[102] * (len(rounds) - 20)]


def test_only_transport_failures_on_lte_restart_ppp() -> None:
    assert fail(Reconnect(without_forced()), 50, Trouble.OTHER, AT_LTE) == {}
    assert fail(Reconnect(without_forced()), 50, Trouble.TRANSPORT, AT_WIFI) == {}


def test_failures_elsewhere_do_not_charge_the_account_of_ppp() -> None:
    machine = Reconnect(without_forced())
    fail(machine, 5, Trouble.TRANSPORT, AT_WIFI)
    assert list(fail(machine, 2, Trouble.TRANSPORT, AT_LTE)) == [2]


def test_a_silent_modem_loses_its_power_after_3_timeouts_and_the_charger_after_10() -> None:
    machine = Reconnect(TIMING)
    actions = fail(machine, 10, Trouble.MODEM_SILENT, replace(AT_LTE, linked=False), "link")
    assert actions == {3: PowerCycleModem(), 6: PowerCycleModem(), 9: PowerCycleModem(), 10: actions[10]}
    assert actions[10] == Reboot("modem silent 10 times")


def test_a_modem_that_answers_in_between_is_forgiven() -> None:
    machine = Reconnect(TIMING)
    for _ in range(20):
        fail(machine, 2, Trouble.MODEM_SILENT, AT_LTE, "link")
        machine.passed("link")
        assert machine.modem_timeouts == 0
    fail(machine, 2, Trouble.MODEM_SILENT, AT_LTE, "link")
    machine.failed("link", Trouble.OTHER, AT_LTE, no_jitter)  # the modem said that there is no cell
    assert PowerCycleModem() not in fail(machine, 2, Trouble.MODEM_SILENT, AT_LTE, "link").values()


STAGES = st.sampled_from(["link", "address", "names", "hub", "greeting"])
SITUATIONS = st.builds(Situation, st.sampled_from(Mode), st.booleans(), st.booleans())
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("failed"), STAGES, st.sampled_from(Trouble), SITUATIONS),
        st.tuples(st.just("passed"), STAGES),
        st.tuples(st.just("lost"), st.sampled_from(Trouble)),
        st.tuples(st.just("online")),
    ),
    max_size=300,
)


@given(STEPS, st.integers(0, 99))
def test_whatever_happens_there_is_one_action_and_never_two_at_once_without_a_wait(steps: list, seed: int) -> None:
    machine, at_once, rng = Reconnect(TIMING), 0, Random(seed)
    for step in steps:
        action: Action | None = None
        shortest_s = 1.0 if Trouble.WIFI_LOST in step else 10.0
        match step:
            case ("failed", stage, trouble, at):
                action = machine.failed(stage, trouble, at, lambda: rng)
            case ("passed", stage):
                machine.passed(stage)
            case ("lost", trouble):
                action = machine.lost(trouble)
            case _:
                machine.online()
        if isinstance(action, Retry):
            assert shortest_s <= action.after_s <= 190 * 4 / 3
            at_once = 0
        elif action is not None:
            at_once += 1
        if step[0] == "online":
            at_once = 0
        if isinstance(action, Reboot):
            machine, at_once = Reconnect(TIMING), 0
        assert at_once <= 3  # one of the errors, one of PPP and one of the modem may fall together
