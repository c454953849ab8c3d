"""What is outstanding on one connection: PUBACKs that the hub owes, calls and C2D messages that the device owes."""

import asyncio
from collections.abc import Iterator

from cloud_stub.state.c2d import C2dDelivery
from emulator.machines.mqtt import MqttServer

READ_AHEAD_MAX = 16  # iothub-mqtt.md section 1.7
CALLS_MAX = 32
"""Direct methods that wait for the device's answer; the oldest is forgotten when there are more (invented)."""
DELIVERIES_MAX = 16
"""C2D messages that wait for the device's PUBACK (invented)."""

Acknowledged = asyncio.Future[None]


class Owed:
    """PUBACKs in the order of their messages. Packet id 0: of QoS 0, or lost."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Acknowledged | None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, packet_id: int, accepted: Acknowledged | None) -> None:
        """A message that is accepted once this is done; None: it is."""
        self._waiting.append((packet_id, accepted))

    def due(self) -> Iterator[int]:
        """The packet ids of accepted messages that wait for none before them; they are owed no more."""
        waiting = self._waiting
        while waiting and ((accepted := waiting[0][1]) is None or accepted.done()):
            packet_id, _ = waiting.pop(0)
            if packet_id:
                yield packet_id


class Calls:
    """Direct methods in flight: the request id towards the device, and the caller's."""

    __slots__ = ("_callers", "_last")

    def __init__(self) -> None:
        self._callers: dict[str, str] = {}
        self._last = 0

    def begin(self, caller_rid: str) -> str:
        """A new request id."""
        self._last += 1
        if len(self._callers) >= CALLS_MAX:
            del self._callers[next(iter(self._callers))]
        rid = f"{self._last:x}"
        self._callers[rid] = caller_rid
        return rid

    def end(self, rid: str) -> str | None:
        """The caller's request id; None for one that is unknown, forgotten or was answered before."""
        return self._callers.pop(rid, None)


class Deliveries:
    """C2D messages of QoS 1 in flight, by packet id."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent: dict[int, C2dDelivery] = {}

    @property
    def full(self) -> bool:
        """No more should be sent before a PUBACK comes."""
        return len(self._sent) >= DELIVERIES_MAX

    @property
    def under_way(self) -> bool:
        """A PUBACK is still to come."""
        return bool(self._sent)

    @property
    def locks(self) -> list[str]:
        """Of the deliveries that the device has not acknowledged."""
        return [delivery.lock for delivery in self._sent.values()]

    def send(self, mqtt: MqttServer, delivery: C2dDelivery, topic: str, now: float, *, copies: int) -> None:
        """Send a message, with DUP if it was delivered before; under its old packet id if on this connection.

        MqttError when MQTT cannot carry it.
        """
        body, packet_id = delivery.message.body, self._packet_id_of(delivery)
        if packet_id is None:
            packet_id = mqtt.publish(topic, body, qos=1, now=now, dup=delivery.delivery_count > 1)
        else:
            mqtt.publish_again(packet_id, topic, body)
        self._sent[packet_id] = delivery
        for _ in range(copies - 1):
            mqtt.publish_again(packet_id, topic, body)

    def acked(self, packet_id: int) -> str | None:
        """The lock of the delivery with this packet id; None if there is none."""
        delivery = self._sent.pop(packet_id, None)
        return None if delivery is None else delivery.lock

    def _packet_id_of(self, delivery: C2dDelivery) -> int | None:
        sent = self._sent.items()
        return next((packet_id for packet_id, each in sent if each.sequence == delivery.sequence), None)
