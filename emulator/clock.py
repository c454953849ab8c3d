"""The two clocks: the loop's monotonic time (virtual in `SimLoop`) and `Rtc`, the charger's own wall clock."""

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVarTuple

from emulator.errors import EmulatorError

_Ts = TypeVarTuple("_Ts")


class Stuck(EmulatorError):
    """Every coroutine waits and no timer is set: the simulated world can never go on."""


class _VirtualSelector(selectors.BaseSelector):
    """Stands where the loop would sleep: instead of waiting, the clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self._map: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("all coroutines wait and no timer is set")
        self.now += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)  # only the loop's own wake-up pipe comes here
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._map

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._map[fileobj]

    def close(self) -> None:
        self._map.clear()


class _OrderedTimer(asyncio.TimerHandle):
    """A timer that keeps its place among timers of the same deadline.

    asyncio's heap leaves the order of equal deadlines open; bytes that are in flight for the same time would swap.
    """

    __slots__ = ("_order",)

    def __init__(self, order: int, *args: Any) -> None:
        super().__init__(*args)
        self._order = order

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        if isinstance(other, _OrderedTimer):
            return (self.when(), self._order) < (other.when(), other._order)
        return NotImplemented


class SimLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time: when nothing is ready it jumps to the next timer. A day takes a second."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        self._order = itertools.count()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, but first come, first served among equal deadlines."""
        timer = _OrderedTimer(next(self._order), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer


Utc = Callable[[], datetime]


def system_utc() -> datetime:
    """The time of the machine we run on. Only composition roots use it."""
    return datetime.now(UTC)


class Rtc:
    """The charger's wall clock, on a battery of its own. It counts from the firmware's build time until it is set.

    `drift_ppm` is how many microseconds it gains per true second. It outlives reboots and power cuts; `source` says who
    it is believed for: ``build`` nobody, ``ntp`` (or whoever has `set` it) in this life, ``rtc`` the battery.
    """

    __slots__ = (
        "_base",
        "_built_at",
        "_drift_ppm",
        "_monotonic",
        "_since",
        "_stopped",
        "battery_flat",
        "source",
        "trusted",
    )

    def __init__(self, monotonic: Callable[[], float], *, built_at: datetime, drift_ppm: float = 0.0) -> None:
        self._monotonic = monotonic
        self._built_at = built_at
        self._drift_ppm = drift_ppm
        self.source = "build"
        self.trusted = False
        self.battery_flat = False
        """A power cut loses the clock."""
        self._stopped = False
        self._base = built_at
        self._since = monotonic()

    @property
    def drift_ppm(self) -> float:
        """How fast it runs ahead now."""
        return self._drift_ppm

    def now(self) -> datetime:
        """What the clock shows, UTC."""
        elapsed_s = (self._monotonic() - self._since) * (1 + self._drift_ppm * 1e-6)
        return self._base + timedelta(seconds=elapsed_s)

    def set(self, utc: datetime, *, source: str) -> None:
        """Set the clock and trust it."""
        self._base, self._since = utc, self._monotonic()
        self.source, self.trusted = source, True

    def jump(self, by_s: float) -> None:
        """Move the clock without anyone noticing (a fault)."""
        self._base = self.now() + timedelta(seconds=by_s)
        self._since = self._monotonic()

    def hasten(self, by_ppm: float) -> None:
        """Let the clock run faster from now on, slower if negative (a fault: heat, a bad quartz)."""
        self.jump(0.0)
        self._drift_ppm += by_ppm

    def lose(self) -> None:
        """Back to the build time, untrusted."""
        self._base, self._since = self._built_at, self._monotonic()
        self.source, self.trusted = "build", False

    def power_cut(self) -> None:
        """The mains are gone: without a battery the clock stops."""
        self._stopped = self._stopped or self.battery_flat

    def power_on(self) -> None:
        """A life begins, after a power cut or a reboot: a clock that has stopped is lost, another one was kept."""
        if self._stopped:
            self._stopped = False
            self.lose()
        elif self.trusted:
            self.source = "rtc"
