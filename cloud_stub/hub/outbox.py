"""How what the hub says on one connection gets on its way: one write for each turn of the loop, nothing queued."""

import asyncio
import contextlib

from emulator.machines.mqtt import MqttServer
from emulator.net.api import Stream
from emulator.wire.mqtt import MqttError

UNSENT_BYTES_MAX, STUCK_BYTES_MAX = 64 << 10, 16 << 10
"""Above so much that was said and not sent yet, method calls, twin replies and pushes are lost, and C2D messages stay
in their queue. The smaller limit is for a device that is known not to read: thousands of them must not cost much."""
LARGE_BYTES = 4 << 10


class Outbox:
    """Writes the output of the MQTT machine to the stream."""

    __slots__ = ("_due", "_mqtt", "_stream")

    def __init__(self, mqtt: MqttServer, stream: Stream) -> None:
        self._mqtt = mqtt
        self._stream = stream
        self._due = False

    def has_room(self, size_bytes: int, *, stuck: bool) -> bool:
        """Whether a message of this size may be sent; `stuck`: what was sent before was not read."""
        unsent = self._stream.unsent_bytes
        return unsent + size_bytes <= STUCK_BYTES_MAX if stuck else unsent <= UNSENT_BYTES_MAX

    def send(self, topic: str, payload: bytes, now: float) -> None:
        """Send with QoS 0, as the hub sends everything but C2D messages."""
        with contextlib.suppress(MqttError):  # a topic that the device's own rid makes too long
            self._mqtt.publish(topic, payload, qos=0, now=now)
        self.flush_for(len(payload))

    def flush_for(self, size_bytes: int) -> None:
        """A message of this size was said: a large one is written now, so that `has_room` counts it."""
        if size_bytes > LARGE_BYTES:
            self.flush()
        else:
            self.flush_soon()

    def flush_soon(self) -> None:
        """Everything that one turn of the loop answers leaves in one TLS record."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what there is."""
        self._due = False
        data = self._mqtt.output()
        if data:
            self._stream.write(data)
