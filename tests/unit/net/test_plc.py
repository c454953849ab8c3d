"""Chargers on the mains: who can join a gateway, what a line is shared by, and when it is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import NetReason
from emulator.faults import Undo
from emulator.local import FACTORY, Mode
from emulator.net.bearer import Attached
from emulator.net.params import LinkParams
from emulator.net.plc import SEARCH_S
from emulator.net.plc_gateway import NODES_MAX
from emulator.net.plc_line import CABLE_MAX_M, RATE_BPS, Pair
from emulator.net.plc_site import PlcGateway
from tests.unit.net.mains import DAY_S, KEY, LOCAL, OTHER_KEY, Site, gateway, joined, refused

# Joining


def test_one_gateway_is_stable_for_a_day() -> None:
    site = Site(gateway())
    modem = site.modem()
    assert joined(modem, site) == "gateway-1"
    assert modem.next_change(site.now) is None
    site.now = DAY_S
    assert modem.params(site.now).up


@pytest.mark.parametrize(
    ("grid", "phases", "reason"),
    [
        ("tn", None, None),
        ("tn", "L1+N", None),
        ("tn", "L2+N", NetReason.PLC_WIRING),
        ("tn", "L1+L3", NetReason.PLC_WIRING),
        ("it", None, None),
        ("it", "L1+L3", None),
        ("it", "L1+L2", NetReason.PLC_WIRING),
        ("it", "L1+N", NetReason.PLC_WIRING),
    ],
)
def test_charger_and_gateway_must_be_on_the_conductors_that_the_grid_asks_for(
    grid: str, phases: str | None, reason: NetReason | None
) -> None:
    site = Site(gateway(), grid=grid)
    modem = site.modem(phases=phases)
    if reason is None:
        joined(modem, site)
    else:
        failed = refused(modem, site)
        assert (failed.reason, failed.after_s) == (reason, SEARCH_S)
        assert phases is not None and phases in failed.cause
        assert phases not in failed.detail  # the modem just hears nothing


def test_a_gateway_whose_phases_are_rotated_hears_the_chargers_that_are_rotated_alike() -> None:
    site = Site(gateway(phases="L2+N"))
    joined(site.modem(phases="L2+N"), site)
    assert refused(site.modem("ZPR000002"), site).reason is NetReason.PLC_WIRING


def test_another_network_key_is_refused_and_never_shown() -> None:
    site = Site(gateway())
    failed = refused(site.modem(), site, FACTORY.with_changes({"plc_key": OTHER_KEY}))
    assert failed.reason is NetReason.PLC_KEY
    assert not any(key in f"{failed}{site.lines}{gateway()!r}{LOCAL!r}" for key in (KEY, OTHER_KEY))


def test_a_gateway_made_before_november_2019_takes_any_key() -> None:
    site = Site(gateway(encrypted=False))
    site.inject("plc.key_changed")
    joined(site.modem(), site, FACTORY.with_changes({"plc_key": OTHER_KEY}))


@pytest.mark.parametrize(
    ("place", "joins"),
    [
        ({"cable_m": CABLE_MAX_M}, True),
        ({"cable_m": CABLE_MAX_M, "noise_db": 9.0}, True),
        ({"cable_m": CABLE_MAX_M, "noise_db": 11.0}, False),
        ({"cable_m": CABLE_MAX_M + 20}, False),
        ({"cable_m": 0.0, "noise_db": 24.0}, True),
        ({"cable_m": 0.0, "noise_db": 26.0}, False),
    ],
)
def test_noise_and_cable_eat_the_same_margin(place: dict[str, Any], joins: bool) -> None:
    site = Site(gateway())
    if joins:
        joined(site.modem(**place), site)
    else:
        assert refused(site.modem(**place), site).reason is NetReason.PLC_NOISE


def test_a_gateway_takes_thirty_nodes_and_one_more_when_one_has_left() -> None:
    site = Site(gateway(other_nodes=NODES_MAX - 2))
    first, second, third = (site.modem(f"ZPR00000{n}") for n in range(3))
    joined(first, site)
    joined(second, site)
    assert refused(third, site).reason is NetReason.PLC_FULL
    first.detach(site.now)
    joined(third, site)
    joined(second, site)  # a node that is on it does not need a place


def test_without_gateways_nobody_is_heard() -> None:
    assert refused(Site().modem(), Site()).reason is NetReason.PLC_NO_GATEWAY


def test_of_several_gateways_the_hurdle_that_is_told_is_the_last_one_on_the_way() -> None:
    site = Site(gateway("far", phases="L3+N"), gateway("near", key=OTHER_KEY))
    failed = refused(site.modem(), site)
    assert failed.reason is NetReason.PLC_KEY and "near" in failed.detail


# The line


def test_the_nodes_of_a_gateway_share_its_rate() -> None:
    site = Site(gateway())
    modems = [site.modem(f"ZPR00000{n}", cable_m=0.0) for n in range(4)]
    joined(modems[0], site)
    assert modems[0].params(0.0).rate_bps == RATE_BPS
    for modem in modems[1:]:
        joined(modem, site)
    assert {modem.params(0.0).rate_bps for modem in modems} == {RATE_BPS / 4}


def test_a_weak_uplink_of_the_gateway_is_felt_by_all_its_nodes() -> None:
    site = Site(gateway())
    site.radios["gateway-1"].line = LinkParams(delay_s=0.2, loss=0.3, rate_bps=200e3)
    modems = [site.modem(f"ZPR00000{n}") for n in range(2)]
    for modem in modems:
        joined(modem, site)
    for modem in modems:
        params = modem.params(0.0)
        assert params.rate_bps == 100e3
        assert params.delay_s > 0.2 and params.loss > 0.3


# Losing it


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "plc.noise"}, NetReason.PLC_NOISE),
        ({"kind": "plc.key_changed"}, NetReason.PLC_KEY),
        ({"kind": "plc.phases"}, NetReason.PLC_WIRING),
        ({"kind": "plc.gateway_down"}, NetReason.PLC_NO_GATEWAY),
        ({"kind": "plc.gateway_down", "gateway": "gateway-1"}, NetReason.PLC_NO_GATEWAY),
    ],
)
def test_a_fault_takes_the_carrier_away_and_gives_it_back(fault: dict[str, Any], reason: NetReason) -> None:
    site = Site(gateway())
    modem = site.modem()
    joined(modem, site)
    heal = site.inject(**fault)
    assert not modem.params(0.0).up and modem.carrier(0.0) is None
    assert refused(modem, site).reason is reason
    heal()
    joined(modem, site)


def test_a_full_gateway_keeps_its_nodes_and_takes_no_other() -> None:
    site = Site(gateway())
    old, new = site.modem(), site.modem("ZPR000002")
    joined(old, site)
    site.inject("plc.full")
    assert old.params(0.0).up
    assert refused(new, site).reason is NetReason.PLC_FULL


def test_a_fault_that_names_a_charger_strikes_that_one() -> None:
    site = Site(gateway())
    site.inject("plc.noise", who="ZPR000002")
    joined(site.modem(), site)
    assert refused(site.modem("ZPR000002"), site).reason is NetReason.PLC_NOISE


def test_another_gateway_without_power_does_not_matter() -> None:
    site = Site(gateway(), gateway("gateway-2", key=OTHER_KEY))
    modem = site.modem()
    joined(modem, site)
    site.inject("plc.gateway_down", gateway="gateway-2")
    assert modem.params(0.0).up


# Anything


GATEWAYS = st.lists(
    st.builds(
        gateway,
        st.sampled_from(["a", "b", "c"]),
        key=st.sampled_from([KEY, OTHER_KEY]),
        encrypted=st.booleans(),
        phases=st.sampled_from([None, *(pair.value for pair in Pair)]),
        uplink=st.sampled_from([mode.value for mode in Mode]),
        other_nodes=st.integers(0, 31),
    ),
    max_size=3,
    unique_by=lambda each: each.name,
)
FAULT = st.one_of(
    st.sampled_from(["plc.key_changed", "plc.second_gateway", "plc.full", "plc.gateway_down"]).map(
        lambda kind: {"kind": kind}
    ),
    st.floats(0, 100).map(lambda db: {"kind": "plc.noise", "db": db}),
    st.sampled_from(list(Pair)).map(lambda pair: {"kind": "plc.phases", "phases": pair.value}),
)
ACT = st.one_of(
    st.sampled_from(["attach", "detach", "cycle", "heal", "change"]).map(lambda name: (name, None)),
    st.tuples(st.just("wait"), st.floats(0, 1000)),
    st.tuples(st.just("inject"), st.tuples(FAULT, st.none() | st.floats(1, 500))),
)


@given(GATEWAYS, st.sampled_from(["tn", "it"]), st.floats(0, 120), st.lists(ACT, max_size=25))
def test_whatever_happens_a_line_is_up_or_down_and_changes_lie_ahead(
    gateways: list[PlcGateway], grid: str, cable: float, acts: list[tuple[str, Any]]
) -> None:
    site = Site(*gateways, grid=grid)
    modem, healing = site.modem(cable_m=cable), list[Undo]()
    for act, what in acts:
        match act:
            case "attach":
                result = modem.attach(LOCAL, site.now)
                assert isinstance(result, Attached) == modem.params(site.now).up
            case "detach" | "cycle":
                modem.detach(site.now, power_cycle=act == "cycle")
                assert not modem.params(site.now).up
            case "wait":
                site.now += what
            case "change":
                site.now = modem.next_change(site.now) or site.now
            case "inject":
                fault, for_s = what
                healing.append(site.inject(**fault, for_s=for_s))
            case _:
                while healing:
                    healing.pop()()
        change, params = modem.next_change(site.now), modem.params(site.now)
        assert change is None or change > site.now
        assert params.up == (modem.carrier(site.now) is not None)
        assert 0 <= params.loss < 1 and (params.rate_bps is None or params.rate_bps >= 2400)
