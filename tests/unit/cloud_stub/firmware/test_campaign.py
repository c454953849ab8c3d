"""When a campaign goes on, halts or is over."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.firmware.campaign import (
    Action,
    Course,
    Limit,
    Plan,
    Stage,
    State,
    Tally,
    Targets,
    acted,
    decided,
    drawn,
    due_s,
    plan_from,
    share_of,
    stage_of,
)
from cloud_stub.firmware.offer import Offer
from emulator.errors import UsageError

STAGES = (Stage(1, 3_600, 1.0), Stage(10, 600, 0.9), Stage(100, 60))
PLAN = Plan(Offer("5.4.0.0"), Targets(("ZPR000001",), ("somewhere",), 50.0), STAGES, Limit(0.05, 20), 200, 2.5, 900.0)
SERIALS = [f"ZPR{number:06}" for number in range(1, 201)]


def settled(course: Course, tally: Tally, now_s: float, plan: Plan = PLAN) -> Course:
    """What it comes to when nothing changes any more."""
    for _ in range(10):
        after = decided(plan, course, tally, now_s)
        if after == course:
            return course
        course = after
    raise AssertionError("it never settles")


def test_a_stage_is_over_some_time_after_enough_chargers_run_the_release() -> None:
    course = settled(Course(), Tally(2, 1, 0), 0)
    assert course == Course() and due_s(PLAN, course) is None
    course = settled(course, Tally(2, 2, 0), 100)
    assert course == Course(reached_s=100) and due_s(PLAN, course) == 3_700
    assert settled(course, Tally(2, 2, 0), 3_699) == course
    assert decided(PLAN, course, Tally(2, 2, 0), 3_700) == Course(stage=1)
    course = settled(Course(stage=1), Tally(20, 18, 0), 5_000)
    assert decided(PLAN, course, Tally(20, 18, 0), 5_600) == Course(stage=2)


def test_time_begins_anew_when_chargers_fall_back_meanwhile() -> None:
    course = settled(Course(), Tally(2, 2, 0), 100)
    course = settled(course, Tally(2, 1, 0), 200)
    assert course.reached_s is None
    assert settled(course, Tally(2, 2, 0), 300).reached_s == 300


def test_the_last_stage_ends_when_everybody_is_done() -> None:
    course = Course(stage=2)
    assert settled(course, Tally(200, 190, 9), 0) == course
    course = settled(course, Tally(200, 191, 9), 10)
    assert course.state is State.RUNNING
    assert settled(course, Tally(200, 191, 9), 70).state is State.COMPLETED


def test_too_many_failures_halt_it_but_not_before_enough_chargers_are_done() -> None:
    course = Course(stage=2)
    assert settled(course, Tally(200, 15, 4), 0) == course
    halted = settled(course, Tally(200, 19, 1), 0)
    assert (halted.state, halted.reason) == (State.HALTED, "1 of 20 chargers failed")
    assert settled(course, Tally(200, 20, 1), 0) == course


def test_a_stage_that_can_no_longer_succeed_halts_it() -> None:
    plan = replace(PLAN, limit=Limit(1.0, 10))
    course = Course(stage=1)
    assert settled(course, Tally(20, 0, 2), 0, plan) == course
    halted = settled(course, Tally(20, 0, 3), 0, plan)
    assert (halted.state, halted.reason) == (State.HALTED, "stage 1: 3 of 20 chargers failed")


def test_who_resumes_a_halted_campaign_forgives_the_failures_so_far() -> None:
    halted = settled(Course(stage=2), Tally(200, 50, 10), 0)
    assert halted.state is State.HALTED
    course = acted(halted, Action.RESUME, Tally(200, 50, 10))
    assert settled(course, Tally(200, 60, 12), 0).state is State.RUNNING
    assert settled(course, Tally(200, 60, 14), 0).state is State.HALTED
    assert settled(course, Tally(200, 60, 9), 0).state is State.RUNNING
    done = settled(course, Tally(200, 190, 10), 0)
    assert settled(done, Tally(200, 190, 10), 60).state is State.COMPLETED


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", Action)
def test_what_can_be_done_to_a_campaign(state: State, action: Action) -> None:
    allowed = {
        (State.RUNNING, Action.PAUSE): State.PAUSED,
        (State.PAUSED, Action.RESUME): State.RUNNING,
        (State.HALTED, Action.RESUME): State.RUNNING,
        **{(each, Action.ABORT): State.ABORTED for each in State if not each.over},
    }
    if after := allowed.get((state, action)):
        assert acted(Course(state=state), action, Tally(1, 0, 0)).state is after
    else:
        with pytest.raises(UsageError, match=action.value):
            acted(Course(state=state), action, Tally(1, 0, 0))


def test_everybody_has_a_turn_in_an_order_of_the_campaign_s_own() -> None:
    turns = drawn("one", SERIALS, 100)
    assert sorted(turns) == SERIALS and turns == drawn("one", reversed(SERIALS), 100) != drawn("two", SERIALS, 100)
    assert drawn("one", SERIALS, 10) == turns[:20]
    assert [stage_of(STAGES, position, 200) for position in (0, 1, 2, 19, 20, 199)] == [0, 0, 1, 1, 2, 2]
    assert len(drawn("one", SERIALS[:3], 1)) == 1 and drawn("one", [], 100) == []


@pytest.mark.parametrize(("percent", "count", "share"), [(7, 100, 7), (0.1, 1_000, 1), (33.3, 10, 4), (100, 0, 0)])
def test_a_share_is_rounded_up_and_nothing_else(percent: float, count: int, share: int) -> None:
    assert share_of(percent, count) == share


@pytest.mark.parametrize("percents", [(), (50,), (10, 10, 100), (20, 10, 100), tuple(range(84, 101))])
def test_stages_grow_up_to_everybody(percents: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="stages"):
        Plan(Offer("5.4"), stages=tuple(Stage(percent) for percent in percents))


def test_a_plan_survives_json() -> None:
    assert plan_from(PLAN.to_json()) == PLAN


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 5_000)), max_size=30))
def test_a_campaign_never_goes_back_and_never_leaves_its_end(looks: list[tuple[int, int, int]]) -> None:
    now_s, courses = 0.0, [Course()]
    for installed, failed, passed_s in looks:
        now_s += passed_s
        stage = PLAN.stages[courses[-1].stage]
        chargers = share_of(stage.percent, 200)
        tally = Tally(chargers, min(installed, chargers), min(failed, chargers - min(installed, chargers)))
        courses.append(decided(PLAN, courses[-1], tally, now_s))
    for before, after in pairwise(courses):
        assert before.stage <= after.stage <= before.stage + 1
        assert before.state is State.RUNNING or after == before
