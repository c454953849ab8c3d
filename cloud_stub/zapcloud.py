"""The vendor's backend behind the hub: understands what chargers say and answers a car with a charge session.

Reads the messages of zaptec.md section 7 off the bus and reacts as its section 9 shows: a charger that requires a card
gets nothing before one was shown. Whether a real cloud would start at once, with how many amperes, and that every card
is as good as any other is invented.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from cloud_stub.bus.api import Bus, BusError
from cloud_stub.hearing import Hearing, observations_in
from cloud_stub.hub.methods import Invoke, MethodError
from cloud_stub.store import DeviceState, Store
from emulator.wire.messages import Message, MessageError, Observation, parse_completed_session

AUTHENTICATION_REQUIRED, OPERATION_MODE, USER, COMPLETED_SESSION = 120, 710, 722, 723
DISCONNECTED, REQUESTING = "1", "2"
SHOW_GRANTED, SET_SESSION_ID, START_CHARGING = "601", "504", "501"
ALL_PHASES_TN = "4"  # zaptec.md section 17.4
REACTIONS_MAX = 10_000
CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the backend grants to a car."""

    auto_start: bool = True
    amps: int = 16
    phase_id: str = ALL_PHASES_TN


class ZapCloud:
    """Opens a charge session when a car asks for one, and files it when it ends. `hearing` fills the store for it."""

    def __init__(self, *, bus: Bus, store: Store, invoke: Invoke, rng: Random, policy: Policy | None = None) -> None:
        self.hearing = Hearing(bus, store)
        self.hearing.listeners.append(self._heard)
        self._store = store
        self._invoke = invoke
        self._rng = rng
        self._reactions: dict[str, asyncio.Task[None]] = {}
        self.policy = policy or Policy()
        self.messages_down = 0
        self.refused = 0
        """Commands that a charger did not take."""

    @property
    def listeners(self) -> list[Callable[[str, Message], None]]:
        """Called with device id and message for everything that could be read."""
        return self.hearing.listeners

    @property
    def messages_up(self) -> int:
        """Messages from chargers."""
        return self.hearing.messages

    @property
    def garbage(self) -> int:
        """Messages, and sessions in them, that could not be read."""
        return self.hearing.garbage

    async def start(self) -> None:
        """Listen on the bus. Before the endpoint starts, or what chargers say first is missed."""
        await self.hearing.start()

    async def stop(self) -> None:
        """Listen no more and give up what is going on."""
        self.hearing.stop()
        reactions = list(self._reactions.values())
        for reaction in reactions:
            reaction.cancel()
        if reactions:
            await asyncio.wait(reactions)

    def _heard(self, device_id: str, message: Message) -> None:
        state = self._store.device(device_id)
        for observation in observations_in(message):
            self._react(device_id, state, observation)

    def _react(self, device_id: str, state: DeviceState, observation: Observation) -> None:
        if observation.id == COMPLETED_SESSION:
            self._file(state, observation.value)
        elif observation.id == OPERATION_MODE and observation.value == DISCONNECTED:
            state.session_id = state.tag = None
        elif observation.id == USER and observation.value and _requires_card(state):
            state.tag = observation.value
            self._grant(device_id, state, (SHOW_GRANTED, None))
        elif observation.id == OPERATION_MODE and observation.value == REQUESTING:
            self._grant(device_id, state)

    def _file(self, state: DeviceState, text: str) -> None:
        """Keep a completed session once: after a lost PUBACK it comes again (zaptec.md section 10)."""
        try:
            state.complete(parse_completed_session(text))
        except MessageError:
            self.hearing.garbage += 1

    def _grant(self, device_id: str, state: DeviceState, *first: tuple[str, None]) -> None:
        if _requires_card(state) and state.tag is None:
            return
        if not self.policy.auto_start or device_id in self._reactions or len(self._reactions) >= REACTIONS_MAX:
            return  # the charger asks again (zaptec.md section 10)
        if state.session_id is None:
            state.session_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        opening = self._open_session(device_id, state.session_id, first)
        task = asyncio.create_task(opening, name=f"session {device_id}")
        self._reactions[device_id] = task
        task.add_done_callback(lambda _: self._reactions.pop(device_id, None))

    async def _open_session(self, device_id: str, session_id: str, first: tuple[tuple[str, None], ...]) -> None:
        start = [str(self.policy.amps), self.policy.phase_id]
        for command, payload in (*first, (SET_SESSION_ID, [session_id]), (START_CHARGING, start)):
            self.messages_down += 1
            try:
                result = await self._invoke(device_id, command, payload, CALL_TIMEOUT_S)
            except (MethodError, BusError):
                self.refused += 1
                return
            if result.status != 200:
                self.refused += 1
                if command != SHOW_GRANTED:  # refused when no card waits: after command 505
                    return


def _requires_card(state: DeviceState) -> bool:
    """By what the charger itself has reported."""
    required = state.observations.get(AUTHENTICATION_REQUIRED)
    return required is not None and required.value == "1"
