"""The rules of an IoT hub, pure: what may be set, what a PUBLISH or SUBSCRIBE means (iothub-mqtt.md Part 1).

Nothing here touches a socket or a clock; the device endpoint asks, and does what the answer says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from cloud_stub.bus.properties import Properties
from cloud_stub.hub.history import TEXT_MAX, masked
from cloud_stub.state.time import hub_time
from emulator.errors import WireError
from emulator.wire.iothub import (
    D2C,
    DESIRED_FILTER,
    METHODS_FILTER,
    TWIN_RESPONSES_FILTER,
    Bag,
    MethodResponse,
    MethodStatusError,
    TwinGet,
    TwinPatch,
    devicebound_filter,
    devicebound_filters,
    parse_device_topic,
)
from emulator.wire.mqtt import Publish

MESSAGE_BYTES_MAX = 262_144
DETAIL_MAX = TEXT_MAX
CODE_BAD_LEVEL, CODE_UNAVAILABLE, CODE_UNAUTHORISED = 1, 3, 5


class CloseReason(StrEnum):
    """Why a connection ended. The device sees the end of the TCP connection and nothing else (section 1.15)."""

    DISCONNECT = "disconnect"
    PEER = "peer"
    REFUSED = "refused"
    NO_CONNECT = "no_connect"
    KEEP_ALIVE = "keep_alive"
    MALFORMED = "malformed"
    PROTOCOL = "protocol"
    QOS_2 = "qos_2"
    FOREIGN_TOPIC = "foreign_topic"
    FOREIGN_FILTER = "foreign_filter"
    OVERSIZE = "oversize"
    TAKEOVER = "takeover"
    DISABLED = "disabled"
    DELETED = "deleted"
    THROTTLED = "throttled"
    QUOTA = "quota"
    UNAVAILABLE = "unavailable"
    INJECTED = "injected"
    HALF_OPEN = "half_open"
    SAS_EXPIRED = "sas_expired"
    BUS_LOST = "bus_lost"
    SHUTDOWN = "shutdown"


class ForeignFilters(StrEnum):
    """What a SUBSCRIBE to a topic outside the catalogue does; sources disagree (section 1.10)."""

    CLOSE = "close"
    GRANT_AND_IGNORE = "grant_and_ignore"


@dataclass(frozen=True, slots=True)
class HubRules:
    """One hub's choices where the vendor's behaviour is configurable or not known for sure."""

    host: str
    disabled_code: int = CODE_UNAUTHORISED
    """CONNACK for a disabled device: 5, or 3 as seen for years (section 1.5)."""
    token_skew_s: float = 0.0
    """For how long after its end a token still opens a connection (section 1.3)."""
    token_grace_s: float = 600.0
    """How long a connection outlives its token (section 1.3)."""
    foreign_filters: ForeignFilters = ForeignFilters.CLOSE
    will_on_takeover: bool = True
    """Whether the will of a connection is published when a newer one takes its place (section 1.9, assumed)."""
    authorities: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    """Who may sign the certificates of devices that are registered as CA-signed (section 1.4)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """The device broke a rule: close the connection."""

    reason: CloseReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BadStatus:
    """A method response whose status is no integer: its caller gets an error, the connection lives on."""

    rid: str


Meaning = D2C | TwinGet | TwinPatch | MethodResponse | BadStatus | Violation


def meaning_of(publish: Publish, device_id: str) -> Meaning:
    """What a PUBLISH by a device asks for (section 1.10)."""
    if publish.qos > 1:
        return Violation(CloseReason.QOS_2)
    if len(publish.payload) > MESSAGE_BYTES_MAX:
        return Violation(CloseReason.OVERSIZE, f"{len(publish.payload)} bytes")
    try:
        meaning = parse_device_topic(publish.topic, device_id)
    except MethodStatusError as error:
        return BadStatus(error.rid)
    except WireError as error:
        return Violation(CloseReason.FOREIGN_TOPIC, f"{masked(publish.topic)}: {error}")
    if isinstance(meaning, D2C) and len(publish.payload) + len(publish.topic) > MESSAGE_BYTES_MAX:
        size = message_bytes(meaning.bag, publish.payload)
        if size > MESSAGE_BYTES_MAX:
            return Violation(CloseReason.OVERSIZE, f"{size} bytes with its properties")
    return meaning


def message_bytes(bag: Bag, payload: bytes) -> int:
    """What counts towards `MESSAGE_BYTES_MAX`: the body, values of system properties, all of the others (1.7)."""
    named = sum(len(name.encode()) for name in bag if not name.startswith("$."))
    return len(payload) + named + sum(len((value or "").encode()) for value in bag.values())


class Channel(StrEnum):
    """What a device can subscribe to."""

    DEVICEBOUND = "devicebound"
    TWIN_RESPONSES = "twin_responses"
    DESIRED = "desired"
    METHODS = "methods"


_FILTERS: Mapping[str, Channel] = {
    devicebound_filter("+"): Channel.DEVICEBOUND,
    TWIN_RESPONSES_FILTER: Channel.TWIN_RESPONSES,
    DESIRED_FILTER: Channel.DESIRED,
    METHODS_FILTER: Channel.METHODS,
}


def channel_of(topic_filter: str, device_id: str) -> Channel | None:
    """The channel that a filter means; None outside the catalogue."""
    if topic_filter in devicebound_filters(device_id):
        return Channel.DEVICEBOUND
    return _FILTERS.get(topic_filter)


Channels = dict[Channel, int]
"""The channels that are open, each with its QoS."""


def kept(channels: Channels) -> list[str]:
    """Channels as a stored session keeps them."""
    return [f"{channel.value}/{qos}" for channel, qos in channels.items()]


def restored(texts: Iterable[str]) -> Channels:
    """The inverse of `kept`. What it does not know is left out."""
    pairs = (text.partition("/") for text in sorted(texts))
    return {Channel(name): int(qos == "1") for name, _, qos in pairs if name in tuple(Channel)}


@dataclass(frozen=True, slots=True)
class Grant:
    """SUBACK codes, one per filter, and the channels that are open from now on."""

    codes: tuple[int, ...]
    channels: Channels


def grant(filters: Iterable[tuple[str, int]], device_id: str, rules: HubRules) -> Grant | Violation:
    """The answer to SUBSCRIBE: QoS 2 is granted as 1; a filter outside the catalogue closes, or is granted in vain."""
    channels, codes = Channels(), []
    for topic_filter, qos in filters:
        channel = channel_of(topic_filter, device_id)
        if channel is not None:
            channels[channel] = min(qos, 1)
        elif rules.foreign_filters is ForeignFilters.CLOSE:
            return Violation(CloseReason.FOREIGN_FILTER, masked(topic_filter))
        codes.append(min(qos, 1))
    return Grant(tuple(codes), channels)


@dataclass(frozen=True, slots=True)
class Login:
    """Who a connection belongs to. `auth_method` is JSON text; `number` tells the device's sessions apart."""

    device_id: str
    generation_id: str
    auth_method: str
    model_id: str = ""
    clean: bool = True
    number: int = 0
    topic: str = ""
    """Of its messages on the bus."""
    stamp: Properties = field(init=False, repr=False)
    """What the hub adds to each of them: built once, for there are many."""

    def __post_init__(self) -> None:
        stamp = (
            ("iothub-connection-device-id", self.device_id),
            ("iothub-connection-auth-generation-id", self.generation_id),
            ("iothub-connection-auth-method", self.auth_method),
            ("iothub-message-source", "Telemetry"),
        )
        model = (("dt-dataschema", self.model_id),) if self.model_id else ()
        object.__setattr__(self, "stamp", (*model, *stamp))


NOBODY = Login("", "", "")
"""Before the login."""


_FORGEABLE = ("iothub-connection-", "iothub-enqueuedtime", "iothub-message-source", "dt-dataschema", "dt-subject")


def stamped(login: Login, bag: Bag, *, now_utc: datetime, retain: bool = False, will: bool = False) -> Properties:
    """The properties of a message on the bus: its bag without forgeries, then what the hub adds (section 1.11)."""
    own = [(name, value or "") for name, value in bag.items() if not name.lower().startswith(_FORGEABLE)]
    if retain:
        own.append(("mqtt-retain", "true"))
    if will:
        own.append(("iothub-MessageType", "Will"))
    if "$.sub" in bag:
        own.append(("dt-subject", bag["$.sub"] or ""))
    return (*own, *login.stamp, ("iothub-enqueuedtime", hub_time(now_utc)))
