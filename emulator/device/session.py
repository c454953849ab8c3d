"""Charge sessions: the one that runs, and the finished ones that wait for the cloud's PUBACK (zaptec.md 9-11)."""

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from emulator.flash.api import Flash, forgotten, kept
from emulator.wire.messages import CompletedSession, MessageError, completed_session, parse_completed_session

CURRENT_KEY = "session.current"
COUNT_KEY = "session.count"
FINISHED_PREFIX = "session/"
STORE_MAX = 100
"""Finished sessions that flash holds; when it is full, new ones are lost, not old ones (zaptec.md section 10)."""


@dataclass(frozen=True, slots=True)
class Session:
    """The charge session of the car that is connected. Its record is in flash, so that it outlives a reboot."""

    session_id: str
    local: bool
    """The id was made here; the cloud has not named the session yet."""
    started_at: datetime
    started_kwh: float
    """Register of the meter when it began."""
    reliable_clock: bool
    authentication_code: str = ""
    """The tag that the cloud has granted; empty: none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a signed record says about the charger (OCMF fields GI, GS, GV)."""

    serial: str
    firmware: str


class Sessions:
    """Begins, names and finishes the current session and keeps finished ones until they are delivered."""

    __slots__ = ("_flash", "_rng", "current", "lost")

    def __init__(self, flash: Flash, rng: Callable[[str], Random]) -> None:
        self._flash = flash
        self._rng = rng  # a fresh source for each id costs less than 2.5 KiB of state kept in every charger
        self.lost = 0
        """Sessions that found the store or flash full, since this object was made."""
        self.recall()

    def recall(self) -> None:
        """Take what flash holds. A session that was just kept as finished when the power failed is over."""
        self.current = _load(self._flash.get(CURRENT_KEY))
        names = self.waiting()
        if self.current is not None and names and _is_of(self.current, self.value(names[-1])):
            self._forget_current()

    def begin(self, at: datetime, energy_kwh: float, *, reliable_clock: bool) -> Session:
        """A car came: a session with an id of our own."""
        return self._keep(Session(self._new_id(), True, at, energy_kwh, reliable_clock))

    def rename(self, session_id: str) -> None:
        """The cloud named the current session (command 504)."""
        if self.current is not None:
            self._keep(replace(self.current, session_id=session_id, local=False))

    def authorise(self, tag: str) -> None:
        """The cloud lets the current session charge on this tag."""
        if self.current is not None:
            self._keep(replace(self.current, authentication_code=tag))

    def energy_kwh(self, register_kwh: float) -> float:
        """Energy of the current session, 0 without one."""
        return register_kwh - self.current.started_kwh if self.current is not None else 0.0

    def finish(self, at: datetime, register_kwh: float, identity: Identity, *, reliable_clock: bool) -> bool:
        """The car left: keep the finished session for delivery. A local one without energy is dropped.

        `reliable_clock` is about `at`. False: the store or flash is full, the record is lost.
        """
        session, energy_kwh = self.current, self.energy_kwh(register_kwh)
        stored = session is None or (session.local and energy_kwh <= 0)
        if session is not None and not stored:
            finished = CompletedSession(
                session_id=session.session_id,
                energy_kwh=energy_kwh,
                started_at=session.started_at,
                ended_at=at,
                reliable_clock=session.reliable_clock and reliable_clock,
                stopped_by_rfid=False,
                authentication_code=session.authentication_code,
                signed_session=ocmf(session, at, register_kwh, identity, reliable_end=reliable_clock),
            )
            stored = self._store(finished)
        self.lost += not stored
        self._forget_current()  # last of all: a power cut before it leaves both, and `recall` sees that
        return stored

    def waiting(self) -> list[str]:
        """Flash keys of the finished sessions that the cloud has not acknowledged, oldest first."""
        return sorted(self._flash.keys(FINISHED_PREFIX))

    def value(self, key: str) -> str:
        """The value of observation 723 for one of them."""
        return (self._flash.get(key) or b"").decode(errors="replace")

    def delivered(self, key: str) -> None:
        """The cloud acknowledged it."""
        forgotten(self._flash, key)

    def _store(self, finished: CompletedSession) -> bool:
        names = self.waiting()
        if len(names) >= STORE_MAX:
            return False
        number = int(names[-1].removeprefix(FINISHED_PREFIX)) + 1 if names else 0
        return kept(self._flash, f"{FINISHED_PREFIX}{number:08d}", completed_session(finished).encode())

    def _forget_current(self) -> None:
        self.current = None
        forgotten(self._flash, CURRENT_KEY)

    def _new_id(self) -> str:
        """A GUID that no session of this charger had before: the count of sessions is in flash."""
        count = self._flash.get(COUNT_KEY) or b"0"
        number = int(count) + 1 if count.isdigit() else 1
        kept(self._flash, COUNT_KEY, str(number).encode())
        return str(uuid.UUID(int=self._rng(f"session/{number}").getrandbits(128), version=4))

    def _keep(self, session: Session) -> Session:
        self.current = session
        record = asdict(session) | {"started_at": session.started_at.isoformat()}
        kept(self._flash, CURRENT_KEY, json.dumps(record).encode())
        return session


def ocmf(session: Session, ended_at: datetime, register_kwh: float, identity: Identity, *, reliable_end: bool) -> str:
    """The session as OCMF text (PG T1), a reading at its begin and its end; not signed: this charger has no MID key."""
    record = {
        "FV": "1.0",
        "GI": "Zaptec Pro",
        "GS": identity.serial,
        "GV": identity.firmware,
        "PG": "T1",
        "RD": [
            _reading(session.started_at, "B", session.started_kwh, session.reliable_clock),
            _reading(ended_at, "E", register_kwh, reliable_end),
        ],
    }
    return "OCMF|" + json.dumps(record, separators=(",", ":"))


def _reading(at: datetime, kind: str, register_kwh: float, reliable_clock: bool) -> dict[str, Any]:
    time = f"{at:%Y-%m-%dT%H:%M:%S},{at.microsecond // 1000:03d}+00:00 {'R' if reliable_clock else 'U'}"
    return {
        "TM": time,
        "TX": kind,
        "RV": round(register_kwh, 3),
        "RI": "1-0:1.8.0",
        "RU": "kWh",
        "RT": "AC",
        "ST": "G",
    }


def _is_of(session: Session, completed: str) -> bool:
    """Whether the value of observation 723 is about this session."""
    try:
        finished = parse_completed_session(completed)
    except MessageError:
        return False
    began = abs(finished.started_at - session.started_at)
    return finished.session_id == session.session_id and began < timedelta(seconds=1)


def _load(record: bytes | None) -> Session | None:
    """A record that flash holds; None when it is damaged, as after a power cut in the middle of a write."""
    if record is None:
        return None
    try:
        fields = json.loads(record)
        return Session(**fields | {"started_at": datetime.fromisoformat(fields["started_at"])})
    except (ValueError, TypeError, KeyError):
        return None
