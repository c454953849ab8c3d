"""The gateways of a site: several of them, and the link that each of them has itself."""

from itertools import pairwise
from math import inf
from typing import Any

import pytest

from emulator.errors import NetReason, UsageError
from emulator.local import Mode
from emulator.net.bearer import Cable
from emulator.net.plc import SWAP_LEAST_S, SWAP_MEAN_S, PlcModem
from emulator.net.plc_gateway import ChargerUplink, LentBearer
from emulator.net.plc_site import SECOND, PlcSite
from tests.unit.net.mains import DAY_S, LOCAL, NODE, OTHER_KEY, Site, gateway, joined, refused


def swaps(site: Site, modem: PlcModem, until: float) -> list[tuple[float, str]]:
    """When it was on which gateway; it rejoins at once when it has lost one."""
    seen = [(site.now, joined(modem, site))]
    while (change := modem.next_change(site.now)) is not None and change < until:
        assert change > site.now
        site.now = change
        if not modem.params(site.now).up:
            seen.append((site.now, joined(modem, site)))
    return seen


def test_two_gateways_make_a_charger_swap_between_their_networks_again_and_again() -> None:
    site = Site(gateway("east"), gateway("west"))
    seen = swaps(site, site.modem(), DAY_S)
    names = [name for _, name in seen]
    assert all(one != other for one, other in pairwise(names))
    stays = [late - early for (early, _), (late, _) in pairwise(seen)]
    assert min(stays) >= SWAP_LEAST_S
    assert sum(stays) / len(stays) == pytest.approx(SWAP_MEAN_S, rel=0.2)


def test_the_swaps_of_two_chargers_are_their_own_and_repeat_with_the_seed() -> None:
    runs = [swaps(site := Site(gateway("east"), gateway("west")), site.modem(seed=seed), DAY_S) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("other", [{"key": OTHER_KEY}, {"phases": "L2+N"}, {"uplink": "lte"}])
def test_a_second_gateway_that_it_cannot_join_leaves_it_alone(other: dict[str, Any]) -> None:
    site = Site(gateway(), gateway("gateway-2", **other))
    assert len(swaps(site, site.modem(), DAY_S)) == 1


def test_a_second_gateway_that_comes_later_begins_the_swaps_and_ends_them_when_it_goes() -> None:
    site = Site(gateway())
    modem = site.modem()
    joined(modem, site)
    heal = site.inject("plc.second_gateway")
    site.now = modem.next_change(site.now) or inf
    assert not modem.params(site.now).up
    assert joined(modem, site) == SECOND
    heal()
    assert not modem.params(site.now).up  # the gateway that it is on is one no more
    assert joined(modem, site) == "gateway-1"
    assert modem.next_change(site.now) is None


def test_a_second_gateway_for_a_while_is_seen_to_go() -> None:
    site = Site(gateway())
    modem = site.modem()
    joined(modem, site)
    site.inject("plc.second_gateway", for_s=10.0)
    assert modem.next_change(0.0) == 10.0
    site.now = 10.0
    assert modem.params(10.0).up and modem.next_change(10.0) is None


def test_when_the_other_gateway_has_no_power_the_time_to_swap_passes() -> None:
    site = Site(gateway("east"), gateway("west"))
    modem = site.modem()
    here = joined(modem, site)
    site.inject("plc.gateway_down", gateway="west" if here == "east" else "east")
    site.now = DAY_S
    assert modem.params(site.now).up and modem.next_change(site.now) is None


# The gateway's own link


@pytest.mark.parametrize("uplink", ["lte", "plc"])
def test_a_gateway_does_not_share_lte_and_is_no_node_itself(uplink: str) -> None:
    site = Site(gateway(uplink=uplink))
    failed = refused(site.modem(), site)
    assert failed.reason is NetReason.PLC_NO_GATEWAY
    assert ("LTE-M" if uplink == "lte" else "node of another") in failed.cause


def test_a_gateway_without_wifi_serves_nobody_until_it_is_back() -> None:
    site = Site(gateway())
    modem = site.modem()
    joined(modem, site)
    site.radios["gateway-1"].refused = NetReason.SSID_NOT_FOUND
    assert not modem.params(0.0).up
    failed = refused(modem, site)
    assert failed.reason is NetReason.PLC_NO_GATEWAY and "ssid_not_found" in failed.cause
    site.radios["gateway-1"].refused = None
    joined(modem, site)


def test_a_gateway_that_is_a_charger_here_serves_while_its_own_link_is_up() -> None:
    site = Site(gateway("ZPR000009"))
    uplink = ChargerUplink()
    looked: list[bool] = []
    wifi = LentBearer(Cable(), Mode.WIFI, uplink, lambda: looked.append(True))
    lte = LentBearer(Cable(), Mode.LTE, uplink, lambda: looked.append(True))
    assert site.lines.staff("ZPR000009", uplink) and not site.lines.staff(NODE, uplink)
    modem = site.modem()
    assert "is off" in refused(modem, site).cause
    wifi.attach(LOCAL, 0.0)
    joined(modem, site)
    wifi.detach(0.0)
    assert looked == [True] and not modem.params(0.0).up
    lte.attach(LOCAL, 0.0)
    assert "LTE-M" in refused(modem, site).cause


def test_gateways_need_names_of_their_own() -> None:
    with pytest.raises(UsageError, match="names of their own"):
        PlcSite().with_changes({"gateways": ({"name": "a"}, {"name": "a"})}, where="site")
