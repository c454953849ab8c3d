"""Wi-Fi: what a charger finds, why it stays out, and what a signal is worth."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import NetReason, UsageError
from emulator.faults import FaultSet, Injected, fault_from
from emulator.local import FACTORY
from emulator.net.bearer import Attached, NotAttached
from emulator.net.params import DOWN
from emulator.net.place import Setup
from emulator.net.wifi import (
    ASSOCIATE_S,
    HANDSHAKE_TIMEOUT_S,
    HEARD_DBM,
    REASSOCIATE_S,
    REFUSED_S,
    SCAN_S,
    SCANS,
    WEAKEST_DBM,
    Wifi,
)
from emulator.net.wifi_air import FAULTS, Air
from emulator.net.wifi_site import CHANNELS_OF_CHARGER, AccessPoint, WifiPlace, WifiSite

TABLE = {fault.kind: fault for fault in FAULTS}
WHO = "ZPR000001"


class Site:
    """Access points, and the radio of a charger among them."""

    def __init__(self, *points: AccessPoint, place: WifiPlace | None = None) -> None:
        self.now = 1000.0
        self.faults = FaultSet(Random(1), lambda: self.now)
        self.air = Air(
            WifiSite(access_points=points or (AccessPoint(),)), self.faults, lambda purpose: Random(purpose), self.now
        )
        self.radio = self.another(WHO, place)

    def another(self, who: str, place: WifiPlace | None = None) -> Wifi:
        return Wifi(who, place or WifiPlace(), self.air)

    def attach(self, **local: Any) -> Attached | NotAttached:
        return self.radio.attach(FACTORY.with_changes(local), self.now)

    def inject(self, kind: str, **fields: Any) -> Injected:
        return self.faults.inject(fault_from({"kind": kind, **fields}, TABLE))

    def at(self, now: float) -> "Site":
        self.now = now
        return self

    @property
    def up(self) -> bool:
        return self.radio.params(self.now).up

    @property
    def silent(self) -> bool:
        """Carrier, but nothing passes."""
        return self.radio.params(self.now).loss == 1.0

    @property
    def channel(self) -> str:
        carrier = self.radio.carrier(self.now)
        return "" if carrier is None else carrier.detail.rpartition(" ")[2]


def refused(result: Attached | NotAttached) -> NotAttached:
    assert isinstance(result, NotAttached)
    return result


def test_the_factory_setting_finds_the_usual_site_in_a_second() -> None:
    site = Site()
    result = site.attach()
    assert isinstance(result, Attached)
    assert result.after_s == pytest.approx(SCAN_S + ASSOCIATE_S) == pytest.approx(1.0)
    assert result.carrier.signal_dbm == -55.0
    assert result.carrier.detail == "site, access point ap-1, channel 6"
    assert site.radio.carrier(site.now) == result.carrier
    params = site.radio.params(site.now)
    assert params.loss == 0.0 and params.delay_s < 0.01 and params.up
    assert site.radio.next_change(site.now) is None


@pytest.mark.parametrize(
    ("point", "place", "cause"),
    [
        (AccessPoint(ssid="another"), WifiPlace(), "access point ap-1 is called 'another'"),
        (AccessPoint(channel=12), WifiPlace(), "access point ap-1 is on channel 12"),
        (AccessPoint(channel=13), WifiPlace(), "access point ap-1 is on channel 13"),
        (AccessPoint(channel=36), WifiPlace(), "access point ap-1 is on channel 36, in the 5 GHz band"),
        (AccessPoint(), WifiPlace(signal_dbm=-97.0), "access point ap-1 arrives with -97 dBm"),
    ],
    ids=["wrong name", "channel 12", "channel 13", "5 GHz", "far away"],
)
def test_what_a_charger_cannot_see_all_looks_the_same_to_it_and_the_cause_tells_it_apart(
    point: AccessPoint, place: WifiPlace, cause: str
) -> None:
    result = refused(Site(point, place=place).attach())
    assert result.reason is NetReason.SSID_NOT_FOUND
    assert result.after_s == pytest.approx(SCANS * SCAN_S)
    assert result.detail == "no network 'site' on channels 1 to 11"
    assert result.cause == cause


def test_a_site_without_access_points_has_no_network() -> None:
    site = Site()
    site.air.access_points = ()
    assert refused(site.attach()).cause == "the site has no access point"


@pytest.mark.parametrize("channel", CHANNELS_OF_CHARGER)
def test_every_channel_from_1_to_11_works(channel: int) -> None:
    assert isinstance(Site(AccessPoint(channel=channel)).attach(), Attached)


def test_a_wrong_password_is_told_apart_and_takes_longer() -> None:
    result = refused(Site().attach(password="not-this-one"))
    assert (result.reason, result.after_s) == (NetReason.WIFI_PASSWORD, SCAN_S + HANDSHAKE_TIMEOUT_S)
    assert "not-this-one" not in repr(result) and "site-password" not in repr(result)


def test_no_secret_is_shown() -> None:
    site = Site()
    site.attach()
    shown = repr((AccessPoint(), site.air.state(AccessPoint(), WHO, site.now), Setup(), site.radio.carrier(site.now)))
    assert FACTORY.password not in shown


@pytest.mark.parametrize("dbm", [WEAKEST_DBM - 0.1, HEARD_DBM])
def test_a_network_that_is_heard_but_too_weak_is_told_apart(dbm: float) -> None:
    result = refused(Site(place=WifiPlace(signal_dbm=dbm)).attach())
    assert (result.reason, result.after_s) == (NetReason.WIFI_WEAK, SCANS * SCAN_S)
    assert f"{dbm:g} dBm" in result.detail


def test_noise_counts_as_much_as_distance() -> None:
    assert refused(Site(place=WifiPlace(signal_dbm=-65.0, noise_db=20.0)).attach()).reason is NetReason.WIFI_WEAK
    assert isinstance(Site(place=WifiPlace(signal_dbm=-65.0, noise_db=10.0)).attach(), Attached)


def test_a_full_access_point_refuses_until_somebody_leaves() -> None:
    site = Site(AccessPoint(clients_max=2))
    others = [site.another(name) for name in ("ZPR000002", "ZPR000003")]
    assert all(isinstance(each.attach(FACTORY, site.now), Attached) for each in others)
    result = refused(site.attach())
    assert (result.reason, result.after_s) == (NetReason.WIFI_FULL, SCAN_S + REFUSED_S)
    assert result.cause == "no room: access point ap-1 has 2"
    assert isinstance(others[0].attach(FACTORY, site.now), Attached), "one that is in does not stand in its own way"
    others[0].detach(site.now)
    others[0].detach(site.now)
    assert isinstance(site.attach(), Attached)


def test_the_strongest_access_point_of_the_network_that_has_room_is_taken() -> None:
    near = AccessPoint(name="near", channel=1, clients_max=1)
    points = (near, AccessPoint(name="far", channel=11), AccessPoint(name="other", ssid="another", channel=3))
    place = WifiPlace(levels_dbm={"near": -50.0, "far": -70.0, "other": -40.0})
    site = Site(*points, place=place)
    site.attach()
    assert site.channel == "1"
    late = site.another("ZPR000002", place)
    late.attach(FACTORY, site.now)
    carrier = late.carrier(site.now)
    assert carrier is not None and (carrier.signal_dbm, "far" in carrier.detail) == (-70.0, True)


def test_an_access_point_that_restarts_drops_everybody_until_it_is_back() -> None:
    site = Site(AccessPoint(reboot_s=60.0))
    site.attach()
    site.inject("wifi.ap_reboot")
    assert not site.up and site.channel == ""
    assert refused(site.attach()).cause == "access point ap-1 is restarting"
    assert refused(site.at(1059.9).attach()).reason is NetReason.SSID_NOT_FOUND
    assert isinstance(site.at(1060.0).attach(), Attached)
    assert site.radio.next_change(site.now) is None


def test_one_that_restarts_again_and_again_says_when() -> None:
    site = Site(AccessPoint(reboot_s=60.0))
    site.inject("wifi.ap_reboot", every_s=3600.0)
    site.at(1060.0).attach()
    assert site.radio.next_change(site.now) == 4600.0
    assert site.at(4599.9).up and not site.at(4600.0).up
    assert isinstance(site.at(4660.0).attach(), Attached)


def test_a_nightly_restart_is_a_setting() -> None:
    site = Site(AccessPoint(reboot_s=60.0, reboot_every_s=86_400.0))
    site.attach()
    assert site.radio.next_change(site.now) == 87_400.0
    assert site.at(87_399.0).up and not site.at(87_400.0).up
    assert isinstance(site.at(87_460.0).attach(), Attached)


def test_a_charger_follows_its_access_point_to_another_channel_and_loses_it_on_13() -> None:
    site = Site()
    site.attach()
    undo = site.inject("wifi.channel", channel=11)
    assert site.up and site.silent and site.channel == "11"
    assert site.radio.next_change(site.now) == 1000.0 + REASSOCIATE_S
    site.at(1000.0 + REASSOCIATE_S)
    assert site.up and not site.silent
    site.at(1100.0)
    undo()
    assert site.silent and site.channel == "6"
    site.at(1200.0).inject("wifi.channel", channel=13, for_s=60)
    assert not site.up
    assert refused(site.attach()).cause == "access point ap-1 is on channel 13"
    assert isinstance(site.at(1260.0).attach(), Attached)


def test_a_fault_that_ends_by_itself_is_looked_for_on_time() -> None:
    site = Site()
    site.attach()
    site.inject("wifi.channel", channel=1, for_s=60)
    assert site.silent
    site.at(1002.0)
    assert not site.silent and site.radio.next_change(site.now) == 1060.0
    assert site.at(1060.0).silent and site.channel == "6"


def test_automatic_channel_selection_ends_on_a_channel_that_no_charger_sees() -> None:
    def channels() -> list[str]:
        site = Site(AccessPoint(choose_channel_s=3600.0))
        site.attach()
        seen = [site.channel]
        for _ in range(40):
            when = site.radio.next_change(site.now)
            assert when is None or when > site.now
            site.at(site.now + 3600.0 if when is None else when)
            if not site.up:
                site.attach()
            seen.append(site.channel)
        return seen

    first = channels()
    assert first[0] == "6" and "" in first and len(set(first)) > 5
    assert first == channels()


def test_a_changed_password_throws_everybody_out() -> None:
    site = Site()
    site.attach()
    undo = site.inject("wifi.password_changed")
    assert not site.up
    assert refused(site.attach()).reason is NetReason.WIFI_PASSWORD
    undo()
    assert isinstance(site.attach(), Attached)


def test_a_renamed_network_is_found_by_its_new_name() -> None:
    site = Site()
    site.attach()
    site.inject("wifi.ssid_changed", ssid="new name")
    assert not site.up
    assert refused(site.attach()).reason is NetReason.SSID_NOT_FOUND
    assert isinstance(site.attach(ssid="new name"), Attached)


def test_a_signal_that_fades_makes_the_link_worse_and_then_ends_it() -> None:
    site = Site()
    site.attach()
    good = site.radio.params(site.now)
    undo = site.inject("wifi.signal", dbm=-79.0)
    bad = site.radio.params(site.now)
    carrier = site.radio.carrier(site.now)
    assert carrier is not None and carrier.signal_dbm == -79.0
    assert bad.up and bad.loss > 0.2 and bad.delay_s > good.delay_s
    undo()
    assert site.radio.params(site.now) == good
    site.inject("wifi.noise", db=30.0)
    assert not site.up
    assert refused(site.attach()).reason is NetReason.WIFI_WEAK


def test_no_room_for_new_clients_leaves_those_that_are_in() -> None:
    site = Site()
    site.attach()
    site.inject("wifi.full")
    assert site.up
    assert refused(site.attach()).reason is NetReason.WIFI_FULL


def test_strangers_take_rate_places_and_data() -> None:
    site = Site(AccessPoint(clients_max=6, data_budget_mb=500.0, throttled_bps=64_000.0))
    site.attach()
    good = site.radio.params(site.now)
    undo = site.inject("wifi.strangers", clients=5, rate_share=0.8, mb_per_h=1000.0)
    shared = site.radio.params(site.now)
    assert good.rate_bps is not None and shared.rate_bps == pytest.approx(good.rate_bps * 0.2)
    assert shared.jitter_s > good.jitter_s and shared.loss > good.loss
    late = site.another("ZPR000002")
    assert refused(late.attach(FACTORY, site.now)).cause == "no room: access point ap-1 has 6"
    assert site.radio.next_change(site.now) == 1000.0 + 1800.0
    site.at(2800.0)
    assert site.radio.params(site.now).rate_bps == 64_000.0
    assert site.air.strangers_mb(site.now) == pytest.approx(500.0)
    undo()
    assert site.radio.params(site.now) == good and site.air.strangers_mb(site.now) == 0.0


def test_a_fault_may_be_about_one_access_point() -> None:
    points = (AccessPoint(name="one", channel=1), AccessPoint(name="two", channel=6))
    site = Site(*points, place=WifiPlace(levels_dbm={"one": -40.0}))
    site.attach()
    site.inject("wifi.channel", access_point="two")
    assert site.up and not site.silent
    site.inject("wifi.ap_reboot", access_point="one")
    assert not site.up
    assert refused(site.attach()).cause == "access point one is restarting; access point two is on channel 13"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "wifi.channel", "channel": 14},
        {"kind": "wifi.channel", "channel": "6"},
        {"kind": "wifi.ap_reboot", "every_s": 0},
        {"kind": "wifi.signal", "dbm": float("nan")},
        {"kind": "wifi.strangers", "rate_share": 1.1},
        {"kind": "wifi.ssid_changed", "ssid": ""},
        {"kind": "wifi.password_changed", "password": "new-password"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from(fault, TABLE)


POINTS = st.builds(
    AccessPoint,
    ssid=st.sampled_from(["site", "another"]),
    password=st.sampled_from(["site-password", "another-password"]),
    channel=st.sampled_from([1, 6, 11, 13, 44]),
    choose_channel_s=st.none() | st.floats(1, 1e5),
    reboot_s=st.floats(1, 100),
    reboot_every_s=st.none() | st.floats(101, 1e5),
    clients_max=st.none() | st.integers(1, 2),
    data_budget_mb=st.none() | st.floats(0.1, 100),
)
STRIKES = st.fixed_dictionaries(
    {"kind": st.sampled_from([kind for kind in TABLE if kind != "wifi.ap_reboot"])},
    optional={"for_s": st.floats(0.1, 1e4), "who": st.sampled_from(["*", WHO, "ZPR000002"])},
) | st.fixed_dictionaries(
    {"kind": st.just("wifi.ap_reboot"), "every_s": st.none() | st.floats(1, 1e4)},
    optional={"access_point": st.sampled_from(["*", "ap-1"])},
)


@given(
    point=POINTS,
    dbm=st.floats(-100, -30),
    steps=st.lists(st.tuples(st.floats(0, 1e4), st.none() | STRIKES, st.booleans()), max_size=25),
)
def test_whatever_strikes_attaching_ends_and_the_next_change_is_ahead(
    point: AccessPoint, dbm: float, steps: list[tuple[float, dict[str, Any] | None, bool]]
) -> None:
    site = Site(point, place=WifiPlace(signal_dbm=dbm))
    undos: list[Injected] = []
    for pause_s, fault, heal in steps:
        site.now += pause_s
        if fault is not None:
            undos.append(site.faults.inject(fault_from(fault, TABLE)))
        if heal and undos:
            undos.pop(0)()
        if not site.up:
            result = site.attach()
            assert 0 < result.after_s <= SCAN_S + HANDSHAKE_TIMEOUT_S
            assert isinstance(result, Attached) is site.up
        for _ in range(5):
            when = site.radio.next_change(site.now)
            assert when is None or when > site.now
            params = site.radio.params(site.now)
            assert 0 <= params.loss <= 1 and params.delay_s >= 0
            assert params.rate_bps is None or params.rate_bps >= 2400
            assert (site.radio.carrier(site.now) is None) is not params.up
            if when is None:
                break
            site.now = when
    site.radio.detach(site.now)
    assert site.radio.params(site.now) == DOWN
