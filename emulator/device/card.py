"""RFID cards: what is shown is reported, and the cloud says who may charge (zaptec.md sections 8.2, 8.4 and 9, [G]).

What the charger would do by itself is not known publicly: a grant of current (501) is obeyed whatever the cards say.
"""

from enum import StrEnum

from emulator.device.session import Sessions
from emulator.device.settings import Settings
from emulator.errors import UsageError

PREFIX = "nfc-"
UID_BYTES = (4, 7, 10)  # ISO/IEC 14443-3 section 6.5.4: single, double and triple size
REQUIRED, STANDALONE = 120, 712


class Shown(StrEnum):
    """What comes of a card that is held to the charger."""

    WAITS = "waits"
    """Reported; the cloud has to grant or deny (601, 602)."""
    REPORTED = "reported"
    """Reported, and nobody is asked: a card is not required. That it is reported all the same is invented."""
    NO_CAR = "no_car"
    """Ignored, as there is no charge session (invented)."""
    NO_POWER = "no_power"


def tag_of(uid: str) -> str:
    """The tag of a card with this UID, in hex: ``nfc-04A1B2C3`` (capitals are invented). UsageError: it is none."""
    try:
        raw = bytes.fromhex(uid)
    except ValueError:
        raise UsageError("uid: must be hex digits") from None
    if len(raw) not in UID_BYTES:
        raise UsageError(f"uid: has {len(raw)} bytes; cards have 4, 7 or 10")
    return PREFIX + raw.hex().upper()


class Cards:
    """The tag of the charge session: shown and not judged yet in RAM, granted by the cloud in the session's record."""

    __slots__ = ("_sessions", "_settings", "_shown", "waits")

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings
        self._shown = ""
        self.waits = False
        """The tag that was shown waits for the cloud's answer."""

    @property
    def tag(self) -> str:
        """Observation 722: the tag shown last, unless it was denied, or else the one granted; empty: none."""
        session = self._sessions.current
        return self._shown or (session.authentication_code if session is not None else "")

    @property
    def standalone(self) -> bool:
        """The cloud has no say (setting 712)."""
        return self._settings[STANDALONE] == "1"

    @property
    def required(self) -> bool:
        """A tag must be shown before a charge, and the cloud judges it."""
        return self._settings[REQUIRED] == "1" and not self.standalone

    def show(self, tag: str) -> Shown:
        """A card was read."""
        if self._sessions.current is None:
            return Shown.NO_CAR
        self._shown, self.waits = tag, self.required
        return Shown.WAITS if self.waits else Shown.REPORTED

    def granted(self) -> bool:
        """The cloud grants the tag that waits (601). False: none does."""
        if not self.waits:
            return False
        self._sessions.authorise(self._shown)
        self.forget()
        return True

    def denied(self) -> bool:
        """The cloud denies the tag that waits (602). False: none does."""
        waited = self.waits
        if waited:
            self.forget()
        return waited

    def set_user(self, tag: str) -> bool:
        """The cloud names the user by itself (505). False: there is no charge session, or no tag is required."""
        if self._sessions.current is None or not self.required:
            return False
        self._sessions.authorise(tag)
        self.forget()
        return True

    def forget(self) -> None:
        """What was shown counts no longer: it was judged, or the charge session or the power is gone."""
        self._shown, self.waits = "", False
