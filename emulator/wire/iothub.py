"""The hub's dialect over MQTT: user names, topics, property bags and tokens (iothub-mqtt.md 1.2, 1.3, 1.10 to 1.14).

Topics under ``$iothub/`` carry no device id, they belong to the connection. A `rid` is opaque text that the answer
repeats unchanged. Readers are as tolerant as the hub is known to be; they raise HubTopicError, or SasError for tokens.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote, unquote

from emulator.wire.property_bag import Bag, HubTopicError, encode_bag, installation_token, parse_bag
from emulator.wire.sas import Sas, SasError, check_sas, covers, covers_path, host_of, parse_sas, sas_token

__all__ = [
    "C2D",
    "D2C",
    "DESIRED_FILTER",
    "METHODS_FILTER",
    "TWIN_RESPONSES_FILTER",
    "Bag",
    "CloudMessage",
    "DesiredPatch",
    "DeviceMessage",
    "HubTopicError",
    "HubUser",
    "MethodCall",
    "MethodResponse",
    "MethodStatusError",
    "Sas",
    "SasError",
    "TwinGet",
    "TwinPatch",
    "TwinResponse",
    "charger_events_topic",
    "check_sas",
    "covers",
    "covers_path",
    "desired_topic",
    "device_level",
    "devicebound_filter",
    "devicebound_filters",
    "devicebound_topic",
    "encode_bag",
    "events_topic",
    "host_of",
    "installation_token",
    "method_response_topic",
    "method_topic",
    "parse_bag",
    "parse_cloud_topic",
    "parse_device_topic",
    "parse_sas",
    "parse_username",
    "sas_token",
    "twin_get_topic",
    "twin_reported_topic",
    "twin_response_topic",
    "username",
]

_METHOD_CALL = "$iothub/methods/POST/"
_METHOD_RESPONSE = "$iothub/methods/res/"
_TWIN_GET = "$iothub/twin/GET/"
_TWIN_RESPONSE = "$iothub/twin/res/"
_REPORTED = "$iothub/twin/PATCH/properties/reported/"
_DESIRED = "$iothub/twin/PATCH/properties/desired/"

METHODS_FILTER = _METHOD_CALL + "#"
TWIN_RESPONSES_FILTER = _TWIN_RESPONSE + "#"
DESIRED_FILTER = _DESIRED + "#"

_WILDCARDS = frozenset("+#")
_INTEGER = re.compile(r"-?[0-9]{1,9}")


class MethodStatusError(HubTopicError):
    """A method response whose status is no integer: the caller gets an error, the connection lives on."""

    def __init__(self, rid: str) -> None:
        super().__init__("the status of a method response is not an integer")
        self.rid = rid


@dataclass(frozen=True, slots=True)
class HubUser:
    """Who logs in, from CONNECT's user name. `query` without ``api-version`` is a very old client."""

    host: str
    device_id: str
    module_id: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class D2C:
    """Device to cloud: telemetry."""

    bag: Bag


@dataclass(frozen=True, slots=True)
class TwinGet:
    """Device to cloud: wants its twin."""

    rid: str


@dataclass(frozen=True, slots=True)
class TwinPatch:
    """Device to cloud: changes its reported properties."""

    rid: str


@dataclass(frozen=True, slots=True)
class MethodResponse:
    """Device to cloud: the result of a method. Chargers also answer 0, -1 and -2 (zaptec.md section 8.2)."""

    status: int
    rid: str


@dataclass(frozen=True, slots=True)
class MethodCall:
    """Cloud to device: run a method. The name keeps its case and may be a number."""

    name: str
    rid: str


@dataclass(frozen=True, slots=True)
class TwinResponse:
    """Cloud to device: the answer to `TwinGet` (200) or `TwinPatch` (204 and the new reported version)."""

    status: int
    rid: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DesiredPatch:
    """Cloud to device: desired properties have changed; `version` is the new one."""

    version: int


@dataclass(frozen=True, slots=True)
class C2D:
    """Cloud to device: a message with its properties."""

    bag: Bag


DeviceMessage: TypeAlias = D2C | TwinGet | TwinPatch | MethodResponse
CloudMessage: TypeAlias = MethodCall | TwinResponse | DesiredPatch | C2D


def username(host: str, device_id: str, api_version: str) -> str:
    """CONNECT's user name of a device."""
    return f"{host}/{device_id}/?api-version={api_version}"


def parse_username(text: str) -> HubUser:
    """Read ``{host}/{device}[/{module}][/[?]{query}]``; of a doubled key the first counts. Raises HubTopicError."""
    levels = text.split("/")
    query: dict[str, str] = {}
    if len(levels) > 2 and (levels[-1].startswith("?") or "api-version=" in levels[-1]):
        query = {name: value or "" for name, value in parse_bag(levels.pop()).items()}
    if len(levels) not in (2, 3) or not all(levels):
        raise HubTopicError("user name is not host, device and module")
    return HubUser(levels[0], levels[1], levels[2] if len(levels) == 3 else None, query)


def events_topic(device_id: str, bag: str = "") -> str:
    """Where a device publishes telemetry; `bag` as `encode_bag` writes it."""
    return f"devices/{device_id}/messages/events/{bag}"


def charger_events_topic(serial: str, routing_id: str, installation_id: str, *, ping_reply: bool = False) -> str:
    """Where a charger publishes telemetry (zaptec.md section 6); `installation_id` is a GUID.

    `ping_reply` marks a resent charging request that wants to be answered (zaptec.md section 10).
    """
    return events_topic(serial, _charger_bag(routing_id, installation_id, ping_reply=ping_reply))


@lru_cache(maxsize=256)
def _charger_bag(routing_id: str, installation_id: str, *, ping_reply: bool) -> str:
    """The same for all chargers of an installation, of which there may be thousands in this process."""
    pairs = [
        ("$.ct", "application/json"),
        ("$.ce", "utf-8"),
        ("ri", routing_id),
        ("ii", installation_token(installation_id)),
    ]
    if ping_reply:
        pairs.append(("pi", "PR"))
    return encode_bag(pairs, escape_dollar=False)


def twin_get_topic(rid: str) -> str:
    """Ask for the twin; the payload is empty."""
    return f"{_TWIN_GET}?$rid={_checked_rid(rid)}"


def twin_reported_topic(rid: str) -> str:
    """Change reported properties; the payload is a JSON merge patch."""
    return f"{_REPORTED}?$rid={_checked_rid(rid)}"


def method_response_topic(status: int, rid: str) -> str:
    """Answer a method call."""
    return f"{_METHOD_RESPONSE}{status}/?$rid={_checked_rid(rid)}"


def parse_device_topic(topic: str, device_id: str) -> DeviceMessage:
    """What the device `device_id` means by publishing to `topic`.

    Raises MethodStatusError, or HubTopicError for anything outside the catalogue, other devices' topics included.
    """
    if topic.startswith("devices/"):
        return D2C(_events_bag(topic, device_id))
    if topic.startswith(_TWIN_GET):
        return TwinGet(_rid(_query(topic.removeprefix(_TWIN_GET))))
    if topic.startswith(_REPORTED):
        return TwinPatch(_rid(_query(topic.removeprefix(_REPORTED))))
    if topic.startswith(_METHOD_RESPONSE):
        status, _, query = topic.removeprefix(_METHOD_RESPONSE).partition("/")
        rid = _rid(_query(query))
        if not _INTEGER.fullmatch(status):
            raise MethodStatusError(rid)
        return MethodResponse(int(status), rid)
    raise HubTopicError("not a topic of this device")


def _events_bag(topic: str, device_id: str) -> Bag:
    levels = topic.split("/", 4)
    if levels[2:4] != ["messages", "events"] or not (levels[1] == device_id or unquote(levels[1]) == device_id):
        raise HubTopicError("not a topic of this device")
    bag = levels[4].removesuffix("/") if len(levels) > 4 else ""
    if "/" in bag:
        raise HubTopicError("property bag of more than one level")
    return parse_bag(bag)


def twin_response_topic(status: int, rid: str, version: int | None = None) -> str:
    """Answer `TwinGet` or `TwinPatch`."""
    suffix = "" if version is None else f"&$version={version}"
    return f"{_TWIN_RESPONSE}{status}/?$rid={_checked_rid(rid)}{suffix}"


def method_topic(name: str, rid: str) -> str:
    """Call a method. Raises HubTopicError for a name that is not one topic level."""
    if not name or not {"/", "+", "#", "\0"}.isdisjoint(name):
        raise HubTopicError("method name that is not a topic level")
    return f"{_METHOD_CALL}{name}/?$rid={_checked_rid(rid)}"


def desired_topic(version: int) -> str:
    """Tell the device that desired properties have changed."""
    return f"{_DESIRED}?$version={version}"


def device_level(device_id: str) -> str:
    """A device id as a topic level: as it is, or percent-encoded if it has what no topic may have (assumed)."""
    return device_id if _WILDCARDS.isdisjoint(device_id) else quote(device_id, safe="")


def devicebound_filters(device_id: str) -> tuple[str, str]:
    """What a device may subscribe to for cloud-to-device messages: with its id as it is, or percent-encoded."""
    return devicebound_filter(device_id), devicebound_filter(quote(device_id, safe=""))


def devicebound_filter(device_id: str) -> str:
    """What a device subscribes to for cloud-to-device messages."""
    return f"devices/{device_id}/messages/devicebound/#"


def devicebound_topic(device_id: str, message_id: str, properties: Iterable[tuple[str, str | None]] = ()) -> str:
    """A cloud-to-device message; ``$.to`` and ``$.mid`` come first, as the hub writes them (iothub-mqtt.md 1.12)."""
    system = [("$.to", f"/devices/{device_id}/messages/deviceBound"), ("$.mid", message_id)]
    return f"devices/{device_level(device_id)}/messages/devicebound/{encode_bag([*system, *properties])}"


def parse_cloud_topic(topic: str) -> CloudMessage:
    """What the hub means by sending to `topic`. Raises HubTopicError."""
    if topic.startswith(_METHOD_CALL):
        name, _, query = topic.removeprefix(_METHOD_CALL).partition("/")
        if not name:
            raise HubTopicError("method call without a name")
        return MethodCall(name, _rid(_query(query)))
    if topic.startswith(_TWIN_RESPONSE):
        status, _, query = topic.removeprefix(_TWIN_RESPONSE).partition("/")
        fields = _query(query)
        version = _integer(fields["$version"]) if "$version" in fields else None
        return TwinResponse(_integer(status), _rid(fields), version)
    if topic.startswith(_DESIRED):
        return DesiredPatch(_integer(_query(topic.removeprefix(_DESIRED)).get("$version", "")))
    levels = topic.split("/", 4)
    if len(levels) >= 4 and (levels[0], *levels[2:4]) == ("devices", "messages", "devicebound"):
        return C2D(parse_bag("".join(levels[4:])))
    raise HubTopicError("not a topic of the hub")


def _query(text: str) -> dict[str, str]:
    """The fields behind ``?``, as written: a rid must come back byte for byte."""
    if not text.startswith("?"):
        raise HubTopicError("no query where one must be")
    fields: dict[str, str] = {}
    for part in text[1:].split("&"):
        name, _, value = part.partition("=")
        fields.setdefault(name, value)
    return fields


def _rid(fields: Mapping[str, str]) -> str:
    rid = fields.get("$rid", "")
    if not rid:
        raise HubTopicError("no request id")
    return rid


def _checked_rid(rid: str) -> str:
    if not rid or "&" in rid:
        raise HubTopicError("request id is empty or has an ampersand")
    return rid


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise HubTopicError("not an integer")
    return int(text)
