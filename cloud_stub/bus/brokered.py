"""A bus over a broker, whatever client it has: a connection that is kept, who subscribes here, and what is open."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypedDict

from cloud_stub.bus.api import QUEUE_MAX, Delivery, OnDelivery, Subscriptions
from cloud_stub.bus.journal import Journal
from cloud_stub.bus.keeper import PATIENCE_S, Keeper
from cloud_stub.bus.outgoing import OpenMessages, Outgoing
from cloud_stub.bus.properties import Properties, clean
from emulator.faults import Undo
from emulator.wire.address import Address

STOP_S = 3.0
"""How long the end waits for what is open."""


class Options(TypedDict, total=False):
    """What a bus may be told of: see `BrokeredBus`."""

    queue_max: int
    patience_s: float
    journal: Journal | None
    session: str


class BrokeredBus(ABC):
    """The bus over one connection to a broker. When the broker goes away it reconnects and sends again what is open.

    So a message may arrive twice. What is published here reaches the subscribers here when the broker has taken it and,
    by MQTT 5's No Local, not a second time; what others publish comes from the broker; a message that the broker
    refuses reaches nobody. Limits: `queue_max` messages open, and `patience_s` of waiting for a broker that is away.

    With a `journal`, what a broker has acknowledged and lost is sent again, before everything else. With a `session`
    (a client id of its own), the broker keeps for us what comes while we are away.
    """

    def __init__(
        self,
        broker: Address,
        *,
        queue_max: int = QUEUE_MAX,
        patience_s: float = PATIENCE_S,
        journal: Journal | None = None,
        session: str = "",
    ) -> None:
        self._broker = broker
        self._session = session
        self._subscriptions = Subscriptions()
        self._open = OpenMessages(self._subscriptions.dispatch, journal, queue_max)
        self._keeper = Keeper(broker, self._connect, self._give_up, patience_s=patience_s)
        self.connects = 0

    @property
    def congested(self) -> bool:
        return self._open.congested

    @property
    def repeated(self) -> int:
        """Messages that were sent again out of the journal."""
        return self._open.repeated

    async def start(self) -> None:
        await self._keeper.start()

    async def stop(self) -> None:
        if not self._keeper.running:
            return
        if self._connected:
            await self._open.none_left(STOP_S)
        await self._keeper.stop()
        self._give_up("bus is stopped")
        self._open.end()

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        acknowledged = self._open.admit(running=self._keeper.running)
        if not acknowledged.done():
            self._put(Outgoing(Delivery(topic, payload, clean(properties)), acknowledged))
        return acknowledged

    @abstractmethod
    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo: ...

    @property
    @abstractmethod
    def _connected(self) -> bool: ...

    @abstractmethod
    async def _connect(self, connected: Callable[[], None]) -> None:
        """As `Keeper` wants it."""

    @abstractmethod
    def _put(self, outgoing: Outgoing) -> None:
        """Send it behind all others."""

    @abstractmethod
    def _give_up(self, reason: str) -> None:
        """Give up all that waits to be sent."""
