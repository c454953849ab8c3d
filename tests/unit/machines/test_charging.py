"""A charge from plug to plug, and what no order of events may ever bring about."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.charge_events import (
    CarDraws,
    CarFull,
    CloseContactor,
    Effect,
    Event,
    FinalStop,
    IllegalValue,
    LimitSet,
    OpenContactor,
    PluggedIn,
    Resumed,
    SessionIdSet,
    SessionReset,
    SetPilot,
    StartGranted,
    StopRequested,
    TooLittle,
    Unplugged,
)
from emulator.machines.charge_modes import CHARGE_MODES, OPERATION_MODES, PHASES, OperationMode, State
from emulator.machines.charging import TRANSITIONS, ChargingMachine, Refused

MIN_A = 6.0


def machine(limit_a: float = 32.0) -> ChargingMachine:
    return ChargingMachine(limit_a=limit_a, min_a=MIN_A, phases=4)


def after(*events: Event, limit_a: float = 32.0) -> ChargingMachine:
    charge = machine(limit_a)
    for event in events:
        assert not isinstance(charge.handle(event), Refused), event
    return charge


def test_a_charge_from_plug_to_plug() -> None:
    charge = machine()
    assert charge.handle(PluggedIn(32.0)) == []
    assert charge.handle(SessionIdSet()) == []
    assert charge.handle(StartGranted(16.0, 4)) == [SetPilot(16.0)]
    assert OPERATION_MODES[charge.state] is OperationMode.REQUESTING
    assert charge.handle(CarDraws()) == [CloseContactor(4)]
    assert charge.operation_mode == OperationMode.CHARGING
    assert charge.handle(StartGranted(10.0, 4)) == [SetPilot(10.0)]
    assert charge.handle(CarFull()) == [OpenContactor()]
    assert (charge.operation_mode, charge.final_stop) == (OperationMode.FINISHED, False)
    assert charge.handle(Unplugged()) == [SetPilot(0.0)]
    assert charge.state is State.DISCONNECTED


def test_the_pilot_goes_before_the_contactor_breaks_the_current() -> None:
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws())
    assert charge.handle(StopRequested()) == [SetPilot(0.0), OpenContactor()]


def test_other_phases_are_switched_without_load() -> None:
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws())
    assert charge.handle(StartGranted(16.0, 1)) == [OpenContactor(), CloseContactor(1)]


def test_a_final_stop_lasts_until_it_is_taken_back() -> None:
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws(), FinalStop())
    assert charge.final_stop
    assert charge.handle(StartGranted(16.0, 4)) == Refused(State.STOPPED, "StartGranted")
    assert charge.handle(Resumed()) == []
    assert (charge.state, charge.final_stop) == (State.REQUESTING, False)


def test_a_final_stop_ends_with_the_car() -> None:
    assert not after(PluggedIn(), FinalStop(), Unplugged(), PluggedIn()).final_stop


def test_too_little_current_is_no_offer() -> None:
    assert after(PluggedIn(), StartGranted(5.9, 4)).state is State.REQUESTING
    assert after(PluggedIn(), StartGranted(16.0, 4), StartGranted(0.0, 4)).state is State.REQUESTING
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws(), StartGranted(0.0, 4))
    assert charge.state is State.PAUSED
    assert charge.granted_a == 0.0
    assert after(PluggedIn(), StartGranted(16.0, 4), CarDraws(), StartGranted(0.0, 4), StartGranted(8.0, 4)).state is (
        State.READY
    )


def test_the_offer_is_the_least_of_grant_charger_and_cable() -> None:
    assert SetPilot(20.0) in granted(32.0, PluggedIn(20.0), LimitSet(25.0))
    assert SetPilot(25.0) in granted(32.0, PluggedIn(), LimitSet(25.0))
    assert SetPilot(10.0) in granted(10.0, PluggedIn(20.0))


def granted(amps: float, *before: Event) -> list[Effect]:
    effects = after(*before).handle(StartGranted(amps, 4))
    assert not isinstance(effects, Refused)
    return effects


def test_a_lower_limit_acts_on_the_charge_that_runs() -> None:
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws())
    assert charge.handle(LimitSet(8.0)) == [SetPilot(8.0)]
    assert charge.handle(LimitSet(0.0)) == [SetPilot(0.0), OpenContactor()]
    assert charge.state is State.PAUSED


def test_a_car_that_wants_more_begins_again() -> None:
    assert after(PluggedIn(), StartGranted(16.0, 4), CarDraws(), CarFull(), CarDraws()).state is State.CHARGING


def test_a_reset_session_has_to_ask_again() -> None:
    charge = after(PluggedIn(), StartGranted(16.0, 4), CarDraws(), SessionReset())
    assert (charge.state, charge.granted_a) == (State.REQUESTING, 0.0)


@pytest.mark.parametrize("event", [Unplugged(), StartGranted(16.0, 4), StopRequested(), SessionIdSet(), CarDraws()])
def test_without_a_car_nothing_is_to_be_had(event: Event) -> None:
    charge = machine()
    assert charge.handle(event) == Refused(State.DISCONNECTED, type(event).__name__)
    assert charge.state is State.DISCONNECTED


@pytest.mark.parametrize(
    ("amps", "phases"), [(-1.0, 4), (math.nan, 4), (math.inf, 4), (16.0, 0), (16.0, 7), (16.0, 10)]
)
def test_a_grant_that_no_charger_can_give_does_not_exist(amps: float, phases: int) -> None:
    with pytest.raises(IllegalValue):
        StartGranted(amps, phases)


@pytest.mark.parametrize("amps", [-1.0, math.nan, math.inf])
def test_neither_does_such_a_limit(amps: float) -> None:
    with pytest.raises(IllegalValue):
        LimitSet(amps)


def test_every_state_is_reported_as_something_and_leads_somewhere() -> None:
    assert set(TRANSITIONS) == set(OPERATION_MODES) == set(CHARGE_MODES) == set(State)
    reachable = {target for row in TRANSITIONS.values() for target in row.values()}
    assert reachable == set(State)
    assert all(TooLittle not in ChargingMachine.allowed(after_state(state)) for state in State)


def after_state(state: State) -> ChargingMachine:
    charge = machine()
    charge.state = state
    return charge


amps = st.floats(0, 80)
events = st.one_of(
    st.builds(PluggedIn, st.floats(6, 63)),
    st.just(Unplugged()),
    st.builds(StartGranted, amps, st.sampled_from(sorted(PHASES))),
    st.builds(LimitSet, amps),
    st.sampled_from([StopRequested(), FinalStop(), Resumed(), CarDraws(), CarFull(), SessionIdSet(), SessionReset()]),
)


@given(st.lists(events, max_size=60), amps)
def test_no_order_of_events_is_dangerous(story: list[Event], limit_a: float) -> None:
    """Closed only for a car that charges, never above a limit, and a refusal changes nothing."""
    charge, pilot_a, closed = machine(limit_a), 0.0, None
    cable_a, grant_a = math.inf, 0.0
    for event in story:
        state, allowed = charge.state, type(event) in charge.allowed()
        result = charge.handle(event)
        assert isinstance(result, Refused) is not allowed
        if isinstance(result, Refused):
            assert charge.state is state
            continue
        match event:
            case PluggedIn():
                cable_a = event.cable_a
            case LimitSet():
                limit_a = event.amps
            case StartGranted():
                grant_a = event.amps
            case Unplugged() | SessionReset():
                grant_a = 0.0
            case _:
                pass
        for effect in result:
            match effect:
                case SetPilot():
                    pilot_a = effect.amps
                case CloseContactor():
                    assert closed is None
                    closed = effect.phases
                case OpenContactor():
                    assert closed is not None
                    closed = None
                case _:
                    pass
        assert (closed is not None) == (charge.state is State.CHARGING)
        assert pilot_a == 0 or MIN_A <= pilot_a <= min(limit_a, cable_a, grant_a)
        assert closed is None or pilot_a > 0
        assert charge.granted_a == grant_a
