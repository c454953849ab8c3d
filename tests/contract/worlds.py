"""Tables of cases, told in virtual time and on real sockets: what both worlds must agree on, and who tells it.

A case is one charger, what is wrong, and every attempt at a stage that must follow. The cases of a table share one
world and run side by side; a fault strikes only the charger of its case. What cannot name a charger, or changes the
site, gets a world of its own beside that. So a table takes little longer than its slowest case.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from cloud_stub import bundle_faults
from cloud_stub.hub import faults as endpoint_faults
from emulator.device.charger import Charger
from emulator.faults import Undo
from emulator.net.place import Setup
from emulator.trace import TraceEvent
from emulator.world import World, WorldOptions, load_world

Row = tuple[str, str, str | None]
"""Stage, outcome, why."""

FaultData = Mapping[str, Any]
Table = Mapping[str, "Case"]

WORLDS = ("sim", "loopback")
WITHIN_S = 45.0
"""The slowest case takes half of it; whatever takes longer, hangs."""
AT_ONCE = {"sim": 16, "loopback": 16, "lab": 8}
"""So many chargers boot at the same time: more would keep each other waiting where the machine is busy."""
AGAIN_MAX = {"sim": 0, "loopback": 1, "lab": 2}
"""How many times a case is told once more that does not come out as in virtual time, by itself.

Real time passes while the machine is busy with something else, and a reply that is late is none. A difference between
the worlds stays one.
"""

ONLINE, OFFLINE, FAILED = "device.online", "device.offline", "boot.*.failed"

WIFI, LTE, PLC = {"mode": "wifi"}, {"mode": "lte"}, {"mode": "plc"}
CABLE = {"mode": "ethernet"}
"""At once there: what is not about the link is told on a cable."""

QUICK = {
    "dns.try_timeout_s": 0.4,
    "dns.tcp_timeout_s": 0.6,
    "dns.attempts": 1,
    "dns.negative_ttl_max_s": 0.0,
    "ntp.try_timeout_s": 0.4,
    "ntp.tries": 1,
    "ntp.rate_pause_s": 0.05,
    "dhcp.first_retransmit_s": 0.4,
    "dhcp.jitter_s": 0.1,
    "dhcp.budget_s": 1.0,
    "trust.timeout_s": 1.5,
    "trust.first_retry_s": 0.6,
    "network.connect_timeout_s": 1.0,
    "network.tls_timeout_s": 1.5,
    "hub.ack_timeout_s": 1.5,
    "backoff.first_s": 0.1,
    "backoff.wifi_lost_s": 0.1,
    "backoff.cap_without_car_s": 0.0,
}
"""The same waits everywhere, short enough for real time."""

OF_A_WORLD = re.compile(r"\b(127\.\d+|10\.20)\.(?=\d+\.\d+)|(?<=:)\d{5}\b")
"""What addresses have of their world: the network of the site, and ports that a system has picked."""

PASSES: tuple[Row, ...] = tuple(
    (stage, "passed", None) for stage in ("link", "address", "names", "time", "trust", "hub", "firmware")
)
"""A boot with nothing broken."""

BESIDES = {
    "trust.fetch_failed": ("bundle", "failed"),
    "trust.fetched": ("bundle", "fetched"),
    "device.greeting_failed": ("greeting", "failed"),
    OFFLINE: ("session", "lost"),
    "lease.lost": ("lease", "lost"),
}
"""What else has a why, beside the stages, and how it is told."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is wrong for one charger, and what comes of it."""

    faults: tuple[FaultData, ...] = ()
    rows: tuple[Row, ...]
    strikes: str | None = None
    """The event after which the faults strike; None: before power-on."""
    heals: str | None = None
    """The event after which they are taken back; None: never, or they end by themselves."""
    times: int = 1
    """How often that event has to come first."""
    ends: str = ONLINE
    """The event that it ends with. The three come in this order, and may have ``*`` in their names."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=lambda: CABLE)
    place: Mapping[str, Any] = field(default_factory=dict)
    setup: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Needs a world of its own."""
        return bool(self.setup) or any(fault["kind"] in FOR_ALL for fault in self.faults)


@dataclass(slots=True)
class Told:
    """What was seen of a case in one world, from power-on to its end."""

    rows: list[Row] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    """Stage, and what each server, link or address did that was tried there; addresses as in any world."""

    def note(self, event: TraceEvent) -> None:
        """Write down what the charger has to say."""
        data = event.data
        if "outcome" in data:
            self.rows.append((data["stage"], data["outcome"], data["why"]))
            if data.get("tried"):
                self.tried.append(f"{data['stage']} {OF_A_WORLD.sub('~', str(data['tried']))}")
        elif event.name in BESIDES:
            self.rows.append((*BESIDES[event.name], data.get("why")))


FOR_ALL = {fault.kind for fault in (*endpoint_faults.BEFORE_LOGIN, *bundle_faults.BEFORE_LOGIN)}
"""Faults that strike before a charger has said who it is."""


def passed(until: str = "firmware", *, start: str = "link") -> tuple[Row, ...]:
    """The rows of stages that pass, from `start` up to `until`, both included."""
    stages = [stage for stage, _, _ in PASSES]
    return PASSES[stages.index(start) : stages.index(until) + 1]


def before(stage: str, *, start: str = "link") -> tuple[Row, ...]:
    """The rows of stages that pass before `stage`."""
    return passed(stage, start=start)[:-1]


def stops(stage: str, why: str, *faults: FaultData, again: int = 1, **more: Any) -> Case:
    """The stage fails, `again` times where that is more than one; then all is healed and the charger comes online.

    After a failure it goes on at the names, or at the link where it has none yet.
    """
    back = "link" if stage in ("link", "address") else "names"
    failed = ((stage, "failed", why),)
    retries = (before(stage, start=back) + failed) * (again - 1)
    rows = before(stage) + failed + retries + passed(start=back)
    return Case(**{"faults": faults, "rows": rows, "heals": FAILED, "times": again, **more})


def stays(stage: str, why: str, *faults: FaultData) -> Case:
    """The stage fails, all is healed, and it fails again: what was wrong outlasts its cause, as a lease does.

    For stages after the address.
    """
    failed = (stage, "failed", why)
    rows = (*before(stage), failed, *before(stage, start="names"), failed)
    return Case(faults=faults, rows=rows, heals=FAILED, ends=FAILED)


def degrades(stage: str, why: str, *faults: FaultData, **more: Any) -> Case:
    """The stage passes by a fallback, and the charger comes online with what is wrong."""
    return passes(*faults, instead={stage: why}, **more)


def passes(*faults: FaultData, instead: Mapping[str, str] | None = None, **more: Any) -> Case:
    """The charger comes online with what is wrong; stages in `instead` are degraded, for this reason."""
    found = instead or {}
    rows = tuple((stage, "degraded", found[stage]) if stage in found else row for row in PASSES for stage in row[:1])
    return Case(faults=faults, rows=rows, **more)


def kinds(table: Table) -> set[str]:
    """The kinds of fault that a table has."""
    return {fault["kind"] for case in table.values() for fault in case.faults}


def told_in_both(table: Table) -> dict[str, dict[str, Told]]:
    """World to case to what was seen of it."""
    return {world: told_in(world, table) for world in WORLDS}


def told_in(world: str, table: Table) -> dict[str, Told]:
    """Case to what was seen of it in this world. A table is told once; whoever asks again gets the same."""
    key = (world, tuple(table))
    if key not in _TOLD:
        _TOLD[key] = told = _told_in(world, table)
        for _ in range(AGAIN_MAX[world]):
            sim = told_in("sim", table)
            disturbed = {name: case for name, case in table.items() if not _agrees(sim[name], told[name], case)}
            if disturbed:
                told |= _told_in(world, disturbed)
    return _TOLD[key]


_TOLD: dict[tuple[str, tuple[str, ...]], dict[str, Told]] = {}


def agree(told: Mapping[str, Mapping[str, Told]], name: str, case: Case) -> None:
    """Both worlds have told what the table says, and the same."""
    sim, loopback = (told[world][name] for world in WORLDS)
    expected = in_words(case.rows)
    assert in_words(sim.rows) == expected, f"in virtual time: {in_words(sim.rows)}\nexpected: {expected}"
    assert in_words(loopback.rows) == expected, f"on real sockets: {in_words(loopback.rows)}\nexpected: {expected}"
    assert sim.tried == loopback.tried, f"in virtual time: {sim.tried}\non real sockets: {loopback.tried}"


def _agrees(sim: Told, other: Told, case: Case) -> bool:
    return in_words(other.rows) == in_words(case.rows) and sim.tried == other.tried


def in_words(rows: Iterable[Row]) -> str:
    """As people read it."""
    return ", ".join(" ".join(filter(None, row)) for row in rows)


def _told_in(world: str, table: Table) -> dict[str, Told]:
    turns = asyncio.Semaphore(AT_ONCE[world])
    tellers = {
        name: _Teller(case, f"ZPR{number:06}", turns) for number, (name, case) in enumerate(table.items(), start=1)
    }
    groups = list(_groups(tellers.values()))

    async def tell() -> None:
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                tasks.create_task(_live(world, group))

    with asyncio.Runner(loop_factory=load_world(world, WorldOptions()).loop_factory) as runner:
        runner.run(tell())
    return {name: teller.told for name, teller in tellers.items()}


def _groups(tellers: "Iterable[_Teller]") -> "Iterator[list[_Teller]]":
    """Those that share a world."""
    together = []
    for teller in tellers:
        if teller.case.alone:
            yield [teller]
        else:
            together.append(teller)
    yield together


async def _live(name: str, tellers: "list[_Teller]") -> None:
    """One world, and the lives of its chargers."""
    listeners = {teller.serial: teller for teller in tellers}

    def hear(event: TraceEvent) -> None:
        if event.who in listeners:
            listeners[event.who].hear(event)

    changes = {key: value for teller in tellers for key, value in teller.case.setup.items()}
    setup = Setup().with_changes(changes, where="case")
    lab = load_world(name, WorldOptions(sinks=(hear,), setup=setup))
    try:
        await lab.start()
        async with asyncio.TaskGroup() as tasks:
            for teller in tellers:
                tasks.create_task(teller.live(lab))
    finally:
        await lab.close()


class _Teller:
    """Runs the charger of one case, breaks and heals on time, and writes down what happens."""

    def __init__(self, case: Case, serial: str, turns: asyncio.Semaphore) -> None:
        self.case = case
        self.serial = serial
        self.told = Told()
        self._turns = turns
        waits = [(case.heals, self._wait)] * (case.times - 1)
        steps = [(case.strikes, self._strike), *waits, (case.heals, self._heal), (case.ends, self._end)]
        self._steps = [(name, act) for name, act in steps if name is not None]
        self._ended = asyncio.Event()
        self._undo: list[Undo] = []

    async def live(self, lab: World) -> None:
        """From power-on to the end of the case, when it is its turn."""
        async with self._turns:
            await self._run(lab)

    async def _run(self, lab: World) -> None:
        case = self.case
        made = lab.produce(self.serial, {**QUICK, **case.changes}, local=case.local, place=case.place)
        self._lab, self._charger = lab, Charger(*made)
        if case.strikes is None:
            self._strike()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self._charger.run())
            try:
                async with asyncio.timeout(WITHIN_S):
                    await self._ended.wait()
            except TimeoutError:
                self.told.rows.append(("case", "hangs", f"no {self._steps[0][0]}"))
            running.cancel()

    def hear(self, event: TraceEvent) -> None:
        """Write down what the charger does, and take the next step when it is time: between its steps, not after."""
        if self._ended.is_set():
            return
        self.told.note(event)
        if fnmatchcase(event.name, self._steps[0][0]):
            _, act = self._steps.pop(0)
            act()

    def _wait(self) -> None:
        """It has to come again."""

    def _strike(self) -> None:
        for fault in self.case.faults:
            whom = {} if self.case.alone or "who" in fault else {"who": self.serial}
            if fault["kind"].startswith("device."):
                self._undo.append(self._charger.inject(fault))
            else:
                self._undo.append(self._lab.inject({**whom, **fault}, where="case"))

    def _heal(self) -> None:
        for undo in self._undo:
            undo()

    def _end(self) -> None:
        self._ended.set()
