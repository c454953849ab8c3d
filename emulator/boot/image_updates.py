"""The images that were applied or have failed, as the charger remembers them for observations 930 and 931.

That there are such lists is known of the Pro; that they are JSON, and what they hold, is invented.
"""

import json
from collections.abc import Mapping
from datetime import datetime

from emulator.flash.api import Flash, kept

KEY = "firmware.updates"
ENTRIES_MAX = 8
"""Of each list; the oldest goes first."""
APPLIED, FAILED = "applied", "failed"

Entry = Mapping[str, str]


class ImageUpdates:
    """Both lists, in flash."""

    __slots__ = ("_flash",)

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def apply(self, version: str, at: datetime) -> None:
        """An image has proved itself."""
        self._add(APPLIED, {"Version": version, "Time": _utc(at)})

    def fail(self, version: str, at: datetime, reason: str) -> None:
        """An image was refused, or has not proved itself. `version` is empty if it was never known."""
        self._add(FAILED, {"Version": version, "Time": _utc(at), "Reason": reason})

    def as_json(self, which: str) -> str | None:
        """One of the lists, the oldest first; None: it is empty."""
        if self._flash.get(KEY) is None:
            return None  # asked whenever something is reported
        entries = self._lists()[which]
        return json.dumps(entries, separators=(",", ":")) if entries else None

    def _add(self, which: str, entry: Entry) -> None:
        lists = self._lists()
        lists[which] = [*lists[which], entry][-ENTRIES_MAX:]
        kept(self._flash, KEY, json.dumps(lists, separators=(",", ":")).encode())

    def _lists(self) -> dict[str, list[Entry]]:
        """What flash holds; what is damaged counts as nothing."""
        try:
            raw = json.loads(self._flash.get(KEY) or b"{}")
            return {which: [dict(entry) for entry in raw.get(which, [])] for which in (APPLIED, FAILED)}
        except (ValueError, TypeError, AttributeError):
            return {APPLIED: [], FAILED: []}


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
