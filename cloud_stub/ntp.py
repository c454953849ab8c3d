"""The NTP server of the site network (RFC 5905, server mode only)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from cloud_stub.service import DatagramService, Reply, WhoIs
from emulator.clock import Utc
from emulator.faults import Fault
from emulator.net.api import Address
from emulator.wire.ntp import CLIENT, SERVER, UNSYNCHRONISED, NtpError, NtpPacket, decode, encode, timestamp

OFFSET_MAX_S = 1.5e9  # invented; 47 years, within the 68 that NTP can tell apart
STRATUM = 2  # invented, as is everything else that a pool server says about itself
PRECISION = -20
REFERENCE_ID = bytes((127, 127, 1, 0))


@dataclass(frozen=True, kw_only=True)
class Silence(Fault):
    """The server does not answer, or UDP 123 is blocked on the way."""

    kind: ClassVar[str] = "ntp.silence"


@dataclass(frozen=True, kw_only=True)
class Offset(Fault):
    """The server's clock is wrong by `offset_s` seconds, ahead if positive."""

    kind: ClassVar[str] = "ntp.offset"
    offset_s: Annotated[float, Field(ge=-OFFSET_MAX_S, le=OFFSET_MAX_S)]


@dataclass(frozen=True, kw_only=True)
class Kiss(Fault):
    """The server refuses with a kiss code (RFC 5905 section 7.4)."""

    kind: ClassVar[str] = "ntp.kiss"
    code: Annotated[str, Field(pattern="^[A-Z]{4}$")] = "RATE"


class NtpServer(DatagramService):
    """Answers every client with the time of `utc`; `who_is` tells clients apart, for faults of one charger."""

    name = "ntp"
    port = 123
    FAULTS = (Silence, Offset, Kiss)

    def __init__(self, *, rng: Random, utc: Utc, now: Callable[[], float], who_is: WhoIs = str) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self._who_is = who_is

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        try:
            asked = decode(request)
        except NtpError:
            return []
        if asked.mode != CLIENT:
            return []
        text, reply = self._reply(asked, self._who_is(sender.host))
        self.record(sender, f"TIME v{asked.version}", text)
        return [] if reply is None else [Reply(encode(reply), sender)]

    def _reply(self, asked: NtpPacket, who: str) -> tuple[str, NtpPacket | None]:
        if self.faults.strikes(Silence, who):
            return "silence", None
        if kiss := self.faults.strikes(Kiss, who):
            refusal = NtpPacket(
                mode=SERVER,
                leap=UNSYNCHRONISED,
                version=asked.version,
                reference_id=kiss.code.encode("ascii"),
                origin=asked.transmitted,
            )
            return f"KISS {kiss.code}", refusal
        wrong = self.faults.strikes(Offset, who)
        utc = self.utc() + timedelta(seconds=wrong.offset_s if wrong else 0.0)
        now = timestamp(utc)
        answer = NtpPacket(
            mode=SERVER,
            version=asked.version,
            stratum=STRATUM,
            poll=asked.poll,
            precision=PRECISION,
            reference_id=REFERENCE_ID,
            reference=now,
            origin=asked.transmitted,
            received=now,
            transmitted=now,
        )
        return utc.isoformat(), answer
