"""What a device can show at the hub's door, right or wrong: user name, token, CONNECT, all the way down to bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from emulator.wire.iothub import events_topic, sas_token, username
from emulator.wire.mqtt import Connect, Publish, Subscribe, encode
from emulator.wire.mqtt_fields import frame, pack_text

API_VERSION = "2018-06-30"
VALID_S = 3600


@dataclass(frozen=True, slots=True)
class Badge:
    """One device of one hub, and the true time."""

    hub: str
    device_id: str
    key: bytes
    utc: Callable[[], datetime]

    def token(self, *, resource: str = "", key: bytes = b"", valid_s: int = VALID_S, policy: str | None = None) -> str:
        """A SAS token; what is not given is right."""
        expiry = int(self.utc().timestamp()) + valid_s
        return sas_token(resource or f"{self.hub}/devices/{self.device_id}", key or self.key, expiry, policy=policy)

    def connect(self, **changes: Any) -> bytes:
        """CONNECT; what is not given is right."""
        good: dict[str, Any] = {
            "client_id": self.device_id,
            "username": username(self.hub, self.device_id, API_VERSION),
            "password": self.token().encode(),
            "keep_alive_s": 300,
        }
        return encode(Connect(**(good | changes)))

    def with_token(self, token: str | bytes) -> bytes:
        """CONNECT with this password."""
        return self.connect(password=token.encode() if isinstance(token, str) else token)

    def with_level(self, name: str, level: int) -> bytes:
        """CONNECT of another protocol: what follows is as in 3.1.1."""
        head = pack_text(name) + bytes((level, 0xC2, 1, 44))
        fields = pack_text(self.device_id), pack_text(username(self.hub, self.device_id, API_VERSION))
        return frame(0x10, head, *fields, pack_text(self.token()))

    def with_flags(self, flags: int) -> bytes:
        """CONNECT with these connect flags and nothing but a client id behind them."""
        return frame(0x10, pack_text("MQTT") + bytes((4, flags, 0, 60)), pack_text(self.device_id))

    @property
    def events(self) -> str:
        """Where it publishes telemetry."""
        return events_topic(self.device_id)

    def message(self, payload: bytes = b"{}", *, topic: str = "", **changes: Any) -> bytes:
        """A QoS 1 message to its event topic, or to another one."""
        return encode(Publish(topic or self.events, payload, **({"qos": 1, "packet_id": 9} | changes)))

    def raw_message(self, topic: bytes, payload: bytes = b"", *, first: int = 0x32) -> bytes:
        """PUBLISH with a topic that need not be text."""
        return frame(first, len(topic).to_bytes(2), topic, b"\x00\x09" if first & 6 else b"", payload)


def subscribe(*filters: str, qos: int = 1, packet_id: int = 7) -> bytes:
    """SUBSCRIBE."""
    return encode(Subscribe(packet_id, tuple((topic_filter, qos) for topic_filter in filters)))
