"""Bytes that a device might send if something were wrong with it: good packets, changed a little or a lot."""

from collections.abc import Callable, Sequence
from random import Random

from emulator.wire.mqtt import Disconnect, PubAck, Publish, Unsubscribe, Will, encode
from tests.hub.badge import Badge, subscribe
from tests.hub.negative import CASES
from tests.hub.place import PING

BYTES_MAX = 40_000
EDGES = bytes((0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF))
CHANGES_MAX = 6

TOPICS = (
    "devices/{id}/messages/events/",
    "devices/{id}/messages/events/$.ct=application%2Fjson&a=%20b&c",
    "$iothub/twin/GET/?$rid=1",
    "$iothub/twin/PATCH/properties/reported/?$rid=2",
    "$iothub/methods/res/200/?$rid=1",
    "$iothub/methods/res/-1/?$rid=ffff",
)
FILTERS = (
    "$iothub/twin/res/#",
    "$iothub/methods/POST/#",
    "$iothub/twin/PATCH/properties/desired/#",
    "devices/{id}/messages/devicebound/#",
)
PAYLOADS = (
    b"",
    b" ",
    b"{}",
    b"null",
    b"[",
    b'{"a":{"b":[1,2,{"c":null}]}}',
    b'{"a":1e999}',
    b"[" * 3000,
    b"\xff" * 300,
)


def good_packets(badge: Badge) -> list[bytes]:
    """One of each that a device may send."""
    topics = [topic.format(id=badge.device_id) for topic in TOPICS]
    filters = [topic_filter.format(id=badge.device_id) for topic_filter in FILTERS]
    will = Will(badge.events, b"gone", 1, retain=True)
    return [
        badge.connect(),
        badge.connect(clean_session=False, will=will, keep_alive_s=0),
        *(badge.message(payload, topic=topic) for topic in topics for payload in PAYLOADS),
        *(encode(Publish(topic, b"{}", retain=True)) for topic in topics),
        *(subscribe(topic_filter, qos=qos) for topic_filter in filters for qos in (0, 1, 2)),
        subscribe(*filters),
        encode(Unsubscribe(3, tuple(filters))),
        PING,
        encode(PubAck(1)),
        encode(Disconnect()),
    ]


def corpus(badge: Badge) -> list[bytes]:
    """Good packets, and everything that the table of refusals has."""
    bad = [piece for case in CASES for piece in case.say(badge) if len(piece) < BYTES_MAX]
    return [*good_packets(badge), *bad]


class Mutator:
    """Draws from a corpus; equal seeds give equal bytes."""

    def __init__(self, packets: Sequence[bytes], rng: Random) -> None:
        self._packets = packets
        self._rng = rng

    def draw(self) -> bytes:
        """A few packets in a row, most of them changed."""
        rng = self._rng
        data = b"".join(rng.choices(self._packets, k=rng.randint(1, 8)))
        for _ in range(rng.randint(0, CHANGES_MAX)):
            data = rng.choice(_CHANGES)(self, data)
        return data[:BYTES_MAX]

    def chunks(self, data: bytes) -> list[bytes]:
        """The same bytes as they may arrive: whole, in pieces, or one by one."""
        size = self._rng.choice((len(data) or 1, 1 + len(data) // 3, 7, 1))
        return [data[at : at + size] for at in range(0, len(data), size)]

    def _place(self, data: bytes) -> int:
        """Mostly near the front, where headers are."""
        return self._rng.randrange(min(len(data), self._rng.choice((4, 24, BYTES_MAX))) or 1)

    def _flip(self, data: bytes) -> bytes:
        return self._put(data, lambda octet: octet ^ 1 << self._rng.randrange(8))

    def _edge(self, data: bytes) -> bytes:
        return self._put(data, lambda octet: self._rng.choice(EDGES))

    def _count(self, data: bytes) -> bytes:
        return self._put(data, lambda octet: (octet + self._rng.choice((-1, 1))) % 256)

    def _put(self, data: bytes, change: Callable[[int], int]) -> bytes:
        if not data:
            return data
        at = self._place(data)
        return data[:at] + bytes((change(data[at]),)) + data[at + 1 :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._rng.randbytes(self._rng.choice((1, 2, 4, 60))) + data[at:]

    def _delete(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + data[at + self._rng.choice((1, 2, 4, 60)) :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._rng.randrange(len(data) + 1)]

    def _double(self, data: bytes) -> bytes:
        at = self._place(data)
        piece = data[at : at + self._rng.choice((2, 40, 4000))]
        return data[:at] + piece * self._rng.choice((2, 3, 50)) + data[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._packets)
        return data[: self._place(data)] + other[self._rng.randrange(len(other) or 1) :]

    def _noise(self, data: bytes) -> bytes:
        return data + self._rng.randbytes(self._rng.choice((1, 10, 300)))


_CHANGES: Sequence[Callable[[Mutator, bytes], bytes]] = (
    Mutator._flip,
    Mutator._flip,
    Mutator._edge,
    Mutator._edge,
    Mutator._count,
    Mutator._insert,
    Mutator._delete,
    Mutator._cut,
    Mutator._double,
    Mutator._splice,
    Mutator._noise,
)
