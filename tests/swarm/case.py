"""One case of the swarm: a charger, its place and what goes wrong there, drawn from two numbers."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from random import Random
from types import ModuleType
from typing import Any

from emulator.faults import Condition, Fault
from emulator.local import Mode
from emulator.net.plc_line import Grid
from tests.swarm.values import draw_fault

BREAKING_S = 900.0
"""Faults strike within this time since power-on."""
HEALED_S = 1200.0
"""At this time every fault is taken back."""
FAULTS_MAX = 5


@dataclass(frozen=True)
class Strike:
    """A fault and when it strikes, seconds since power-on; at 0 it is there before the power is."""

    at_s: float
    fault: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What the swarm lives through once. Nothing in it is wrong by itself; what goes wrong are the strikes."""

    seed: int
    number: int
    setup: dict[str, Any]
    local: dict[str, Any]
    place: dict[str, Any]
    changes: dict[str, Any]
    car_at_s: float | None
    strikes: tuple[Strike, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, for the report of a failure."""
        return asdict(self)


def draw_case(seed: int, number: int) -> Case:
    """The case of this number; the same two numbers give the same case."""
    rng = Random(f"swarm/{seed}/{number}")
    kinds = rng.choices(fault_kinds(), k=rng.randint(1, FAULTS_MAX))
    strikes = sorted((_strike(kind, rng) for kind in kinds), key=lambda strike: strike.at_s)
    return Case(
        seed=seed,
        number=number,
        setup=_setup(rng),
        local=_local(rng),
        place=_place(rng),
        changes=_changes(rng),
        car_at_s=rng.uniform(0, BREAKING_S) if rng.random() < 0.3 else None,
        strikes=tuple(strikes),
    )


@cache
def fault_kinds() -> list[type[Fault]]:
    """Every fault of every table, in the order of their kinds."""
    found = {fault.kind: fault for module in _modules() for fault in _listed(module)}
    return [found[kind] for kind in sorted(found)]


def _modules() -> Iterator[ModuleType]:
    for root in (importlib.import_module(name) for name in ("emulator", "cloud_stub")):
        for info in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def _listed(module: ModuleType) -> Iterator[type[Fault]]:
    for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
        rows: Iterable[type[Fault]] | Mapping[str, type[Fault]] = getattr(owner, "FAULTS", ())
        yield from rows.values() if isinstance(rows, Mapping) else rows


def _strike(cls: type[Fault], rng: Random) -> Strike:
    fault = draw_fault(cls, rng)
    if rng.random() < 0.4:
        fault["for_s"] = round(rng.uniform(1, BREAKING_S), 1)
    if not issubclass(cls, Condition):
        if rng.random() < 0.3:
            fault["probability"] = round(rng.uniform(0.05, 1), 2)
        if rng.random() < 0.2:
            fault["count"] = rng.randint(1, 20)
    return Strike(0.0 if rng.random() < 0.5 else round(rng.uniform(0, BREAKING_S), 1), fault)


def _setup(rng: Random) -> dict[str, Any]:
    """A site where everything works. Its router may forget silent connections sooner than the charger pings."""
    point = {"channel": rng.randint(1, 11), "standard": rng.choice("bgn")}
    return {
        "wifi": {"access_points": [point]},
        "lte": {"roaming": rng.random() < 0.2},
        "plc": {"grid": rng.choice([grid.value for grid in Grid])},
        "router": {
            "nat": rng.random() < 0.9,
            "tcp_idle_s": rng.choice((120.0, 600.0, 7440.0)),
            "stray": rng.choice(("drop", "reset", "adopt")),
        },
    }


def _local(rng: Random) -> dict[str, Any]:
    modes = [mode.value for mode in Mode]
    mode = rng.choice(modes)
    return {"mode": mode, "fallback": rng.sample([other for other in modes if other != mode], rng.choice((0, 0, 1, 2)))}


def _place(rng: Random) -> dict[str, Any]:
    """Somewhere all links work."""
    return {
        "wifi.signal_dbm": round(rng.uniform(-72, -40), 1),
        "lte.coverage_dbm": round(rng.uniform(-105, -70), 1),
        "plc.cable_m": round(rng.uniform(1, 80), 1),
    }


def _changes(rng: Random) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if rng.random() < 0.3:
        changes["ntp.gate"] = "wait-then-go-on"
    return changes
