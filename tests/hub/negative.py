"""What the hub refuses and what makes it hang up: iothub-mqtt.md sections 1.5, 1.10 and 1.15 as one table of bytes.

A refusal is one CONNACK and the end of the connection; everything else is the end without a word. Nothing here is
known of a live hub: rows that no source confirms are marked as assumptions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_stub.hub.rules import MESSAGE_BYTES_MAX, ForeignFilters
from emulator.wire.mqtt import (
    ConnAck,
    Disconnect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
    Unsubscribe,
    encode,
)
from emulator.wire.mqtt_fields import frame, pack_text
from tests.hub.badge import Badge, subscribe
from tests.hub.place import PING, PONG

OTHER = "ZPR999999"
"""A device that does not exist."""
KEY = b"k" * 32
CLOSED = b""


def refused(code: int) -> bytes:
    """CONNACK with this code."""
    return bytes((0x20, 2, 0, code))


@dataclass(frozen=True, slots=True)
class Case:
    """One caller. `say` are the pieces it sends, `answer` all it hears, `why` the reason in the hub's history."""

    name: str
    section: str
    say: Callable[[Badge], list[bytes]]
    answer: bytes
    why: str
    login: bool = False
    """Log in first; `answer` begins after that."""
    ends: bool = True
    wait_s: float = 0.0
    """How long the hub takes: such cases are for virtual time."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What the hub is configured to do, when it is not the default."""
    assumed: bool = False
    """Verified nowhere (iothub-mqtt.md Part 3)."""

    @property
    def quick(self) -> bool:
        """Can be played against a hub with default rules in real time."""
        return not self.wait_s and not self.rules


def once(say: Callable[[Badge], bytes]) -> Callable[[Badge], list[bytes]]:
    """One piece."""
    return lambda badge: [say(badge)]


def fixed(*pieces: bytes) -> Callable[[Badge], list[bytes]]:
    """The same bytes for everybody."""
    return lambda badge: list(pieces)


def login(name: str, why: str, say: Callable[[Badge], bytes], *, code: int = 5, **more: Any) -> Case:
    """A CONNECT that is refused."""
    return Case(name, "1.5", once(say), refused(code), why, **more)


def early(name: str, data: bytes, why: str = "protocol") -> Case:
    """A first packet that is not CONNECT."""
    return Case(f"first packet: {name}", "1.5", fixed(data), CLOSED, why)


def bad_connect(name: str, say: Callable[[Badge], bytes]) -> Case:
    """A CONNECT that is not MQTT."""
    return Case(f"CONNECT {name}", "1.15", once(say), CLOSED, "malformed")


def foreign(topic: str, **more: Any) -> Case:
    """A PUBLISH outside the catalogue; ``{id}`` stands for the device."""
    return Case(
        f"publish to {topic}",
        "1.10",
        once(lambda badge: badge.message(topic=topic.format(id=badge.device_id))),
        CLOSED,
        "foreign_topic",
        login=True,
        **more,
    )


def foreign_filter(topic_filter: str) -> Case:
    """A SUBSCRIBE outside the catalogue."""
    return Case(
        f"subscribe to {topic_filter}",
        "1.10",
        once(lambda badge: subscribe(topic_filter.format(id=badge.device_id))),
        CLOSED,
        "foreign_filter",
        login=True,
        assumed=True,
    )


def broken(name: str, data: bytes) -> Case:
    """Bytes after the login that are not MQTT."""
    return Case(name, "1.15", fixed(data), CLOSED, "malformed", login=True)


def misplaced(name: str, data: bytes) -> Case:
    """A packet that only a server may send."""
    return Case(f"{name} from a device", "1.15", fixed(data), CLOSED, "protocol", login=True)


def harmless(name: str, section: str, say: Callable[[Badge], bytes], answer: bytes) -> Case:
    """Looks wrong and is not: the connection lives on."""
    return Case(name, section, once(say), answer, "", login=True, ends=False)


def _user(text: str) -> Callable[[Badge], bytes]:
    return lambda badge: badge.connect(username=text.format(hub=badge.hub, id=badge.device_id))


def _scope(text: str) -> Callable[[Badge], bytes]:
    return lambda badge: badge.with_token(badge.token(resource=text.format(hub=badge.hub, id=badge.device_id)))


def _changed(old: str, new: str) -> Callable[[Badge], bytes]:
    return lambda badge: badge.with_token(badge.token().replace(old, new))


LOGINS = (
    login(
        "unknown device",
        "unknown_device",
        lambda badge: badge.connect(client_id=OTHER, username=f"{badge.hub}/{OTHER}/?api-version=2018-06-30"),
    ),
    login("device id in other case", "id_mismatch", lambda badge: badge.connect(client_id=badge.device_id.lower())),
    login("client id of another device", "id_mismatch", lambda badge: badge.connect(client_id=OTHER)),
    login("no client id", "id_mismatch", lambda badge: badge.connect(client_id="")),
    login("no user name", "bad_username", lambda badge: badge.connect(username=None, password=None)),
    login("empty user name", "bad_username", lambda badge: badge.connect(username="")),
    login("user name without a device", "bad_username", _user("{hub}")),
    login("user name with an empty device", "bad_username", _user("{hub}//?api-version=2018-06-30")),
    login("user name with too many levels", "bad_username", _user("{hub}/{id}/a/b/?api-version=2018-06-30")),
    login("user name that is no percent-encoded text", "bad_username", _user("{hub}/{id}/?api-version=%ff")),
    login(
        "a module",
        "unknown_device",
        lambda badge: badge.connect(
            client_id=f"{badge.device_id}/m", username=f"{badge.hub}/{badge.device_id}/m/?api-version=2018-06-30"
        ),
    ),
    login("another hub", "wrong_host", _user("other.azure-devices.net/{id}/?api-version=2018-06-30")),
    login("no password", "missing_sas", lambda badge: badge.connect(password=None)),
    login("empty password", "missing_sas", lambda badge: badge.with_token(b"")),
    login("password of the wrong kind", "bad_sas", lambda badge: badge.with_token("secret")),
    login("password that is not text", "bad_sas", lambda badge: badge.with_token(b"\xff\xfe")),
    login("token without an expiry", "bad_sas", _changed("&se=", "&xx=")),
    login("token with a field twice", "bad_sas", lambda badge: badge.with_token(badge.token() + "&se=9999999999")),
    login("token with an expiry in words", "bad_sas", _changed("&se=", "&se=never")),
    login("token with a signature that is not base64", "bad_sas", _changed("&sig=", "&sig=%2A%2A")),
    login("wrong key", "wrong_signature", lambda badge: badge.with_token(badge.token(key=KEY))),
    login("expiry changed after signing", "wrong_signature", _changed("&se=", "&se=9")),
    login("scope written otherwise than signed", "wrong_signature", _changed("/devices/", "%2Fdevices%2F")),
    login("token for another device", "wrong_scope", _scope("{hub}/devices/ZPR999999")),
    login("token for half of the device id", "wrong_scope", _scope("{hub}/devices/ZPR")),
    login("token for another hub", "wrong_scope", _scope("other.azure-devices.net/devices/{id}")),
    login("token of a policy that is none", "unknown_policy", lambda b: b.with_token(b.token(policy="nobody"))),
    login("token that has expired", "sas_expired", lambda badge: badge.with_token(badge.token(valid_s=-1))),
    login("MQTT 3.1", "protocol_level", lambda badge: badge.with_level("MQIsdp", 3), code=1, assumed=True),
    login("MQTT of level 3", "protocol_level", lambda badge: badge.with_level("MQTT", 3), code=1, assumed=True),
    login("MQTT 5", "protocol_level", lambda badge: badge.with_level("MQTT", 5), code=1, assumed=True),
    login("a protocol of another name", "bad_username", lambda badge: badge.with_level("HTTP", 4), assumed=True),
)

FIRST_PACKETS = (
    early("PUBLISH", encode(Publish("devices/x/messages/events/", b"{}"))),
    early("SUBSCRIBE", subscribe("$iothub/twin/res/#")),
    early("UNSUBSCRIBE", encode(Unsubscribe(1, ("$iothub/twin/res/#",)))),
    early("PINGREQ", PING),
    early("DISCONNECT", encode(Disconnect())),
    early("PUBACK", encode(PubAck(1))),
    early("CONNACK", encode(ConnAck(False, 0))),
    early("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "malformed"),
    early("TLS in TLS", bytes.fromhex("160301020001000001fc0303"), "malformed"),
    early("zeros", bytes(16), "malformed"),
    early("a length without end", b"\x10\xff\xff\xff\xff\x01", "malformed"),
    early("a CONNECT that is too long", b"\x10\xff\xff\xff\x7f", "malformed"),
    Case("nothing for a minute", "1.5", fixed(), CLOSED, "no_connect", wait_s=61),
    Case("half a CONNECT for a minute", "1.5", lambda b: [b.connect()[:20]], CLOSED, "no_connect", wait_s=61),
)

CONNECTS = (
    bad_connect("without a body", lambda badge: b"\x10\x00"),
    bad_connect("cut short", lambda badge: frame(0x10, badge.connect()[3:20])),
    bad_connect("with bytes left over", lambda badge: frame(0x10, badge.connect()[3:], b"x")),
    bad_connect("with wrong flags in its first byte", lambda badge: b"\x11" + badge.connect()[1:]),
    bad_connect("with the reserved flag", lambda badge: badge.with_flags(0x03)),
    bad_connect("with a password and no user name", lambda badge: badge.with_flags(0x42)),
    bad_connect("with will flags and no will", lambda badge: badge.with_flags(0x0A)),
    bad_connect("with a will of QoS 3", lambda badge: badge.with_flags(0x1E)),
    bad_connect(
        "with a client id that is not UTF-8", lambda badge: frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff")
    ),
    bad_connect("with NUL in its client id", lambda badge: frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00")),
)

TOPICS = (
    foreign("devices/ZPR999999/messages/events/"),
    foreign("devices/{id}/messages/devicebound/"),
    foreign("devices/{id}/messages/event/"),
    foreign("devices/{id}/messages/eventsx"),
    foreign("devices/{id}/messages/events/a=1/b=2"),
    foreign("devices/{id}/messages/events/%ff=1"),
    foreign("devices/{id}/Messages/Events/"),
    foreign("devices/{id}"),
    foreign("/devices/{id}/messages/events/"),
    foreign("hub/{id}/d2c"),
    foreign("$SYS/broker/version"),
    foreign("$share/x/hub/d2c"),
    foreign("$iothub/nonsense"),
    foreign("$iothub/methods/POST/reboot/?$rid=1"),
    foreign("$iothub/methods/res/200/"),
    foreign("$iothub/methods/res/200/?$rid="),
    foreign("$iothub/twin/GET/"),
    foreign("$iothub/twin/GET/?$rid="),
    foreign("$iothub/twin/GET/?rid=1"),
    foreign("$iothub/twin/PATCH/properties/reported/"),
    foreign("$iothub/twin/PATCH/properties/desired/?$rid=1"),
    foreign("$iothub/twin/res/200/?$rid=1"),
    foreign("$dps/registrations/PUT/iotdps-register/?$rid=1"),
    foreign_filter("#"),
    foreign_filter("+/+"),
    foreign_filter("hub/#"),
    foreign_filter("$SYS/#"),
    foreign_filter("$iothub/#"),
    foreign_filter("devices/ZPR999999/messages/devicebound/#"),
    foreign_filter("devices/{id}/messages/events/#"),
    foreign_filter("$iothub/twin/GET/#"),
    Case(
        "one foreign filter among good ones",
        "1.10",
        once(lambda badge: subscribe("$iothub/twin/res/#", "hub/#", "$iothub/methods/POST/#")),
        CLOSED,
        "foreign_filter",
        login=True,
        assumed=True,
    ),
    Case(
        "a foreign filter at a hub that grants it in vain",
        "1.10",
        once(lambda badge: subscribe("hub/#", "$iothub/twin/res/#", qos=2)),
        encode(SubAck(7, (1, 1))),
        "",
        login=True,
        ends=False,
        rules={"foreign_filters": ForeignFilters.GRANT_AND_IGNORE},
        assumed=True,
    ),
)

PACKETS = (
    Case(
        "QoS 2 PUBLISH",
        "1.15",
        once(lambda b: b.raw_message(b.events.encode(), b"{}", first=0x34)),
        CLOSED,
        "qos_2",
        login=True,
    ),
    Case("second CONNECT", "1.15", once(lambda badge: badge.connect()), CLOSED, "protocol", login=True),
    Case(
        "a message over 256 KB",
        "1.15",
        once(lambda badge: badge.message(bytes(MESSAGE_BYTES_MAX + 1))),
        CLOSED,
        "oversize",
        login=True,
    ),
    broken("a packet over every limit", b"\x32\xff\xff\xff\x7f"),
    broken("PUBLISH of QoS 3", frame(0x36, pack_text("x"), b"\x00\x01")),
    broken("PUBLISH of QoS 0 with DUP", frame(0x38, pack_text("x"))),
    broken("PUBLISH without a topic", frame(0x30, b"\x00\x00")),
    broken("PUBLISH with packet id 0", frame(0x32, pack_text("x"), b"\x00\x00")),
    broken("PUBLISH cut short", frame(0x32, b"\x00\x09devices")),
    broken("PUBLISH to a wildcard", frame(0x30, pack_text("devices/+/messages/events/"))),
    broken("a topic that is not UTF-8", frame(0x30, b"\x00\x02\xc3\x28")),
    broken("a topic with half of a surrogate pair", frame(0x30, b"\x00\x03\xed\xa0\x80")),
    broken("a topic with NUL", frame(0x30, b"\x00\x03a\x00b")),
    broken("SUBSCRIBE without a filter", frame(0x82, b"\x00\x01")),
    broken("SUBSCRIBE with QoS 3", frame(0x82, b"\x00\x01", pack_text("$iothub/twin/res/#"), b"\x03")),
    broken("SUBSCRIBE with packet id 0", frame(0x82, b"\x00\x00", pack_text("$iothub/twin/res/#"), b"\x01")),
    broken("SUBSCRIBE with wrong flags", frame(0x80, b"\x00\x01", pack_text("$iothub/twin/res/#"), b"\x01")),
    broken("SUBSCRIBE with # in the middle", frame(0x82, b"\x00\x01", pack_text("$iothub/#/res"), b"\x01")),
    broken("UNSUBSCRIBE without a filter", frame(0xA2, b"\x00\x01")),
    broken("PUBACK of three bytes", b"\x40\x03\x00\x01\x00"),
    broken("PINGREQ with a body", b"\xc0\x01\x00"),
    broken("DISCONNECT with a reason, as in MQTT 5", b"\xe0\x01\x04"),
    broken("packet type 0", b"\x00\x00"),
    broken("packet type 15, AUTH in MQTT 5", b"\xf0\x00"),
    broken("a remaining length of five bytes", b"\x30\x80\x80\x80\x80\x01"),
    broken("a remaining length longer than need be", b"\xc0\x80\x00"),
    misplaced("CONNACK", encode(ConnAck(False, 0))),
    misplaced("SUBACK", encode(SubAck(1, (0,)))),
    misplaced("UNSUBACK", encode(UnsubAck(1))),
    misplaced("PINGRESP", PONG),
    misplaced("PUBREC", encode(PubRec(1))),
    misplaced("PUBREL", encode(PubRel(1))),
    misplaced("PUBCOMP", encode(PubComp(1))),
)

TIMES = (
    Case("silence of 1.5 keep-alives", "1.15", fixed(), CLOSED, "keep_alive", login=True, wait_s=452),
    Case(
        "a token that runs out",
        "1.15",
        once(lambda badge: PING),
        PONG,
        "sas_expired",
        login=True,
        rules={"token_grace_s": -3500.0},  # the token is good for an hour: this cuts it after 100 s
        wait_s=102,
    ),
)

HARMLESS = (
    harmless("PUBACK for nothing", "1.15", lambda badge: encode(PubAck(4711)), b""),
    harmless("events without a slash", "1.10", lambda b: b.message(topic=b.events[:-1]), encode(PubAck(9))),
    harmless("events with two slashes", "1.10", lambda b: b.message(topic=b.events + "a=1/"), encode(PubAck(9))),
    harmless("a bag with a question mark", "1.11", lambda b: b.message(topic=b.events + "?a=1"), encode(PubAck(9))),
    harmless(
        "an answer to a call that was never made",
        "1.14",
        lambda badge: badge.message(b"{}", topic="$iothub/methods/res/200/?$rid=77"),
        encode(PubAck(9)),
    ),
    harmless(
        "an answer whose status is not a number",
        "1.14",
        lambda badge: badge.message(b"{}", topic="$iothub/methods/res/ok/?$rid=77"),
        encode(PubAck(9)),
    ),
    harmless("QoS 2 in SUBSCRIBE", "1.7", lambda b: subscribe("$iothub/twin/res/#", qos=2), encode(SubAck(7, (1,)))),
    harmless(
        "the wildcard of the embedded SDK",
        "1.10",
        lambda b: subscribe("devices/+/messages/devicebound/#"),
        encode(SubAck(7, (1,))),
    ),
    harmless("a message of exactly 256 KB", "1.7", lambda b: b.message(b"x" * MESSAGE_BYTES_MAX), encode(PubAck(9))),
)

CASES = (*LOGINS, *FIRST_PACKETS, *CONNECTS, *TOPICS, *PACKETS, *TIMES, *HARMLESS)
"""Everything, each with a name of its own."""
