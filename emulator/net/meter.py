"""How many bytes a charger puts on its link and takes from it, by purpose (manual row M15). Pure.

What is counted is IP packets: 20 bytes of IP, 8 of UDP or 20 of TCP with its options, and what they carry; not the
frames of the link below. Where the packets themselves are not seen, they are modelled as Linux sends them on a path
of 1500 bytes (the stack of a Pro is not known):

- a SYN has 20 bytes of options (MSS, SACK, timestamps, window scale), every later segment 12 (timestamps), a RST none;
- what is written at once travels in segments of at most 1448 bytes;
- every second segment is acknowledged at once (RFC 1122 section 4.2.3.2); the odd one by data that goes back within
  40 ms, Linux's shortest delay, and else by a packet of its own;
- an end in order is a FIN and an ACK each way.

What TCP sends again is counted where a link with losses is modelled (`net.shaped`), as `Purpose.RESENT`.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from emulator.profile import Network

UDP_HEADER_BYTES = 28
SYN_BYTES = 60
SEGMENT_HEADER_BYTES = 52
RST_BYTES = 40
SEGMENT_MAX_BYTES = 1448
DELAYED_ACK_S = 0.04

RECORD_HEADER_BYTES = 5  # RFC 5246 section 6.2.1
RECORDS_OF_HANDSHAKE = frozenset({20, 21, 22})  # change_cipher_spec, alert, handshake


class Purpose(StrEnum):
    """What bytes are for."""

    DHCP = "dhcp"
    DNS = "dns"
    NTP = "ntp"
    HANDSHAKE = "handshake"
    """Connections that begin and end: TCP's and TLS's part of it."""
    TELEMETRY = "telemetry"
    """MQTT with the hub, both ways."""
    FIRMWARE = "firmware"
    HTTPS = "https"
    """Everything else over HTTPS, the trust bundle for one."""
    RESENT = "resent"
    """What TCP sent once more because it was lost, whatever it was for."""
    OTHER = "other"


OVER_TLS = frozenset({Purpose.TELEMETRY, Purpose.FIRMWARE, Purpose.HTTPS})

Ports = Mapping[int, Purpose]


@lru_cache(maxsize=16)
def ports_of(network: Network) -> Ports:
    """The purpose of each well-known port of the other side (M2); shared by the chargers of a profile."""
    return {
        67: Purpose.DHCP,
        68: Purpose.DHCP,
        network.dns_port: Purpose.DNS,
        network.ntp_port: Purpose.NTP,
        network.hub_port: Purpose.TELEMETRY,
        network.https_port: Purpose.HTTPS,
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes by purpose; a purpose without any is left out."""

    up: Mapping[str, int] = field(default_factory=dict)
    """From the charger."""
    down: Mapping[str, int] = field(default_factory=dict)

    @property
    def up_bytes(self) -> int:
        """From the charger, for whatever."""
        return sum(self.up.values())

    @property
    def down_bytes(self) -> int:
        """To the charger, for whatever."""
        return sum(self.down.values())

    @property
    def total_bytes(self) -> int:
        """Both ways, as an operator bills it."""
        return self.up_bytes + self.down_bytes

    def since(self, earlier: "Usage") -> "Usage":
        """What came on top of `earlier`."""
        return Usage(_less(self.up, earlier.up), _less(self.down, earlier.down))

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(_sum(self.up, other.up), _sum(self.down, other.down))

    def as_json(self) -> dict[str, Any]:
        """``{"up": n, "down": n, "by_purpose": {"dhcp": {"up": n, "down": n}, ...}}``."""
        purposes = [purpose.value for purpose in Purpose if purpose in self.up or purpose in self.down]
        parts = {name: {"up": self.up.get(name, 0), "down": self.down.get(name, 0)} for name in purposes}
        return {"up": self.up_bytes, "down": self.down_bytes, "by_purpose": parts}


def _less(now: Mapping[str, int], earlier: Mapping[str, int]) -> dict[str, int]:
    return {name: more for name, count in now.items() if (more := count - earlier.get(name, 0))}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


class DataMeter:
    """Counts one charger's bytes since it was made."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = array("Q", bytes(2 * 8 * len(_ROWS)))  # half of what dictionaries take, in thousands of chargers

    def up(self, purpose: Purpose, size_bytes: int) -> None:
        """Packets left."""
        self._bytes[_ROWS[purpose]] += size_bytes

    def down(self, purpose: Purpose, size_bytes: int) -> None:
        """Packets arrived."""
        self._bytes[_ROWS[purpose] + len(_ROWS)] += size_bytes

    def usage(self) -> Usage:
        """The counts as they are now."""
        up, down = self._bytes[: len(_ROWS)], self._bytes[len(_ROWS) :]
        return Usage(_named(up), _named(down))


_ROWS = {purpose: row for row, purpose in enumerate(Purpose)}


def _named(counts: "array[int]") -> dict[str, int]:
    return {purpose.value: counts[row] for purpose, row in _ROWS.items() if counts[row]}


class _Records:
    """Tells TLS's own records from application data in one direction of a stream."""

    __slots__ = ("_head", "_left", "_of_handshake")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._of_handshake = True

    def handshake_bytes(self, data: bytes) -> int:
        """How many of the next bytes belong to TLS itself; the rest is application data, or no TLS at all."""
        position, found = 0, 0
        while position < len(data):
            if not self._left and not self._begin(data[position : position + RECORD_HEADER_BYTES - len(self._head)]):
                self._head += data[position:]
                return found + (len(data) - position if self._of_handshake else 0)
            taken = min(self._left, len(data) - position)
            self._left -= taken
            position += taken
            found += taken if self._of_handshake else 0
        return found

    def _begin(self, data: bytes) -> bool:
        """Read a header, of which an earlier part may be known. False: its rest is still to come."""
        head = self._head + data
        if len(head) < RECORD_HEADER_BYTES:
            return False
        self._of_handshake = head[0] in RECORDS_OF_HANDSHAKE
        self._left = len(data) + int.from_bytes(head[3:5], "big")  # what is known of the header has been counted
        self._head = b""
        return True


class _Acks:
    """What one end owes the other for its segments."""

    __slots__ = ("_owes", "_since", "_wait_s")

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._owes = False
        self._since = 0.0

    def for_segments(self, count: int, now: float) -> int:
        """Segments arrive there: how many ACKs have come or come of it at once."""
        late = self.settle(now)
        acks, odd = divmod(count + self._owes, 2)
        self._owes, self._since = bool(odd), now
        return late + acks

    def ride(self, now: float) -> int:
        """Data goes back: 1 if an ACK has gone ahead of it, which was waited for too long."""
        late = self.settle(now)
        self._owes = False
        return late

    def settle(self, now: float) -> int:
        """1 if an ACK was sent alone meanwhile."""
        late = self._owes and now - self._since > self._wait_s
        if late:
            self._owes = False
        return int(late)


class TcpCount:
    """The packets of one connection, from what is written and what arrives. `now` is monotonic seconds."""

    __slots__ = ("_from_peer", "_meter", "_purpose", "_records", "_to_peer")

    def __init__(self, meter: DataMeter, purpose: Purpose, round_trip_s: float = 0.0) -> None:
        """`round_trip_s`: how long an answer takes to come back."""
        self._meter = meter
        self._purpose = purpose
        self._records = (_Records(), _Records()) if purpose in OVER_TLS else None
        self._from_peer = _Acks(round_trip_s + DELAYED_ACK_S)
        self._to_peer = _Acks(DELAYED_ACK_S)

    @property
    def opening(self) -> Purpose:
        """What beginning and end of the connection count as."""
        return Purpose.HANDSHAKE if self._records is not None else self._purpose

    def knocked(self) -> None:
        """A SYN went."""
        self._meter.up(self.opening, SYN_BYTES)

    def opened(self) -> None:
        """SYN and ACK came, and our ACK went."""
        self._meter.down(self.opening, SYN_BYTES)
        self._meter.up(self.opening, SEGMENT_HEADER_BYTES)

    def refused(self) -> None:
        """A RST came."""
        self._meter.down(self.opening, RST_BYTES)

    def wrote(self, data: bytes, now: float) -> None:
        """The charger sends."""
        purpose, segments = self._split(data, 0, self._meter.up), _segments(len(data))
        acks = self._to_peer.ride(now)
        self._meter.up(purpose, (segments + acks) * SEGMENT_HEADER_BYTES)
        if acks := self._from_peer.for_segments(segments, now):
            self._meter.down(purpose, acks * SEGMENT_HEADER_BYTES)

    def read(self, data: bytes, now: float) -> None:
        """The charger receives."""
        purpose, segments = self._split(data, 1, self._meter.down), _segments(len(data))
        acks = self._from_peer.ride(now)
        self._meter.down(purpose, (segments + acks) * SEGMENT_HEADER_BYTES)
        if acks := self._to_peer.for_segments(segments, now):
            self._meter.up(purpose, acks * SEGMENT_HEADER_BYTES)

    def closed(self) -> None:
        """It ended in order."""
        self._meter.up(self.opening, 2 * SEGMENT_HEADER_BYTES)
        self._meter.down(self.opening, 2 * SEGMENT_HEADER_BYTES)

    def aborted(self) -> None:
        """The charger broke it off."""
        self._meter.up(self.opening, RST_BYTES)

    def _split(self, data: bytes, way: int, count: Callable[[Purpose, int], None]) -> Purpose:
        """Count the bytes themselves; the purpose that their headers go to is returned."""
        if self._records is None:
            count(self._purpose, len(data))
            return self._purpose
        handshake = self._records[way].handshake_bytes(data)
        if handshake:
            count(Purpose.HANDSHAKE, handshake)
        if handshake == len(data):
            return Purpose.HANDSHAKE
        count(self._purpose, len(data) - handshake)
        return self._purpose


def _segments(size_bytes: int) -> int:
    return -(-size_bytes // SEGMENT_MAX_BYTES)
