"""The table of refusals, byte by byte, in virtual time."""

import pytest

from tests.hub.negative import CASES, Case
from tests.hub.place import Place, play

SERIAL, BYSTANDER = "ZPR000001", "ZPR000002"
SECTIONS = {"1.5", "1.7", "1.10", "1.11", "1.14", "1.15"}


def test_every_case_has_a_name_and_a_section_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.section for case in CASES} == SECTIONS


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_hub_answers_as_documented_and_serves_the_others(case: Case, whole: bool) -> None:
    async def story(place: Place) -> None:
        place.change_rules(**case.rules)
        badge = place.badge(SERIAL)
        bystander = await place.caller(place.badge(BYSTANDER))
        caller = await place.caller(badge if case.login else None)
        for piece in case.say(badge):
            for data in [piece] if whole or len(piece) > 2000 else [piece[i : i + 1] for i in range(len(piece))]:
                caller.say(data)
        heard, ended = await caller.rest(case.wait_s + 1)
        assert (heard, ended) == (case.answer, case.ends)
        assert recorded(place) == case.why
        if not case.wait_s:
            assert await bystander.answers()
        if not case.ends:
            assert await caller.answers()

    play(story)


def recorded(place: Place) -> str:
    """The reason that the hub has written down: of the refusal, or of the end of the connection."""
    refusals = [each["data"]["reason"] for each in place.events("connect") if each["data"].get("reason")]
    ends = [each["reply"] for each in place.events("close")]
    return next(iter((*refusals, *ends)), "")
