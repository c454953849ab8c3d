"""LTE-M: SIM, cell and modem, and which cure each trouble needs."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import NetReason, UsageError
from emulator.faults import FaultSet, Injected, fault_from
from emulator.local import FACTORY
from emulator.net.bearer import Attached, NotAttached
from emulator.net.lte import (
    AT_TIMEOUT_S,
    PERIOD_S,
    RATE_BPS,
    SEARCH_S,
    SIM_READ_S,
    START_S,
    WEAKEST_DBM,
    Lte,
    lte_params,
)
from emulator.net.lte_cell import FAULTS, LtePlace, LteSite, Sim
from emulator.net.params import DOWN

TABLE = {fault.kind: fault for fault in FAULTS}
WHO = "ZPR000001"
ATTACH_S = LteSite().attach_s


class Bench:
    """A modem at its place."""

    def __init__(self, place: LtePlace | None = None, site: LteSite | None = None) -> None:
        self.now = 1000.0
        self.used = 0
        self.faults = FaultSet(Random(1), lambda: self.now)
        self.modem = Lte(WHO, place or LtePlace(), site or LteSite(), self.faults, lambda: self.used, self.now)

    def attach(self, **local: Any) -> Attached | NotAttached:
        return self.modem.attach(FACTORY.with_changes(local), self.now)

    def inject(self, kind: str, **fields: Any) -> Injected:
        return self.faults.inject(fault_from({"kind": kind, **fields}, TABLE))

    @property
    def up(self) -> bool:
        return self.modem.params(self.now).up

    @property
    def passes(self) -> bool:
        return self.up and self.modem.params(self.now).loss < 1


def reason(result: Attached | NotAttached) -> tuple[NetReason, float]:
    assert isinstance(result, NotAttached)
    assert result.detail and result.cause
    return result.reason, result.after_s


def test_an_active_sim_with_coverage_attaches_by_itself() -> None:
    bench = Bench()
    result = bench.attach()
    assert isinstance(result, Attached)
    assert result.after_s == START_S + ATTACH_S
    assert (result.carrier.signal_dbm, result.carrier.detail) == (-95.0, "LTE-M, Telenor")
    params = bench.modem.params(bench.now)
    assert params.rate_bps == RATE_BPS and 0.05 <= params.delay_s <= 0.1
    assert bench.modem.next_change(bench.now) is None


def test_the_modem_starts_once_and_is_quicker_the_next_time() -> None:
    bench = Bench()
    bench.attach()
    bench.modem.detach(bench.now)
    assert not bench.up
    assert bench.attach().after_s == ATTACH_S
    bench.modem.detach(bench.now, power_cycle=True)
    assert bench.attach().after_s == START_S + ATTACH_S


@pytest.mark.parametrize(
    ("place", "site", "local", "why", "after_s"),
    [
        (LtePlace(sim=Sim.ABSENT), LteSite(), {}, NetReason.SIM_ABSENT, SIM_READ_S),
        (LtePlace(sim=Sim.INACTIVE), LteSite(), {}, NetReason.SIM_INACTIVE, ATTACH_S),
        (LtePlace(), LteSite(roaming=True), {"roaming": False}, NetReason.ROAMING_DENIED, ATTACH_S),
        (LtePlace(coverage_dbm=-121.0), LteSite(), {}, NetReason.NO_COVERAGE, SEARCH_S),
        (LtePlace(garage_door_db=30.0), LteSite(), {}, NetReason.NO_COVERAGE, SEARCH_S),
    ],
    ids=["no SIM", "SIM not active", "roaming not allowed", "no coverage", "behind concrete"],
)
def test_each_obstacle_has_its_reason_and_its_time(
    place: LtePlace, site: LteSite, local: dict[str, Any], why: NetReason, after_s: float
) -> None:
    bench = Bench(place, site)
    assert reason(bench.attach(**local)) == (why, START_S + after_s)
    assert not bench.up


def test_roaming_is_shown_where_it_is_allowed() -> None:
    result = Bench(site=LteSite(operator="Orange", roaming=True)).attach()
    assert isinstance(result, Attached) and result.carrier.detail == "LTE-M, Orange, roaming"


def test_without_coverage_a_sim_that_is_not_active_is_not_found_out() -> None:
    bench = Bench(LtePlace(sim=Sim.INACTIVE, coverage_dbm=-130.0))
    assert reason(bench.attach())[0] is NetReason.NO_COVERAGE


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "lte.sim"}, NetReason.SIM_INACTIVE),
        ({"kind": "lte.sim", "state": "absent"}, NetReason.SIM_ABSENT),
        ({"kind": "lte.roaming"}, NetReason.ROAMING_DENIED),
        ({"kind": "lte.coverage"}, NetReason.NO_COVERAGE),
        ({"kind": "lte.garage_door"}, NetReason.NO_COVERAGE),
    ],
)
def test_what_strikes_while_it_is_attached_ends_it_and_is_the_reason_next_time(
    fault: dict[str, Any], why: NetReason
) -> None:
    bench = Bench()
    bench.attach(roaming=False)
    undo = bench.inject(**fault)
    assert not bench.up and bench.modem.carrier(bench.now) is None
    assert reason(bench.attach(roaming=False))[0] is why
    undo()
    assert isinstance(bench.attach(roaming=False), Attached)


def test_a_garage_door_is_a_step_that_good_coverage_survives() -> None:
    bench = Bench(LtePlace(coverage_dbm=-80.0))
    bench.attach()
    open_ = bench.modem.params(bench.now)
    undo = bench.inject("lte.garage_door", db=25.0)
    closed, carrier = bench.modem.params(bench.now), bench.modem.carrier(bench.now)
    assert carrier is not None and carrier.signal_dbm == -105.0
    assert closed.up and (closed.rate_bps or 0) < (open_.rate_bps or 0) and closed.delay_s > open_.delay_s
    bench.inject("lte.garage_door", db=15.0, for_s=60)
    assert bench.modem.params(bench.now).up, "-120 dBm is the last that works"
    assert bench.modem.next_change(bench.now) == 1060.0
    undo()
    assert bench.up


def test_a_modem_that_hangs_passes_nothing_and_needs_a_power_cycle() -> None:
    bench = Bench()
    bench.attach()
    bench.inject("lte.modem_hung")
    assert bench.up and not bench.passes, "the carrier looks as if it were there"
    for _ in range(3):
        bench.modem.detach(bench.now)
        assert reason(bench.attach()) == (NetReason.MODEM_SILENT, AT_TIMEOUT_S)
    bench.modem.detach(bench.now, power_cycle=True)
    assert isinstance(bench.attach(), Attached)
    assert bench.passes, "the fault is still there, but this modem has been restarted since"
    bench.inject("lte.modem_hung")
    assert not bench.passes, "it hangs again"


def test_a_modem_may_hang_from_the_start() -> None:
    bench = Bench()
    undo = bench.inject("lte.modem_hung")
    assert reason(bench.attach())[0] is NetReason.MODEM_SILENT
    undo()
    assert isinstance(bench.attach(), Attached)


def test_a_ppp_that_is_stuck_needs_the_link_to_be_taken_down() -> None:
    bench = Bench()
    bench.attach()
    bench.inject("lte.ppp_stuck")
    assert bench.up and not bench.passes
    bench.modem.detach(bench.now)
    bench.attach()
    assert bench.passes
    bench.inject("lte.ppp_stuck")
    assert not bench.passes


def test_the_network_may_end_an_attachment_again_and_again() -> None:
    bench = Bench()
    bench.attach()
    bench.inject("lte.detach", every_s=600.0)
    assert not bench.up
    assert isinstance(bench.attach(), Attached) and bench.up
    assert bench.modem.next_change(bench.now) == 1600.0
    bench.now = 1600.0
    assert not bench.up
    bench.attach()
    assert bench.up and bench.modem.next_change(bench.now) == 2200.0


def test_once_is_once() -> None:
    bench = Bench()
    bench.inject("lte.detach")
    bench.attach()
    assert bench.up, "it was not attached when that happened"
    bench.inject("lte.detach")
    assert not bench.up
    bench.attach()
    assert bench.up and bench.modem.next_change(bench.now) is None


def test_a_data_budget_that_is_used_up_leaves_a_trickle_until_the_next_period() -> None:
    bench = Bench(LtePlace(data_budget_mb=90.0, throttled_bps=32_000.0))
    bench.attach()
    bench.used = 90_000_000
    assert bench.modem.params(bench.now).rate_bps == RATE_BPS
    bench.used += 1
    assert bench.modem.params(bench.now).rate_bps == 32_000.0
    bench.now += PERIOD_S
    assert bench.modem.params(bench.now).rate_bps == RATE_BPS
    bench.used += 90_000_001
    assert bench.modem.params(bench.now).rate_bps == 32_000.0


@given(st.floats(WEAKEST_DBM, -44.0), st.floats(WEAKEST_DBM, -44.0))
def test_a_stronger_signal_is_never_worse(one: float, other: float) -> None:
    weak, strong = (lte_params(dbm) for dbm in sorted((one, other)))
    assert weak.loss >= strong.loss and weak.delay_s >= strong.delay_s and weak.jitter_s >= strong.jitter_s
    assert 0 < (weak.rate_bps or 0) <= (strong.rate_bps or 0) <= RATE_BPS


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "lte.sim", "state": "stolen"},
        {"kind": "lte.coverage", "dbm": 10},
        {"kind": "lte.garage_door", "db": -1},
        {"kind": "lte.detach", "every_s": 0},
        {"kind": "lte.roaming", "operator": ""},
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from(fault, TABLE)


STRIKES = st.fixed_dictionaries(
    {"kind": st.sampled_from([kind for kind in TABLE if kind != "lte.detach"])},
    optional={"for_s": st.floats(0.1, 1e4), "who": st.sampled_from(["*", WHO, "ZPR000002"])},
) | st.fixed_dictionaries({"kind": st.just("lte.detach"), "every_s": st.none() | st.floats(1, 1e4)})


@given(
    place=st.builds(
        LtePlace,
        sim=st.sampled_from(Sim),
        coverage_dbm=st.floats(-140, -44),
        garage_door_db=st.floats(0, 40),
        data_budget_mb=st.none() | st.floats(0.001, 1),
    ),
    roaming=st.booleans(),
    steps=st.lists(
        st.tuples(st.floats(0, 1e6), st.none() | STRIKES, st.sampled_from(["", "heal", "restart", "power cycle"])),
        max_size=25,
    ),
)
def test_whatever_strikes_attaching_ends_and_the_next_change_is_ahead(
    place: LtePlace, roaming: bool, steps: list[tuple[float, dict[str, Any] | None, str]]
) -> None:
    bench = Bench(place, LteSite(roaming=roaming))
    undos: list[Injected] = []
    for pause_s, fault, act in steps:
        bench.now += pause_s
        bench.used += 100_000
        if fault is not None:
            undos.append(bench.faults.inject(fault_from(fault, TABLE)))
        if act == "heal" and undos:
            undos.pop(0)()
        elif act:
            bench.modem.detach(bench.now, power_cycle=act == "power cycle")
        if not bench.up:
            result = bench.attach(roaming=False)
            assert 0 < result.after_s <= START_S + SEARCH_S
            assert isinstance(result, Attached) is bench.up
        for _ in range(5):
            when = bench.modem.next_change(bench.now)
            assert when is None or when > bench.now
            params = bench.modem.params(bench.now)
            assert 0 <= params.loss <= 1 and params.delay_s >= 0
            assert (bench.modem.carrier(bench.now) is None) is not params.up
            if when is None:
                break
            bench.now = when
    bench.modem.detach(bench.now, power_cycle=True)
    assert bench.modem.params(bench.now) == DOWN
