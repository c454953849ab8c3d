"""Faults are data. Each family lives with its owner (link, service, device); this is what they share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import inf
from random import Random
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from emulator.errors import UsageError

Undo = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong, from its injection until it is undone, used up or its time is over."""

    kind: ClassVar[str]
    """``family.name``; the family says who is struck: link, site, dhcp, dns, ntp, hub, firmware, device."""

    who: str = "*"
    """Serial of the charger concerned, ``*`` for all."""
    probability: Annotated[float, Field(ge=0, le=1, strict=True)] = 1.0
    for_s: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = None
    count: Annotated[int, Field(ge=1, strict=True)] | None = None
    """How many times it strikes; None: without end."""


@dataclass(frozen=True, kw_only=True)
class Condition(Fault):
    """A fault that lasts instead of striking request by request: it has neither a probability nor a count."""

    probability: float = field(default=1.0, init=False)
    count: int | None = field(default=None, init=False)


F = TypeVar("F", bound=Fault)


@dataclass(frozen=True, slots=True)
class Active:
    """A fault that is active, and since when."""

    fault: Fault
    number: int
    """Faults of one owner are numbered as they are injected, from 0."""
    since: float
    until: float
    """When its time is over (monotonic seconds); infinite without ``for_s``."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault at its owner. Calling it takes the fault back, and may be done twice: it is an `Undo`."""

    _owner: "FaultSet"
    _key: int

    def __call__(self) -> None:
        self._owner.heal(self._key)

    @property
    def active(self) -> bool:
        """Not taken back, not used up, and its time is not over."""
        return self._owner.holds(self._key)


class FaultSet:
    """The faults that are active at one owner, at most `LIMIT`."""

    LIMIT = 256

    def __init__(self, rng: Random, now: Callable[[], float]) -> None:
        self._rng = rng
        self._now = now
        self._active: dict[int, Active] = {}
        self._strikes: dict[int, int] = {}
        self.injected = 0
        """How many faults there ever were: the number of the next."""
        self.changes = 0
        """Grows with every fault that comes or goes; one whose time is over may be noticed later."""
        self.struck: Callable[[int], None] = lambda number: None
        """Called with the number of a fault each time it strikes."""

    def inject(self, fault: Fault) -> Injected:
        """Make a fault active. UsageError: `LIMIT` are active already."""
        self._forget_expired()
        if len(self._active) >= self.LIMIT:
            raise UsageError(f"fault {fault.kind}: more than {self.LIMIT} faults are active at once")
        number, now = self.injected, self._now()
        self._active[number] = Active(fault, number, now, inf if fault.for_s is None else now + fault.for_s)
        self.injected += 1
        self.changes += 1
        return Injected(self, number)

    def nothing(self) -> Injected:
        """What `inject` would return for a fault that is none of this owner's: over from the start."""
        return Injected(self, -1)

    def clear(self) -> None:
        """Heal everything."""
        self._active.clear()
        self._strikes.clear()
        self.changes += 1

    def strikes(self, cls: type[F], who: str = "*", when: Callable[[F], bool] = lambda fault: True) -> F | None:
        """The first active fault of this class that hits `who` now; its count and probability are applied.

        `when` tells whether a fault is about what is going on at all.
        """
        if not self._active:
            return None
        self._forget_expired()
        for key, fault in [(key, each.fault) for key, each in self._active.items()]:
            if isinstance(fault, cls) and fault.who in ("*", who) and when(fault) and self._hit(key, fault):
                return fault
        return None

    def active(self) -> list[Fault]:
        """What is wrong right now."""
        now = self._now()
        return [each.fault for each in self._active.values() if now < each.until]

    def about(self, who: str) -> list[Fault]:
        """What is wrong right now for `who`: faults that last, not those that strike request by request."""
        return [each.fault for each in self.lasting(who)]

    def lasting(self, who: str) -> list[Active]:
        """As `about`, with since when and until when; in the order of injection."""
        if not self._active:
            return []
        now = self._now()
        return [each for each in self._active.values() if now < each.until and each.fault.who in ("*", who)]

    def holds(self, key: int) -> bool:
        """Whether the fault that was injected under this key is active."""
        return key in self._active and self._now() < self._active[key].until

    def heal(self, key: int) -> None:
        """Take back the fault that was injected under this key; nothing happens if it is gone."""
        if self._active.pop(key, None) is not None:
            self.changes += 1
        self._strikes.pop(key, None)

    def _forget_expired(self) -> None:
        now = self._now()
        for key in [key for key, each in self._active.items() if now >= each.until]:
            self.heal(key)

    def _hit(self, key: int, fault: Fault) -> bool:
        if fault.probability < 1.0 and self._rng.random() >= fault.probability:
            return False
        self.struck(key)
        self._strikes[key] = self._strikes.get(key, 0) + 1
        if fault.count is not None and self._strikes[key] >= fault.count:
            self.heal(key)
        return True


def fault_from(data: Mapping[str, Any], table: Mapping[str, type[Fault]], *, where: str = "fault") -> Fault:
    """Build the fault that `data` (``{"kind": ..., ...}``) describes. UsageError names the key at fault."""
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in table:
        raise UsageError(f"{where}: kind: {kind!r} is not a fault; known are {', '.join(sorted(table))}")
    given = {key: value for key, value in data.items() if key != "kind"}
    unknown = sorted(set(given) - {each.name for each in fields(table[kind]) if each.init})
    if unknown:
        raise UsageError(f"{where}: {unknown[0]}: {kind} has no such key")
    try:
        return _adapter(table[kind]).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {key}: {first['msg']}") from None


_ADAPTERS: dict[type[Fault], TypeAdapter[Fault]] = {}
"""One per class of faults, made when it is first needed: each takes 2 ms."""


def _adapter(kind: type[Fault]) -> TypeAdapter[Fault]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
