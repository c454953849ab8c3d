"""The rules of an IoT hub, pure: who may connect, what a PUBLISH or SUBSCRIBE means (iothub-mqtt.md Part 1).

Nothing here touches a socket or a clock; the device endpoint asks, and does what the answer says.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloud_stub.properties import Properties
from cloud_stub.registry import Device, DeviceStatus
from emulator.errors import WireError
from emulator.wire.iothub import (
    D2C,
    DESIRED_FILTER,
    METHODS_FILTER,
    TWIN_RESPONSES_FILTER,
    Bag,
    HubUser,
    MethodResponse,
    MethodStatusError,
    TwinGet,
    TwinPatch,
    check_sas,
    covers,
    devicebound_filter,
    parse_device_topic,
    parse_sas,
    parse_username,
)
from emulator.wire.mqtt import PROTOCOL_LEVEL, Connect, Publish

MESSAGE_BYTES_MAX = 262_144
DETAIL_MAX = 200  # characters of a text by the device that go into a history
CODE_BAD_LEVEL, CODE_UNAVAILABLE, CODE_UNAUTHORISED = 1, 3, 5


class RefusedReason(StrEnum):
    """Why a CONNECT was refused. For histories only: the device sees no more than the code."""

    PROTOCOL_LEVEL = "protocol_level"
    BAD_USERNAME = "bad_username"
    WRONG_HOST = "wrong_host"
    ID_MISMATCH = "id_mismatch"
    UNKNOWN_DEVICE = "unknown_device"
    DISABLED = "disabled"
    MISSING_SAS = "missing_sas"
    BAD_SAS = "bad_sas"
    POLICY_SAS = "policy_sas"
    WRONG_SCOPE = "wrong_scope"
    WRONG_SIGNATURE = "wrong_signature"
    SAS_EXPIRED = "sas_expired"
    INJECTED = "injected"


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
    """5, or 3 as seen for years."""
    token_skew_s: float = 0.0
    token_grace_s: float = 600.0
    """How long a connection outlives its token (section 1.3)."""
    foreign_filters: ForeignFilters = ForeignFilters.CLOSE


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK 0. `expires_at` is the token's end, Unix seconds."""

    device_id: str
    expires_at: int
    clean_session: bool
    api_version: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """CONNACK `code`, then close. `device_id` as claimed, empty if unreadable."""

    code: int
    reason: RefusedReason
    device_id: str = ""


DeviceOf = Callable[[str], Device | None]


def decide_connect(connect: Connect, *, now_utc: datetime, rules: HubRules, device_of: DeviceOf) -> Accepted | Refused:
    """Whether a client may connect (section 1.5): code 5 for every fault of identity or credential."""
    if connect.protocol_level != PROTOCOL_LEVEL:
        return Refused(CODE_BAD_LEVEL, RefusedReason.PROTOCOL_LEVEL)
    user = _identity(connect, rules)
    if isinstance(user, RefusedReason):
        return Refused(CODE_UNAUTHORISED, user, connect.client_id)
    device = device_of(user.device_id)
    if device is None or user.module_id is not None:
        return Refused(CODE_UNAUTHORISED, RefusedReason.UNKNOWN_DEVICE, user.device_id)
    if device.status is DeviceStatus.DISABLED:
        return Refused(rules.disabled_code, RefusedReason.DISABLED, user.device_id)
    expires_at = _token_end(connect, user.host, device, now_utc, rules)
    if isinstance(expires_at, RefusedReason):
        return Refused(CODE_UNAUTHORISED, expires_at, user.device_id)
    return Accepted(user.device_id, expires_at, connect.clean_session, user.query.get("api-version"))


def _identity(connect: Connect, rules: HubRules) -> HubUser | RefusedReason:
    if not connect.username:
        return RefusedReason.BAD_USERNAME
    try:
        user = parse_username(connect.username)
    except WireError:
        return RefusedReason.BAD_USERNAME
    if not _same_host(user.host, rules.host):
        return RefusedReason.WRONG_HOST
    identity = user.device_id if user.module_id is None else f"{user.device_id}/{user.module_id}"
    return user if connect.client_id == identity else RefusedReason.ID_MISMATCH


def _token_end(connect: Connect, host: str, device: Device, now_utc: datetime, rules: HubRules) -> int | RefusedReason:
    if not connect.password:
        return RefusedReason.MISSING_SAS
    try:
        sas = parse_sas(connect.password.decode("utf-8"))
    except (WireError, UnicodeDecodeError):
        return RefusedReason.BAD_SAS
    if sas.policy:
        return RefusedReason.POLICY_SAS
    if not covers(sas.resource, host, device.device_id):
        return RefusedReason.WRONG_SCOPE
    if not check_sas(sas, device.keys):
        return RefusedReason.WRONG_SIGNATURE
    if now_utc.timestamp() >= sas.expiry + rules.token_skew_s:
        return RefusedReason.SAS_EXPIRED
    return sas.expiry


def _same_host(given: str, host: str) -> bool:
    """Case does not matter; some clients write the port too (section 1.2)."""
    return given.partition(":")[0].lower() == host.lower()


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
        return parse_device_topic(publish.topic, device_id)
    except MethodStatusError as error:
        return BadStatus(error.rid)
    except WireError as error:
        return Violation(CloseReason.FOREIGN_TOPIC, str(error))


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
    if topic_filter == devicebound_filter(device_id):
        return Channel.DEVICEBOUND
    return _FILTERS.get(topic_filter)


@dataclass(frozen=True, slots=True)
class Grant:
    """SUBACK codes, one per filter, and the channels that are open from now on."""

    codes: tuple[int, ...]
    channels: frozenset[Channel]


def grant(filters: Iterable[tuple[str, int]], device_id: str, rules: HubRules) -> Grant | Violation:
    """The answer to SUBSCRIBE: QoS 2 is granted as 1; a filter outside the catalogue closes, or is granted in vain."""
    channels, codes = set[Channel](), []
    for topic_filter, qos in filters:
        channel = channel_of(topic_filter, device_id)
        if channel is not None:
            channels.add(channel)
        elif rules.foreign_filters is ForeignFilters.CLOSE:
            return Violation(CloseReason.FOREIGN_FILTER, topic_filter[:DETAIL_MAX])
        codes.append(min(qos, 1))
    return Grant(tuple(codes), frozenset(channels))


_FORGEABLE = ("iothub-connection-", "iothub-enqueuedtime", "iothub-message-source")


def stamped(
    device_id: str,
    bag: Bag,
    *,
    now_utc: datetime,
    retain: bool = False,
    will: bool = False,
) -> Properties:
    """The properties of a message on the bus: its bag without forgeries, then what the hub adds (section 1.11)."""
    own = [(name, value or "") for name, value in bag.items() if not name.lower().startswith(_FORGEABLE)]
    if retain:
        own.append(("mqtt-retain", "true"))
    if will:
        own.append(("iothub-MessageType", "Will"))
    return (
        *own,
        ("iothub-connection-device-id", device_id),
        ("iothub-connection-auth-method", '{"scope":"device","type":"sas","issuer":"iothub"}'),
        ("iothub-enqueuedtime", now_utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
        ("iothub-message-source", "Telemetry"),
    )
