"""Faults are data. Each family lives with its owner (link, service, device); this is what they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from emulator.errors import UsageError

Undo = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong, from its injection until it is undone, used up or its time is over."""

    kind: ClassVar[str]
    """``family.name``; the family says who is struck: link, site, dhcp, dns, ntp, hub, firmware, device."""

    who: str = "*"
    """Serial of the charger concerned, ``*`` for all."""
    probability: float = 1.0
    for_s: float | None = None
    count: int | None = None
    """How many times it strikes; None: without end."""


F = TypeVar("F", bound=Fault)


class FaultSet:
    """The faults that are active at one owner, at most `LIMIT`."""

    LIMIT = 256

    def __init__(self, rng: Random, now: Callable[[], float]) -> None:
        self._rng = rng
        self._now = now
        self._active: dict[int, tuple[Fault, float]] = {}
        self._strikes: dict[int, int] = {}
        self._next = 0

    def inject(self, fault: Fault) -> Undo:
        """Make a fault active; the result takes it back and may be called twice."""
        if len(self._active) >= self.LIMIT:
            raise UsageError(f"fault {fault.kind}: more than {self.LIMIT} faults are active at once")
        key, self._next = self._next, self._next + 1
        end = float("inf") if fault.for_s is None else self._now() + fault.for_s
        self._active[key] = (fault, end)
        return lambda: self._drop(key)

    def clear(self) -> None:
        """Heal everything."""
        self._active.clear()
        self._strikes.clear()

    def strikes(self, cls: type[F], who: str = "*", when: Callable[[F], bool] = lambda fault: True) -> F | None:
        """The first active fault of this class that hits `who` now; its count and probability are applied.

        `when` tells whether a fault is about what is going on at all.
        """
        if not self._active:
            return None
        for key, (fault, end) in list(self._active.items()):
            if self._now() >= end:
                self._drop(key)
            elif isinstance(fault, cls) and fault.who in ("*", who) and when(fault) and self._hit(key, fault):
                return fault
        return None

    def active(self) -> list[Fault]:
        """What is wrong right now."""
        return [fault for fault, end in self._active.values() if self._now() < end]

    def _hit(self, key: int, fault: Fault) -> bool:
        if fault.probability < 1.0 and self._rng.random() >= fault.probability:
            return False
        self._strikes[key] = self._strikes.get(key, 0) + 1
        if fault.count is not None and self._strikes[key] >= fault.count:
            self._drop(key)
        return True

    def _drop(self, key: int) -> None:
        self._active.pop(key, None)
        self._strikes.pop(key, None)


def fault_from(data: Mapping[str, Any], table: Mapping[str, type[Fault]], *, where: str = "fault") -> Fault:
    """Build the fault that `data` (``{"kind": ..., ...}``) describes. UsageError names the key at fault."""
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in table:
        raise UsageError(f"{where}: kind: {kind!r} is not a fault; known are {', '.join(sorted(table))}")
    fields = {key: value for key, value in data.items() if key != "kind"}
    unknown = sorted(set(fields) - set(table[kind].__dataclass_fields__))
    if unknown:
        raise UsageError(f"{where}: {unknown[0]}: {kind} has no such key")
    try:
        return TypeAdapter(table[kind]).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {key}: {first['msg']}") from None
