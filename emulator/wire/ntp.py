"""NTP packets, over ntplib's packet and statistics classes (RFC 5905; the client's subset is RFC 4330's SNTP)."""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import ntplib  # type: ignore[import-untyped]  # the library ships no types

from emulator.errors import WireError

VERSION = 4
CLIENT, SERVER = 3, 4
UNSYNCHRONISED = 3
"""Leap indicator of a server that has no time itself."""

SECOND = 1 << 32
"""Units of a timestamp in a second."""

_EPOCH = datetime(1900, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ERA = 1 << 64
_HALF_ERA = _ERA // 2
_TIMESTAMPS = struct.Struct("!4Q")
_TIMESTAMPS_AT = 16


class NtpError(WireError):
    """Not an NTP packet, or one that cannot be written."""


@dataclass(frozen=True, slots=True)
class NtpPacket:
    """One packet. Timestamps are NTP's own: units of 2**-32 s since 1900, modulo 2**64; 0 means unset.

    They are whole numbers because a reply must return the client's timestamp bit by bit, and floats would round it.
    """

    mode: int
    leap: int = 0
    version: int = VERSION
    stratum: int = 0
    poll: int = 0
    precision: int = 0
    root_delay_s: float = 0.0
    """Signed by RFC 5905, but read as unsigned: what is negative comes out above 32,767 s."""
    root_dispersion_s: float = 0.0
    reference_id: bytes = b"\0\0\0\0"
    reference: int = 0
    origin: int = 0
    """When the client sent its request, by the client's clock."""
    received: int = 0
    transmitted: int = 0

    @property
    def kiss_code(self) -> str:
        """Why the server refuses (stratum 0, RFC 5905 section 7.4): ``RATE``, ``DENY`` ..."""
        return self.reference_id.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Measurement:
    """How far the server's clock is ahead of ours, and the time that the packets were on their way."""

    offset_s: float
    delay_s: float


def timestamp(utc: datetime) -> int:
    """The NTP timestamp of a moment, whatever its era."""
    return ((utc - _EPOCH) // _MICROSECOND * SECOND // 1_000_000) % _ERA


def shifted(stamp: int, by_s: float) -> int:
    """A timestamp moved by some seconds; one that is unset stays so."""
    return (stamp + int(by_s * SECOND)) % _ERA if stamp else 0


def elapsed_s(earlier: int, later: int) -> float:
    """Seconds from one timestamp to another, negative if they are the other way round; less than 68 years."""
    return ((later - earlier + _HALF_ERA) % _ERA - _HALF_ERA) / SECOND


def decode(data: bytes) -> NtpPacket:
    """The packet in one datagram; extensions and authentication after it are not looked at. NtpError if too short."""
    packet = ntplib.NTPPacket()
    try:
        packet.from_data(data)
    except ntplib.NTPException as error:
        raise NtpError(f"{len(data)} bytes: {error}") from None
    reference, origin, received, transmitted = _TIMESTAMPS.unpack_from(data, _TIMESTAMPS_AT)
    return NtpPacket(
        mode=packet.mode,
        leap=packet.leap,
        version=packet.version,
        stratum=packet.stratum,
        poll=packet.poll,
        precision=packet.precision,
        root_delay_s=packet.root_delay,
        root_dispersion_s=packet.root_dispersion,
        reference_id=packet.ref_id.to_bytes(4, "big"),
        reference=reference,
        origin=origin,
        received=received,
        transmitted=transmitted,
    )


def encode(message: NtpPacket) -> bytes:
    """One datagram of 48 bytes. NtpError when a value does not fit its field."""
    if not (0 <= message.leap <= 3 and 0 <= message.version <= 7 and 0 <= message.mode <= 7):
        raise NtpError("leap, version or mode does not fit")
    if len(message.reference_id) != 4:
        raise NtpError(f"reference identifier of {len(message.reference_id)} bytes instead of 4")
    if min(message.reference, message.origin, message.received, message.transmitted) < 0:
        raise NtpError("negative timestamp")
    packet = ntplib.NTPPacket(message.version, message.mode, _exact(message.transmitted))
    packet.leap = message.leap
    packet.stratum = message.stratum
    packet.poll = message.poll
    packet.precision = message.precision
    packet.root_delay = message.root_delay_s
    packet.root_dispersion = message.root_dispersion_s
    packet.ref_id = int.from_bytes(message.reference_id, "big")
    packet.ref_timestamp = _exact(message.reference)
    packet.orig_timestamp = _exact(message.origin)
    packet.recv_timestamp = _exact(message.received)
    try:
        return bytes(packet.to_data())
    except (ntplib.NTPException, ValueError, OverflowError) as error:
        raise NtpError(str(error)) from None


def measure(reply: NtpPacket, sent: datetime, arrived: datetime) -> Measurement:
    """Offset ((t2 - t1) + (t3 - t4)) / 2 and delay (t4 - t1) - (t3 - t2) of a reply, `sent` and `arrived` by our clock.

    The server's timestamps mean a time from 1968 to 2104 (RFC 4330 section 3), so that our clock may show any year.
    """
    stats = ntplib.NTPStats()
    stats.orig_timestamp = _since_1900(sent)
    stats.recv_timestamp = _meant(reply.received)
    stats.tx_timestamp = _meant(reply.transmitted)
    stats.dest_timestamp = _since_1900(arrived)
    return Measurement(float(stats.offset), float(stats.delay))


def _exact(stamp: int) -> Fraction | int:
    return Fraction(stamp, SECOND) if stamp else 0  # most fields of a request are unset, and fractions are slow


def _since_1900(utc: datetime) -> Fraction:
    return Fraction((utc - _EPOCH) // _MICROSECOND, 1_000_000)


def _meant(stamp: int) -> Fraction | int:
    """Seconds since 1900: the highest bit is set from 1968 to the end of the first era in 2036."""
    return _exact(stamp if stamp >= _HALF_ERA else stamp + _ERA)
