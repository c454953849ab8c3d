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
from collections.abc import Mapping
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


_ROWS = {purpose: row for row, purpose in enumerate(Purpose)}
_DOWN = len(_ROWS)
"""Rows of the other direction come so many after those of the first."""


class DataMeter:
    """Counts one charger's bytes since it was made."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = array("Q", bytes(2 * 8 * _DOWN))  # half of what dictionaries take, in thousands of chargers
        """From the charger by purpose, then to it; for who counts every packet."""

    def up(self, purpose: Purpose, size_bytes: int) -> None:
        """Packets left."""
        self.rows[_ROWS[purpose]] += size_bytes

    def down(self, purpose: Purpose, size_bytes: int) -> None:
        """Packets arrived."""
        self.rows[_ROWS[purpose] + _DOWN] += size_bytes

    def usage(self) -> Usage:
        """The counts as they are now."""
        return Usage(_named(self.rows[:_DOWN]), _named(self.rows[_DOWN:]))

    def totals(self) -> tuple[int, int]:
        """All that left and all that arrived."""
        return sum(self.rows[:_DOWN]), sum(self.rows[_DOWN:])


def _named(counts: "array[int]") -> dict[str, int]:
    return {purpose.value: counts[row] for purpose, row in _ROWS.items() if counts[row]}


class _Way:
    """One direction of a connection: tells TLS's own records from application data, and what the receiver owes."""

    __slots__ = ("_ack_delay_s", "_head", "_left", "_of_handshake", "_owes", "_since", "handshake_row", "row")

    def __init__(self, row: int, handshake_row: int, ack_delay_s: float) -> None:
        self.row = row
        self.handshake_row = handshake_row
        self._head = b""
        self._left = 0
        self._of_handshake = True
        self._owes = False
        self._since = 0.0
        self._ack_delay_s = ack_delay_s

    def handshake_bytes(self, data: bytes) -> int:
        """How many of the next bytes belong to TLS itself; the rest is application data, or no TLS at all."""
        size, position, found = len(data), 0, 0
        while position < size:
            if not self._left:
                begun = self._head + data[position : position + RECORD_HEADER_BYTES - len(self._head)]
                if len(begun) < RECORD_HEADER_BYTES:
                    self._head = begun
                    return found + (size - position if self._of_handshake else 0)
                self._of_handshake = begun[0] in RECORDS_OF_HANDSHAKE
                # what is known of the header has been counted
                self._left = RECORD_HEADER_BYTES - len(self._head) + (begun[3] << 8 | begun[4])
                self._head = b""
            taken = min(self._left, size - position)
            self._left -= taken
            position += taken
            if self._of_handshake:
                found += taken
        return found

    def acks_for(self, segments: int, now: float) -> int:
        """Segments arrive: how many ACKs of the receiver have come or come of it at once."""
        late = self._late(now)
        acks, odd = divmod(segments + self._owes, 2)
        self._owes, self._since = odd == 1, now
        return acks + late

    def ack_ahead(self, now: float) -> int:
        """The receiver sends data: 1 if an ACK has gone ahead of it, which was waited for too long."""
        late = self._late(now)
        self._owes = False
        return late

    def _late(self, now: float) -> bool:
        """Whether an ACK was sent alone meanwhile."""
        late = self._owes and now - self._since > self._ack_delay_s
        if late:
            self._owes = False
        return late


class TcpCount:
    """The packets of one connection, from what is written and what arrives. `now` is monotonic seconds."""

    __slots__ = ("_down", "_meter", "_over_tls", "_up", "opening")

    def __init__(self, meter: DataMeter, purpose: Purpose, round_trip_s: float = 0.0) -> None:
        """`round_trip_s`: how long an answer takes to come back."""
        self._meter = meter
        self._over_tls = purpose in OVER_TLS
        self.opening = Purpose.HANDSHAKE if self._over_tls else purpose
        """What beginning and end of the connection count as."""
        row, own = _ROWS[purpose], _ROWS[self.opening]
        self._up = _Way(row, own, round_trip_s + DELAYED_ACK_S)
        self._down = _Way(row + _DOWN, own + _DOWN, DELAYED_ACK_S)

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
        self._carried(data, now, self._up, self._down)

    def read(self, data: bytes, now: float) -> None:
        """The charger receives."""
        self._carried(data, now, self._down, self._up)

    def closed(self) -> None:
        """It ended in order."""
        self._meter.up(self.opening, 2 * SEGMENT_HEADER_BYTES)
        self._meter.down(self.opening, 2 * SEGMENT_HEADER_BYTES)

    def aborted(self) -> None:
        """The charger broke it off."""
        self._meter.up(self.opening, RST_BYTES)

    def _carried(self, data: bytes, now: float, way: _Way, back: _Way) -> None:
        """Count the bytes themselves, the headers before them, and the ACKs that come of them."""
        rows, size = self._meter.rows, len(data)
        handshake = way.handshake_bytes(data) if self._over_tls else 0
        row, back_row = (way.row, back.row) if handshake < size else (way.handshake_row, back.handshake_row)
        segments = -(-size // SEGMENT_MAX_BYTES)
        rows[way.handshake_row] += handshake
        rows[row] += size - handshake + (segments + back.ack_ahead(now)) * SEGMENT_HEADER_BYTES
        rows[back_row] += way.acks_for(segments, now) * SEGMENT_HEADER_BYTES
