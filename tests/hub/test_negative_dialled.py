"""The same table on real sockets against a running cloud, with the TLS of the standard library."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.hub.dialled import Dialled, badge
from tests.hub.negative import CASES, Case
from tests.hub.place import ACCEPTED, PING, PONG
from tests.programs import CloudProgram

NUMBERS = count(1)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudProgram]:
    with CloudProgram("--bus", "local") as running:
        yield running


@pytest.mark.parametrize("case", [case for case in CASES if case.quick], ids=lambda case: case.name)
def test_the_running_hub_answers_as_documented(cloud: CloudProgram, case: Case) -> None:
    one = badge(cloud, f"ZPR{next(NUMBERS):06}")
    with Dialled(cloud) as caller:
        if case.login:
            caller.say(one.connect())
            assert caller.listen(4) == ACCEPTED
        for piece in case.say(one):
            caller.say(piece)
        if case.ends:
            assert caller.rest() == case.answer
        else:
            assert caller.listen(len(case.answer)) == case.answer
            caller.say(PING)
            assert caller.listen(2) == PONG
        assert recorded(cloud, caller) == case.why


def recorded(cloud: CloudProgram, caller: Dialled) -> str:
    """The reason that the hub has written down for this connection; it forgets everything."""
    history = [each for each in cloud.call("DELETE", "/history/hub")[1]["history"] if each["sender"] == caller.address]
    refusals = [
        each["data"]["reason"] for each in history if each["data"]["event"] == "connect" and each["data"]["code"]
    ]
    ends = [each["reply"] for each in history if each["data"]["event"] == "close"]
    return next(iter((*refusals, *ends)), "")
