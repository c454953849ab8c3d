import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.bus.api import BusError, Kind, LocalBus, topic_of
from cloud_stub.hub.methods import MethodError, MethodResult
from cloud_stub.state.errors import ErrorCode
from cloud_stub.store import Store
from cloud_stub.zapcloud import Policy, ZapCloud
from emulator.clock import SimLoop
from emulator.wire.messages import (
    CompletedSession,
    EventType,
    Observation,
    collection,
    completed_session,
    event,
    observation,
    pulse,
)

SERIAL = "ZPR000001"
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SESSION = CompletedSession("a-b-c", 1.5, NOON, NOON, True, False, "", "OCMF|{}")


class Backend:
    """The backend on a local bus; commands to the charger are noted and answered from `answers`."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.bus = LocalBus()
        self.store = Store()
        self.commands: list[tuple[str, Any]] = []
        self.answers: list[int | Exception] = []
        self.zapcloud = ZapCloud(bus=self.bus, store=self.store, invoke=self._invoke, rng=Random(1), policy=policy)

    async def _invoke(self, device_id: str, name: str, payload: Any, timeout_s: float) -> MethodResult:
        await asyncio.sleep(0.1)
        self.commands.append((name, payload))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return MethodResult(answer, None)

    async def say(self, payload: bytes, device_id: str = SERIAL) -> None:
        await self.bus.publish(topic_of(device_id, Kind.D2C), payload)
        await asyncio.sleep(1)

    async def observe(self, number: int, value: str) -> None:
        await self.say(observation(Observation(number, value, NOON)))

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            await self.bus.start()
            await self.zapcloud.start()
            await story()
            await self.zapcloud.stop()
            await self.bus.stop()

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(main())


def test_a_car_gets_a_session_id_and_then_a_start() -> None:
    cloud = Backend()

    async def story() -> None:
        await cloud.observe(710, "2")
        session_id = cloud.store.device(SERIAL).session_id
        assert session_id is not None and len(session_id) == 36
        assert cloud.commands == [("504", [session_id]), ("501", ["16", "4"])]
        assert (cloud.zapcloud.messages_up, cloud.zapcloud.messages_down) == (1, 2)

    cloud.run(story)


def test_a_request_that_comes_again_keeps_the_session_and_the_next_car_gets_another() -> None:
    cloud = Backend(Policy(amps=10))

    async def story() -> None:
        for value in ("2", "3", "2", "1", "2"):
            await cloud.observe(710, value)
        first, again, other = (payload[0] for command, payload in cloud.commands if command == "504")
        assert first == again != other
        assert [payload for command, payload in cloud.commands if command == "501"] == [["10", "4"]] * 3

    cloud.run(story)


def test_two_requests_at_once_are_answered_once() -> None:
    cloud = Backend()

    async def story() -> None:
        items = [Observation(710, "2", NOON), Observation(710, "2", NOON)]
        await cloud.say(collection(items))
        assert [command for command, _ in cloud.commands] == ["504", "501"]

    cloud.run(story)


def test_a_charger_that_requires_a_card_gets_nothing_before_one_was_shown() -> None:
    cloud = Backend()

    async def story() -> None:
        for number, value in ((120, "1"), (710, "2")):
            await cloud.observe(number, value)
        assert cloud.commands == []
        await cloud.observe(722, "nfc-04A1B2C3")
        granted = [("601", None), ("504", [cloud.store.device(SERIAL).session_id]), ("501", ["16", "4"])]
        assert cloud.commands == granted
        await cloud.observe(710, "2")
        assert cloud.commands == granted + granted[1:]  # the card is good for the whole session
        for value in ("1", "2"):
            await cloud.observe(710, value)
        assert len(cloud.commands) == 5  # and for no other

    cloud.run(story)


def test_a_card_that_was_granted_otherwise_is_no_obstacle() -> None:
    cloud = Backend()
    cloud.answers = [400]

    async def story() -> None:
        for number, value in ((120, "1"), (722, "nfc-04A1B2C3")):
            await cloud.observe(number, value)
        assert [command for command, _ in cloud.commands] == ["601", "504", "501"]

    cloud.run(story)


def test_a_card_that_nobody_requires_starts_nothing() -> None:
    cloud = Backend()

    async def story() -> None:
        for number, value in ((120, "0"), (722, "nfc-04A1B2C3")):
            await cloud.observe(number, value)
        assert cloud.commands == []

    cloud.run(story)


def test_without_auto_start_the_cloud_only_listens() -> None:
    cloud = Backend(Policy(auto_start=False))

    async def story() -> None:
        await cloud.observe(710, "2")
        assert cloud.commands == [] and cloud.store.device(SERIAL).observations[710].value == "2"

    cloud.run(story)


@pytest.mark.parametrize("refusal", [400, MethodError(ErrorCode.CONNECTION_CLOSED, SERIAL), BusError("bus is stopped")])
def test_no_start_without_a_session_id(refusal: int | Exception) -> None:
    cloud = Backend()
    cloud.answers = [refusal]

    async def story() -> None:
        await cloud.observe(710, "2")
        assert [command for command, _ in cloud.commands] == ["504"] and cloud.zapcloud.refused == 1

    cloud.run(story)


def test_last_values_are_kept_and_pulses_and_events_counted() -> None:
    cloud = Backend()

    async def story() -> None:
        await cloud.say(collection([Observation(501, "229.500", NOON), Observation(911, "5.3.0.3", NOON)]))
        await cloud.observe(501, "231.000")
        await cloud.say(pulse())
        await cloud.say(event(EventType.WARNING, "hot"))
        values = {number: seen.value for number, seen in cloud.store.device(SERIAL).observations.items()}
        assert values == {501: "231.000", 911: "5.3.0.3"}
        assert (cloud.zapcloud.messages_up, cloud.zapcloud.garbage) == (4, 0)

    cloud.run(story)


def test_a_completed_session_is_filed_once() -> None:
    cloud = Backend()

    async def story() -> None:
        for session in (SESSION, SESSION, replace(SESSION, session_id="d-e-f")):
            await cloud.observe(723, completed_session(session))
        await cloud.observe(723, "nonsense")
        assert list(cloud.store.device(SERIAL).sessions) == ["a-b-c", "d-e-f"]
        assert cloud.zapcloud.garbage == 1

    cloud.run(story)


def test_the_online_flag_follows_the_connection() -> None:
    cloud = Backend()

    async def story() -> None:
        for payload, online in ((b'{"state":"connected"}', True), (b"?", True), (b'{"state":"disconnected"}', False)):
            await cloud.bus.publish(topic_of(SERIAL, Kind.CONNECTION), payload)
            await asyncio.sleep(0)
            assert cloud.store.device(SERIAL).online is online

    cloud.run(story)


@given(st.binary() | st.text().map(str.encode))
def test_garbage_is_counted_and_nothing_else(payload: bytes) -> None:
    cloud = Backend()

    async def story() -> None:
        await cloud.say(b"\0" + payload)
        await cloud.say(b'{"Type":6,"Observations":[{"Type":1,"ObservationId":"x"}]}')
        assert cloud.zapcloud.garbage == 2 and cloud.zapcloud.messages_up == 2

    cloud.run(story)


def test_stop_gives_up_what_is_going_on() -> None:
    cloud = Backend()

    async def story() -> None:
        await cloud.bus.publish(topic_of(SERIAL, Kind.D2C), observation(Observation(710, "2", NOON)))
        await asyncio.sleep(0.05)

    cloud.run(story)
    assert cloud.commands == []
