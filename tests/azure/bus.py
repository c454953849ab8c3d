"""The bus behind the hub, watched with paho-mqtt."""

from collections.abc import Mapping
from dataclasses import dataclass
from queue import Queue
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One message on the bus."""

    topic: str
    payload: bytes
    properties: Mapping[str, str]


class BusWatcher:
    """Everything below ``hub/`` from the moment that its ``with`` block begins."""

    def __init__(self, mosquitto: Mapping[str, Any]) -> None:
        self._place = (mosquitto["host"], mosquitto["port"])
        self._seen: Queue[Seen] = Queue()
        self._subscribed: Queue[int] = Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_subscribe = lambda client, data, mid, codes, properties: self._subscribed.put(mid)
        self._client.on_message = self._message

    def __enter__(self) -> Self:
        self._client.connect(*self._place)
        self._client.loop_start()
        self._client.subscribe("hub/#", qos=1)
        self._subscribed.get(timeout=WITHIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def next(self, topic: str) -> Seen:
        """The next message with this topic; others are dropped."""
        while (seen := self._seen.get(timeout=WITHIN_S)).topic != topic:
            pass
        return seen

    def send(self, topic: str, payload: bytes, properties: Mapping[str, str] = {}) -> None:
        """Publish a message with user properties, as any MQTT 5 client can, and wait until the broker has it."""
        given = Properties(PacketTypes.PUBLISH)
        given.UserProperty = list(properties.items())
        self._client.publish(topic, payload, qos=1, properties=given).wait_for_publish(WITHIN_S)

    def _message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        pairs = getattr(message.properties, "UserProperty", [])
        self._seen.put(Seen(message.topic, bytes(message.payload), dict(pairs)))
