"""What chargers say, heard on the bus and kept in the store: the messages of zaptec.md section 7, and who is online."""

from collections.abc import Callable

from cloud_stub.bus.api import Bus, Delivery, Kind, filter_of, parse_topic
from cloud_stub.hub.presence import Sightings
from cloud_stub.store import DeviceState, Observed, Store
from emulator.errors import UsageError
from emulator.faults import Undo
from emulator.wire.messages import Collection, Message, MessageError, Observation, parse


def observations_in(message: Message) -> tuple[Observation, ...]:
    """The observations in a message: none in pulses and events."""
    match message:
        case Observation() as observation:
            return (observation,)
        case Collection(observations):
            return observations
        case _:
            return ()


class Hearing:
    """Keeps the last values in the store and tells its listeners of every message."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus = bus
        self._store = store
        self._undo: list[Undo] = []
        self._sightings = Sightings()
        self.listeners: list[Callable[[str, Message], None]] = []
        """Called with device id and message for everything that could be read, once the store has it."""
        self.messages = 0
        self.garbage = 0
        """Messages that could not be read, or that the store has no room for."""

    async def start(self) -> None:
        """Listen on the bus. Before the endpoint starts, or what chargers say first is missed."""
        self._undo = [
            await self.bus.subscribe(filter_of(Kind.D2C), self._heard),
            await self.bus.subscribe(filter_of(Kind.CONNECTION), self._connection),
        ]

    def stop(self) -> None:
        """Listen no more."""
        for undo in self._undo:
            undo()
        self._undo = []

    def _heard(self, delivery: Delivery) -> None:
        self.messages += 1
        route = parse_topic(delivery.topic)
        state = self._state(route.device_id) if route else None
        if route is None or state is None:
            return
        try:
            message = parse(delivery.payload)
        except MessageError:
            self.garbage += 1
            return
        for observation in observations_in(message):
            state.observe(observation.id, Observed(observation.value, observation.at))
        for listener in self.listeners:
            listener(route.device_id, message)

    def _connection(self, delivery: Delivery) -> None:
        news = self._sightings.heard(delivery)
        state = self._state(news.device_id) if news else None
        if state is not None and news is not None:
            state.online = news.connected

    def _state(self, device_id: str) -> DeviceState | None:
        try:
            return self._store.device(device_id)
        except UsageError:
            self.garbage += 1  # the store is full: anybody may publish any device id on the bus
            return None
