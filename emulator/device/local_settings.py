"""The installer's settings as the charger keeps them, and how a change of them comes into use (M18)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from emulator.flash.api import Flash, kept
from emulator.local import Local, Mode
from emulator.trace import Trace

FLASH_KEY = "local"
SWAP_TEST_S = 180.0  # zaptec.md section 4

OF_MODE: Mapping[Mode, frozenset[str]] = {
    Mode.ETHERNET: frozenset(),
    Mode.WIFI: frozenset({"ssid", "password"}),
    Mode.LTE: frozenset({"roaming"}),
    Mode.PLC: frozenset({"plc_key"}),
}
"""The settings that each link uses."""


class LocalSettings:
    """What flash holds of them, or else what the charger was sold with. The secrets (M19) are in flash as they are."""

    __slots__ = ("_flash", "_sold", "current")

    def __init__(self, flash: Flash, sold: Local) -> None:
        self._flash = flash
        self._sold = sold
        self.recall()

    def recall(self) -> None:
        """Take what flash holds."""
        self.current = _stored(self._flash) or self._sold

    def keep(self, local: Local) -> None:
        """Use these from now on, after a reboot too if flash has room for them."""
        self.current = local
        kept(self._flash, FLASH_KEY, local.model_dump_json().encode())


def _stored(flash: Flash) -> Local | None:
    """What was kept; None when that is nothing, or damaged."""
    record = flash.get(FLASH_KEY)
    if record is None:
        return None
    try:
        return Local.model_validate_json(record)
    except ValidationError:
        return None


class LinkChange:
    """Brings changed settings into use: `redial` connects anew with `in_use`.

    In diagnostics mode another link is on trial at first (zaptec.md section 4): unless it reaches MQTT within
    `SWAP_TEST_S`, the old one is back. That it has no fallbacks meanwhile, and is not in flash, is invented.
    """

    __slots__ = ("_kept", "_pending", "_redial", "_trace", "_trial", "_trial_ends")

    def __init__(self, kept: LocalSettings, redial: Callable[[], None], trace: Trace) -> None:
        self._kept = kept
        self._redial = redial
        self._trace = trace
        self._trial: Local | None = None
        self._trial_ends: asyncio.TimerHandle | None = None
        self._pending: asyncio.TimerHandle | None = None

    def recall(self) -> None:
        """Take what flash holds."""
        self._kept.recall()

    @property
    def in_use(self) -> Local:
        """The settings to connect with now."""
        return self._kept.current if self._trial is None else self._trial.model_copy(update={"fallback": ()})

    @property
    def set(self) -> Local:
        """What the installer has set last, on trial or not."""
        return self._trial or self._kept.current

    def change(self, changes: Mapping[str, Any], *, where: str, testing: bool, after_s: float) -> frozenset[str]:
        """Set these; returns the keys whose value is another. UsageError starts with `where` and names the key.

        A link that they are about is dialled anew in `after_s` seconds; `testing` puts another link on trial.
        """
        before = self.set
        new = before.with_changes(dict(changes), where=where)
        changed = frozenset(key for key in Local.model_fields if getattr(new, key) != getattr(before, key))
        if not changed:
            return changed
        self._trace.emit("device.local_settings", changed=sorted(changed))
        trials = (self._trial is not None, testing and new.mode is not self._kept.current.mode)
        self._end_trial()
        if trials[1]:
            self._trial = new
        else:
            self._kept.keep(new)
        if any(trials) or changed & _link_keys(before, new):
            self.redial(after_s=after_s)
        return changed

    def redial(self, *, after_s: float) -> None:
        """Connect anew in so many seconds, so that a reply gets out before."""
        if self._pending is not None:
            self._pending.cancel()
        self._pending = asyncio.get_running_loop().call_later(after_s, self._start)

    def online(self, mode: Mode) -> None:
        """MQTT is reached by this link."""
        if self._trial is not None and mode is self._trial.mode:
            self._kept.keep(self._trial)
            self._end_trial()
            self._trace.emit("device.swap_kept", mode=mode.value)

    def power_off(self) -> None:
        """The charger starts again: what was on trial is forgotten."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._trial is not None:
            self._swap_back("restart")

    def _start(self) -> None:
        self._pending = None
        if self._trial is not None and self._trial_ends is None:
            self._trace.emit("device.swap_test", mode=self._trial.mode.value, within_s=SWAP_TEST_S)
            self._trial_ends = asyncio.get_running_loop().call_later(SWAP_TEST_S, self._failed)
        self._redial()

    def _failed(self) -> None:
        self._swap_back("timed_out")
        self._redial()

    def _swap_back(self, why: str) -> None:
        self._end_trial()
        self._trace.emit("device.swap_back", mode=self._kept.current.mode.value, why=why)

    def _end_trial(self) -> None:
        if self._trial_ends is not None:
            self._trial_ends.cancel()
        self._trial = self._trial_ends = None


def _link_keys(before: Local, new: Local) -> frozenset[str]:
    """The settings whose change calls for a new link: the choice of links, and what those chosen use."""
    return frozenset({"mode", "fallback"}).union(*(OF_MODE[mode] for mode in (*before.order, *new.order)))
