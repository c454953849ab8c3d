"""What can be wrong with a time server: silence, refusals, and replies that a client must not believe."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emulator.faults import Fault
from emulator.wire.ntp import UNSYNCHRONISED, NtpPacket, shifted

OFFSET_MAX_S = 1.5e9  # invented; 47 years, so that the time stays within the 136 years that NTP can say
ROOT_MAX_S = 65_535.0  # RFC 5905 section 6: 16 bits of seconds

Seconds = Annotated[float, Field(ge=-OFFSET_MAX_S, le=OFFSET_MAX_S)]
Root = Annotated[float, Field(ge=0, le=ROOT_MAX_S)]


@dataclass(frozen=True, kw_only=True)
class NtpFault(Fault):
    """A fault of the time server with this label, one of the four that the pool name stands for; ``*`` is all."""

    server: Literal["a", "b", "c", "d", "*"] = "*"


@dataclass(frozen=True, kw_only=True)
class Silence(NtpFault):
    """The server does not answer, or UDP 123 is blocked on the way."""

    kind: ClassVar[str] = "ntp.silence"


@dataclass(frozen=True, kw_only=True)
class Slow(NtpFault):
    """The answer comes `delay_s` seconds late, and the client sees all of it on the way back."""

    kind: ClassVar[str] = "ntp.slow"
    delay_s: Annotated[float, Field(gt=0, le=3600)]


@dataclass(frozen=True, kw_only=True)
class Garbage(NtpFault):
    """The answer is no NTP packet."""

    kind: ClassVar[str] = "ntp.garbage"


@dataclass(frozen=True, kw_only=True)
class Spoofed(NtpFault):
    """Somebody who saw the request answers first, from another port, with a time that is wrong by `offset_s` seconds.

    The server answers all the same; `Silence` beside this makes it a forgery only.
    """

    kind: ClassVar[str] = "ntp.spoofed"
    offset_s: Seconds = 31_536_000.0


@dataclass(frozen=True, kw_only=True)
class Distortion(NtpFault):
    """A fault that changes what is in the answer."""

    def applied(self, answer: NtpPacket) -> NtpPacket:
        """The answer as it is sent."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Offset(Distortion):
    """The server's clock is wrong by `offset_s` seconds, ahead if positive."""

    kind: ClassVar[str] = "ntp.offset"
    offset_s: Seconds

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return moved(answer, self.offset_s)


@dataclass(frozen=True, kw_only=True)
class Kiss(Distortion):
    """The server refuses with a kiss code (RFC 5905 section 7.4): DENY and RSTR for good, RATE for a while."""

    kind: ClassVar[str] = "ntp.kiss"
    code: Annotated[str, Field(pattern="^[A-Z]{4}$")] = "RATE"

    def applied(self, answer: NtpPacket) -> NtpPacket:
        code = self.code.encode("ascii")
        nothing = replace(answer, reference=0, received=0, transmitted=0)
        return replace(nothing, stratum=0, leap=UNSYNCHRONISED, reference_id=code)


@dataclass(frozen=True, kw_only=True)
class Leap(Distortion):
    """The server's clock is not synchronised: leap indicator 3."""

    kind: ClassVar[str] = "ntp.leap"

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, leap=UNSYNCHRONISED)


@dataclass(frozen=True, kw_only=True)
class Stratum(Distortion):
    """The server is too far from any clock: 16 is unsynchronised, more is reserved (RFC 5905 section 7.3)."""

    kind: ClassVar[str] = "ntp.stratum"
    stratum: Annotated[int, Field(ge=16, le=255)] = 16

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, stratum=self.stratum)


@dataclass(frozen=True, kw_only=True)
class ZeroTime(Distortion):
    """The time of transmission is not set."""

    kind: ClassVar[str] = "ntp.zero_time"

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, transmitted=0)


@dataclass(frozen=True, kw_only=True)
class Backwards(Distortion):
    """The server says that it answered `by_s` seconds before it was asked."""

    kind: ClassVar[str] = "ntp.backwards"
    by_s: Annotated[float, Field(gt=0, le=OFFSET_MAX_S)] = 1.0

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, received=shifted(answer.transmitted, self.by_s))


@dataclass(frozen=True, kw_only=True)
class WrongOrigin(Distortion):
    """The answer does not return the client's timestamp: an old one, or one to somebody else."""

    kind: ClassVar[str] = "ntp.wrong_origin"

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, origin=shifted(answer.origin, -1.0))


@dataclass(frozen=True, kw_only=True)
class WrongMode(Distortion):
    """The answer is none by its mode: 3 is a request, 5 a broadcast."""

    kind: ClassVar[str] = "ntp.wrong_mode"
    mode: Literal[0, 1, 2, 3, 5, 6, 7] = 5

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, mode=self.mode)


@dataclass(frozen=True, kw_only=True)
class WrongVersion(Distortion):
    """The answer has another version than the request."""

    kind: ClassVar[str] = "ntp.wrong_version"
    version: Literal[0, 1, 2, 3, 5, 6, 7] = 3

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, version=self.version)


@dataclass(frozen=True, kw_only=True)
class AbsurdRoot(Distortion):
    """The server has lost its own source long ago: root delay and root dispersion are of many seconds."""

    kind: ClassVar[str] = "ntp.absurd_root"
    delay_s: Root = 0.0
    dispersion_s: Root = 16.0

    def applied(self, answer: NtpPacket) -> NtpPacket:
        return replace(answer, root_delay_s=self.delay_s, root_dispersion_s=self.dispersion_s)


def moved(answer: NtpPacket, by_s: float) -> NtpPacket:
    """The answer of a server whose clock is ahead by so many seconds."""
    return replace(
        answer,
        reference=shifted(answer.reference, by_s),
        received=shifted(answer.received, by_s),
        transmitted=shifted(answer.transmitted, by_s),
    )


DISTORTIONS = (
    Offset,
    Leap,
    Stratum,
    ZeroTime,
    Backwards,
    WrongOrigin,
    WrongMode,
    WrongVersion,
    AbsurdRoot,
    Kiss,
)
"""In the order in which they are applied."""

FAULTS: tuple[type[NtpFault], ...] = (Silence, Slow, Garbage, Spoofed, *DISTORTIONS)
