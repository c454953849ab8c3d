"""MQTT 3.1.1 connections without I/O: `MqttClient` for the charger, `MqttServer` for the hub's device endpoint.

Both take bytes and the time, and give events, bytes to write and the next deadline. They never raise for what the peer
does. After every call a driver writes `output()`, re-arms one timer to `deadline()`, and drops the stream once `Ended`
came or `ended` is true.
"""

from emulator.machines.mqtt_client import MqttClient
from emulator.machines.mqtt_events import (
    INFLIGHT_MAX,
    Acked,
    ConnectAsked,
    Connected,
    Disconnected,
    Ended,
    EndReason,
    Event,
    Granted,
    InflightFull,
    NotConnected,
    PingAsked,
    PublishAsked,
    Received,
    Refused,
    ServerEvent,
    SubscribeAsked,
    UnsubscribeAsked,
    Unsubscribed,
)
from emulator.machines.mqtt_server import MqttServer

__all__ = [
    "INFLIGHT_MAX",
    "Acked",
    "ConnectAsked",
    "Connected",
    "Disconnected",
    "EndReason",
    "Ended",
    "Event",
    "Granted",
    "InflightFull",
    "MqttClient",
    "MqttServer",
    "NotConnected",
    "PingAsked",
    "PublishAsked",
    "Received",
    "Refused",
    "ServerEvent",
    "SubscribeAsked",
    "UnsubscribeAsked",
    "Unsubscribed",
]
