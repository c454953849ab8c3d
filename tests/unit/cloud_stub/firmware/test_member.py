"""What a charger's own messages make of it in a campaign."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.firmware.member import (
    Accepted,
    Asked,
    MainboardRuns,
    Member,
    News,
    Refused,
    Runs,
    Standing,
    moved,
    news_in,
    offered,
)
from emulator.wire.messages import Collection, DeviceEvent, EventType, Message, Observation, Pulse

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NEW, OLD = "5.4.0.0", "5.3.0.3"
WAITING = Member("ZPR000001", 0, 0)
OFFERED = offered(WAITING, NEW, 1.0)
ACCEPTED, REJECTED = '{"Name":"OTA","Description":"Accepted"}', '{"Name":"OTA","Description":"Rejected"}'


def observed(number: int, value: str) -> Observation:
    return Observation(number, value, NOON)


def line(text: str) -> DeviceEvent:
    return DeviceEvent(EventType.WARNING, text)


def after(*news: News, member: Member = OFFERED) -> Member:
    for number, each in enumerate(news):
        member = moved(member, each, NEW, 10.0 + number)
    return member


def standings(*news: News) -> list[str]:
    return [after(*news[: count + 1]).standing.value for count in range(len(news))]


@pytest.mark.parametrize(
    ("message", "news"),
    [
        (observed(830, ACCEPTED), [Accepted()]),
        (observed(830, REJECTED), [Refused("rejected")]),
        (observed(911, NEW), [Runs(NEW)]),
        (observed(908, "3.4"), [MainboardRuns("3.4")]),
        (Collection((observed(710, "1"), observed(911, NEW), observed(908, "3.4"))), [Runs(NEW), MainboardRuns("3.4")]),
        (
            line("[ota_metrics] @2026-06-01T12:00:00Z wrong_hash: block 7 (fpga)"),
            [Refused("wrong_hash", "block 7 (fpga)")],
        ),
        (line("[ota_metrics] @2026-06-01T12:00:00Z installed 5.4.0.0"), []),
        (line("[ota_metrics] @2026-06-01T12:00:00Z tired: of it"), []),
        (line("Connected: 1"), []),
        (observed(830, '{"Name":"Door","Description":"Accepted"}'), []),
        (observed(830, '{"Name":"OTA","Description":17}'), []),
        (observed(830, "[" * 100_000), []),
        (observed(830, "no JSON"), []),
        (observed(710, "1"), []),
        (Pulse(), []),
    ],
    ids=range(15),
)
def test_what_a_message_says_about_updates(message: Message, news: list[News]) -> None:
    assert list(news_in(message)) == news


def test_an_update_that_succeeds() -> None:
    assert standings(Asked(), Asked(), Accepted(), Runs(NEW), Accepted()) == [
        "downloading",
        "downloading",
        "installing",
        "installed",
        "installed",
    ]
    assert after(Asked(), Runs("5.4")).standing is Standing.INSTALLED


def test_an_update_that_is_refused_says_why_a_little_later() -> None:
    member = after(Asked(), Refused("rejected"), Refused("wrong_hash", "block 7"), Refused("flash"))
    assert (member.standing, member.reason, member.detail) == (Standing.FAILED, "wrong_hash", "block 7")
    assert after(Asked(), Refused("wrong_hash", "block 7"), Refused("rejected")).reason == "wrong_hash"


def test_a_release_that_is_not_confirmed_falls_back() -> None:
    for news in ((Asked(), Accepted(), Runs(OLD)), (Asked(), Accepted(), Runs(NEW), Runs(OLD))):
        member = after(*news)
        assert (member.standing, member.reason, member.detail) == (Standing.FAILED, "rolled_back", f"{OLD} runs")


def test_who_failed_may_still_succeed() -> None:
    member = after(Asked(), Refused("too_slow", "x"), Asked(), Accepted(), Runs(OLD))
    assert (member.standing, member.reason) == (Standing.FAILED, "too_slow")
    member = after(Runs(NEW), member=member)
    assert (member.standing, member.reason, member.detail) == (Standing.INSTALLED, "", "")


def test_nothing_is_made_of_news_before_the_turn_of_a_charger() -> None:
    for news in (Asked(), Accepted(), Refused("flash"), Runs(OLD), Runs(NEW)):
        assert after(news, member=WAITING).standing is Standing.WAITING
    early = after(Runs(NEW), MainboardRuns("3.4"), member=WAITING)
    assert (early.computer, early.mainboard) == (NEW, "3.4")
    assert offered(early, NEW, 1.0).standing is Standing.INSTALLED
    assert after(Runs(OLD)) == replace(OFFERED, computer=OLD)


@given(
    st.lists(
        st.sampled_from(["", "x", NEW]).flatmap(
            lambda text: st.sampled_from([Asked(), Accepted(), Refused("flash", text), Runs(text), MainboardRuns(text)])
        ),
        max_size=12,
    )
)
def test_news_that_come_twice_change_nothing_more(news: list[News]) -> None:
    member = OFFERED
    for each in news:
        member = moved(member, each, NEW, 5.0)
        assert moved(member, each, NEW, 5.0) == member
        assert (member.standing is Standing.FAILED) == bool(member.reason)
