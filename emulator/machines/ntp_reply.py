"""What can be wrong with a time server's reply (RFC 4330 section 5, RFC 5905 sections 7.3 and 7.4), each in a word."""

import re
from enum import StrEnum

from emulator.wire.ntp import SERVER, UNSYNCHRONISED, VERSION, Measurement, NtpPacket, elapsed_s

STRATUM_MAX = 15  # RFC 5905 section 7.3: 16 is unsynchronised, more is reserved
ROOT_MAX_S = 1.0
"""Root delay and root dispersion are below this; RFC 4330 section 5 calls one second infinity."""

ROUND_TRIP_MAX_S = 10.0
"""Invented. The clock may be wrong by half of it: that is too much for meter readings, though not for TLS."""

ROUND_TRIP_SLACK_S = 0.01
"""Invented. A round trip may be negative by so much: the two clocks do not run alike while a server works."""


class Complaint(StrEnum):
    """What is wrong with a reply; the code of a kiss of death (``DENY``, ``RATE`` ...) is another such word."""

    GARBAGE = "garbage"
    """Not an NTP packet."""
    SPOOFED = "spoofed"
    """From an address or a port that was never asked."""
    WRONG_ORIGIN = "wrong_origin"
    """Does not return the timestamp of a request of ours, so it proves nothing."""
    WRONG_MODE = "wrong_mode"
    WRONG_VERSION = "wrong_version"
    KISS = "kiss"
    """Stratum 0 without a readable code."""
    UNSYNCHRONISED = "unsynchronised"
    """Leap indicator 3: the server has no time itself."""
    STRATUM = "stratum"
    """Above `STRATUM_MAX`: too far from any clock."""
    ZERO_TIME = "zero_time"
    """The time of reception or of transmission is not set."""
    BACKWARDS = "backwards"
    """Sent before it was received, or before the server's own clock was last set (RFC 5905 appendix A.5.1)."""
    ABSURD_ROOT = "absurd_root"
    """Root delay or root dispersion of `ROOT_MAX_S` or more: the server has not heard from its source for long."""
    NEGATIVE_DELAY = "negative_delay"
    """Back before it left: one of the two clocks was moved meanwhile, or the server makes things up."""
    ABSURD_DELAY = "absurd_delay"
    """A round trip of more than `ROUND_TRIP_MAX_S`."""


NONSENSE = frozenset(Complaint) - {Complaint.KISS, Complaint.UNSYNCHRONISED, Complaint.STRATUM}
"""Words for what is broken, forged or made up; the others are of servers that say themselves that they give no time."""

_CODE = re.compile("[A-Z0-9]{3,4}")


def complaint_about(reply: NtpPacket) -> str | None:
    """What is wrong with the fields of a reply to a request of ours; None: nothing."""
    if reply.mode != SERVER:
        return Complaint.WRONG_MODE
    if reply.version != VERSION:
        return Complaint.WRONG_VERSION
    if reply.stratum == 0:
        return reply.kiss_code if _CODE.fullmatch(reply.kiss_code) else Complaint.KISS
    if reply.leap == UNSYNCHRONISED:
        return Complaint.UNSYNCHRONISED
    if reply.stratum > STRATUM_MAX:
        return Complaint.STRATUM
    return _complaint_about_time(reply)


def complaint_about_trip(measured: Measurement) -> str | None:
    """What is wrong with the way that the packets took; None: nothing."""
    if measured.delay_s < -ROUND_TRIP_SLACK_S:
        return Complaint.NEGATIVE_DELAY
    return Complaint.ABSURD_DELAY if measured.delay_s > ROUND_TRIP_MAX_S else None


def _complaint_about_time(reply: NtpPacket) -> str | None:
    if not reply.received or not reply.transmitted:
        return Complaint.ZERO_TIME
    set_later = bool(reply.reference) and elapsed_s(reply.reference, reply.transmitted) < 0
    if set_later or elapsed_s(reply.received, reply.transmitted) < 0:
        return Complaint.BACKWARDS
    return Complaint.ABSURD_ROOT if max(reply.root_delay_s, reply.root_dispersion_s) >= ROOT_MAX_S else None
