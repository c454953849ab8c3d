"""The bus behind the device endpoint: everything accepted goes up here, everything sent down comes from here.

========================================  ====  ==================================================================
topic                                     way   payload
========================================  ====  ==================================================================
``hub/{device}/d2c``                      up    the message; its property bag and what the hub stamps as properties
``hub/{device}/connection``               up    ``{"state": "connected" | "disconnected", "reason": ...}``; property
                                                ``hub-session`` and, of one of several endpoint processes, `WORKER`
``hub/{device}/method/{name}/{rid}``      down  JSON argument of a direct method
``hub/{device}/method-response/{status}/{rid}``  up  JSON or empty; property `ERROR` when it comes from the hub itself
``hub/{device}/desired``                  down  JSON merge patch of the desired properties; with property `VERSION`
                                                when the hub has taken it and it only goes on to the device
``hub/{device}/identity``                 down  empty: the device was changed or deleted in the registry
``hub/{device}/devicebound``              down  a C2D message to be queued; its property bag as properties
``hub/{device}/c2d-ready``                down  empty: the device's queue has a message for it
========================================  ====  ==================================================================

Ids, names and rids are percent-encoded. Properties are MQTT 5 user properties, so any MQTT 5 client can watch
``hub/#`` or publish a method request. Delivery is at least once and in order per publisher.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, unquote

from cloud_stub.bus.properties import Properties, clean
from emulator.errors import EmulatorError
from emulator.faults import Undo

QUEUE_MAX = 65_536
"""Messages accepted and not acknowledged yet; a publish beyond that fails at once."""
CONGESTED = 8_192
"""From here on publishers that can wait should."""

ERROR = "hub-error"
"""Property of a method response that the hub made itself: the error code, such as 404103."""
WORKER = "hub-worker"
"""Property of a connection message: the label of the endpoint process that has, or had, the device."""
VERSION = "hub-version"
"""Property of a change of desired properties that the hub has taken: the new ``$version``."""


class BusError(EmulatorError):
    """The bus did not take or did not acknowledge a message."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a subscriber gets it."""

    topic: str
    payload: bytes
    properties: Properties = ()


OnDelivery = Callable[[Delivery], None]


class Bus(Protocol):
    """Publish and subscribe. One process of the cloud has one."""

    @property
    def congested(self) -> bool:
        """More than `CONGESTED` messages wait for their acknowledgement."""

    async def start(self) -> None:
        """Make it ready. BusError when the broker cannot be reached."""

    async def stop(self) -> None:
        """Send what is queued if that is quickly done, then end. What is left fails with BusError."""

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        """Queue a message. The future is done when the bus has it; BusError when it never will."""

    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        """Have `deliver` called with every matching message from now on; the result ends it.

        It survives a restart of the broker. Overlapping filters each get their own copy of a message.
        """


class Kind(StrEnum):
    """The topics of the table above, by their third level."""

    D2C = "d2c"
    CONNECTION = "connection"
    METHOD = "method"
    METHOD_RESPONSE = "method-response"
    DESIRED = "desired"
    IDENTITY = "identity"
    DEVICEBOUND = "devicebound"
    C2D_READY = "c2d-ready"


_LEVELS = {kind: 2 if kind in (Kind.METHOD, Kind.METHOD_RESPONSE) else 0 for kind in Kind}


@dataclass(frozen=True, slots=True)
class Route:
    """A parsed topic: `rest` is (name, rid) of a method, (status, rid) of a response, else empty. All decoded."""

    device_id: str
    kind: Kind
    rest: tuple[str, ...] = ()


def topic_of(device_id: str, kind: Kind, *rest: str) -> str:
    """The topic of a message about a device."""
    return "/".join(("hub", quote(device_id, safe=""), kind.value, *(quote(part, safe="") for part in rest)))


def filter_of(kind: Kind) -> str:
    """The filter that matches every device's messages of a kind."""
    return "/".join(("hub", "+", kind.value, *"+" * _LEVELS[kind]))


_TOPIC = re.compile(r"hub/([^/]+)/([a-z0-9-]+)(?:/([^/]*)/([^/]*))?")
_KINDS = {kind.value: kind for kind in Kind}


def parse_topic(topic: str) -> Route | None:
    """The inverse of `topic_of`; None for a topic that is not in the table (anybody may publish on the bus)."""
    match = _TOPIC.fullmatch(topic)
    kind = _KINDS.get(match[2]) if match is not None else None
    if match is None or kind is None:
        return None
    rest = tuple(unquote(part) for part in match.groups()[2:] if part is not None)
    return Route(unquote(match[1]), kind, rest) if len(rest) == _LEVELS[kind] else None


@lru_cache(maxsize=256)
def _pattern(topic_filter: str) -> re.Pattern[str]:
    text = re.escape(topic_filter).replace(r"\+", "[^/]*")
    text = re.sub(r"(^|/)\\#$", lambda m: "(?:/.*)?" if m[1] else ".*", text)
    return re.compile(text, re.DOTALL)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic filter with ``+`` and ``#`` matches a topic (MQTT 3.1.1 section 4.7)."""
    return _pattern(topic_filter).fullmatch(topic) is not None


class Subscriptions:
    """Who gets what. Shared by all buses; subscribers are called in the order of their subscription."""

    def __init__(self) -> None:
        self._deliver: dict[str, list[OnDelivery]] = {}
        self._numbers: dict[str, int] = {}

    def add(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        """Add a subscriber."""
        self.number_of(topic_filter)  # at once: what a broker has kept comes before it has granted anything anew
        self._deliver.setdefault(topic_filter, []).append(deliver)
        return lambda: self._drop(topic_filter, deliver)

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters with a subscriber."""
        return tuple(self._deliver)

    def dispatch(self, delivery: Delivery) -> None:
        """Call every subscriber whose filter matches."""
        for topic_filter in self.filters:
            if matches(topic_filter, delivery.topic):
                self.dispatch_to(topic_filter, delivery)

    def dispatch_to(self, topic_filter: str, delivery: Delivery) -> None:
        """Call the subscribers of one filter."""
        for deliver in tuple(self._deliver.get(topic_filter, ())):
            deliver(delivery)

    def number_of(self, topic_filter: str) -> int:
        """The MQTT 5 subscription identifier of a filter: the same one on every connection."""
        return self._numbers.setdefault(topic_filter, len(self._numbers) + 1)

    def dispatch_numbered(self, delivery: Delivery, numbers: Sequence[int]) -> None:
        """Call the subscribers of the filters with these numbers, as a broker names them.

        It sends overlapping filters one copy each, or one for all: the numbers say whom a copy is for.
        """
        for topic_filter, number in self._numbers.items():
            if number in numbers:
                self.dispatch_to(topic_filter, delivery)

    def _drop(self, topic_filter: str, deliver: OnDelivery) -> None:
        delivers = self._deliver.get(topic_filter, [])
        if deliver in delivers:
            delivers.remove(deliver)
            if not delivers:
                del self._deliver[topic_filter]


class LocalBus:
    """The bus inside one process, for simulated worlds and where no Mosquitto is installed."""

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        self._subscriptions = Subscriptions()
        self._queue_max = queue_max
        self._waiting = 0
        self._running = False

    @property
    def congested(self) -> bool:
        return self._waiting > CONGESTED

    async def start(self) -> None:
        self._running = True

    async def stop(self) -> None:
        self._running = False

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[None] = loop.create_future()
        if not self._running:
            acknowledged.set_exception(BusError("bus is stopped"))
        elif self._waiting >= self._queue_max:
            acknowledged.set_exception(BusError(f"bus has {self._queue_max} messages waiting"))
        else:
            self._waiting += 1
            loop.call_soon(self._deliver, Delivery(topic, payload, clean(properties)), acknowledged)
        return acknowledged

    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        return self._subscriptions.add(topic_filter, deliver)

    def _deliver(self, delivery: Delivery, acknowledged: "asyncio.Future[None]") -> None:
        self._waiting -= 1
        if not acknowledged.done():
            acknowledged.set_result(None)
        self._subscriptions.dispatch(delivery)
