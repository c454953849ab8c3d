"""Which link comes up: the one that is set, or the first fallback that works, and what is said of those that do not."""

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.boot.link import link
from emulator.boot.login import Login
from emulator.boot.outcome import WHY_OF_NET, Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.clock import Rtc, SimLoop
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.flash import MemoryFlash
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Carrier
from emulator.net.around import HostAround
from emulator.net.sim import SimNet
from emulator.profile import load_profile
from emulator.slots import Slots
from emulator.trace import Trace

SERIAL = "ZPR000001"
SECRETS = {"password": "secret-password", "plc_key": "secret-plc-key"}

LINK_REASONS = [
    NetReason.NO_CARRIER,
    NetReason.SSID_NOT_FOUND,
    NetReason.WIFI_PASSWORD,
    NetReason.SIM_INACTIVE,
    NetReason.MODEM_SILENT,
    NetReason.PLC_KEY,
]


class Links(HostAround):
    """A host of `SimNet` whose links come up or fail as given."""

    def __init__(self, links: Mapping[Mode, Carrier | NetError]) -> None:
        super().__init__(SimNet(Random(1)).host(SERIAL))
        self._links = links
        self._found: Carrier | None = None
        self.tried: list[Mode] = []

    @property
    def carrier(self) -> Carrier | None:
        return self._found

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        self.tried.append(mode)
        self._found = None
        await asyncio.sleep(1)
        found = self._links.get(mode, NetError(NetReason.NO_CARRIER, "none here"))
        if isinstance(found, NetError):
            raise found
        self._found = found


def run(local: Mapping[str, Any], links: Mapping[Mode, Carrier | NetError]) -> tuple[Outcome, Boot, Links]:
    """One attempt at the stage."""

    async def attempt() -> tuple[Outcome, Boot, Links]:
        profile, now = load_profile(), asyncio.get_running_loop().time
        settings = FACTORY.with_changes({**SECRETS, **local})
        spec = Spec(SERIAL, b"k" * 32, profile, "", "", settings, vendor_root_pem="", bundle_key_pem="")
        host, flash = Links(links), MemoryFlash()
        rtc = Rtc(now, built_at=profile.firmware.built_at)
        env = Env(host, rtc, flash, Trace(SERIAL, (), now), "1")
        boot = Boot(spec, env, Slots(flash, profile.firmware), Login.of(spec))
        return await link(boot), boot, host

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(attempt())


WIFI = Carrier(Mode.WIFI, -60.0, "site, channel 6")
WEAK = Carrier(Mode.WIFI, -76.0, "site, channel 6")
LTE = Carrier(Mode.LTE, -110.0, "LTE-M, Telenor")
NO_SSID = NetError(NetReason.SSID_NOT_FOUND, "no network 'site'")
NO_SIM = NetError(NetReason.SIM_INACTIVE, "registration denied")


def test_the_link_that_is_set_is_the_only_one_tried_when_it_works() -> None:
    outcome, boot, host = run({"fallback": ["lte"]}, {Mode.WIFI: WIFI, Mode.LTE: LTE})
    assert outcome == Passed("wifi, site, channel 6, -60 dBm")
    assert host.tried == [Mode.WIFI]
    assert boot.notes == {"mode": "wifi", "signal_dbm": -60.0, "carrier": "site, channel 6", "tried": []}
    assert (boot.linked_by, boot.mode) == (Mode.WIFI, Mode.WIFI)


def test_a_fallback_that_works_degrades_the_stage_and_names_what_failed() -> None:
    outcome, boot, host = run({"mode": "plc", "fallback": ["wifi", "lte"]}, {Mode.WIFI: NO_SSID, Mode.LTE: LTE})
    assert isinstance(outcome, Degraded) and outcome.why is Why.FALLBACK_LINK
    assert outcome.detail.split("; ") == [
        "plc: no_carrier: none here",
        "wifi: ssid_not_found: no network 'site'",
        "lte, LTE-M, Telenor, -110 dBm",
    ]
    assert host.tried == [Mode.PLC, Mode.WIFI, Mode.LTE]
    assert boot.notes["tried"] == ["plc: no_carrier: none here", "wifi: ssid_not_found: no network 'site'"]
    assert (boot.linked_by, boot.mode) == (Mode.LTE, Mode.LTE)


def test_when_none_works_the_reason_is_that_of_the_link_that_is_set() -> None:
    outcome, boot, _ = run({"fallback": ["lte"]}, {Mode.WIFI: NO_SSID, Mode.LTE: NO_SIM})
    assert isinstance(outcome, Failed) and outcome.why is Why.SSID_NOT_FOUND
    assert "lte: sim_inactive" in outcome.detail
    assert boot.linked_by is None and boot.mode is Mode.WIFI


def test_a_link_without_fallback_fails_with_its_own_words() -> None:
    outcome, _, _ = run({}, {Mode.WIFI: NO_SSID})
    assert outcome == Failed(Why.SSID_NOT_FOUND, "no network 'site'")


@pytest.mark.parametrize(("carrier", "told"), [(WEAK, True), (WIFI, False), (LTE, False)])
def test_wifi_below_minus_75_dbm_is_said_to_be_weak(carrier: Carrier, told: bool) -> None:
    outcome, _, _ = run({"mode": carrier.mode}, {carrier.mode: carrier})
    assert isinstance(outcome, Passed)
    assert ("below the -75 dBm" in outcome.detail) == told


FATES = st.one_of(
    st.sampled_from(LINK_REASONS).map(NetError),
    st.builds(Carrier, st.sampled_from(list(Mode)), st.none() | st.floats(-120, -40)),
)


@given(
    st.sampled_from(list(Mode)),
    st.lists(st.sampled_from(list(Mode)), max_size=6),
    st.dictionaries(st.sampled_from(list(Mode)), FATES),
)
def test_whatever_the_links_do_each_is_tried_once_and_no_secret_is_told(
    mode: Mode, fallback: list[Mode], links: dict[Mode, Carrier | NetError]
) -> None:
    outcome, boot, host = run({"mode": mode, "fallback": fallback}, links)
    assert len(set(host.tried)) == len(host.tried) <= len(set(fallback) | {mode})
    works = isinstance(links.get(host.tried[-1]), Carrier)
    assert isinstance(outcome, Failed) != works
    assert (boot.linked_by is host.tried[-1]) == works
    if isinstance(outcome, Failed):
        first = links.get(mode, NetError(NetReason.NO_CARRIER))
        assert isinstance(first, NetError) and outcome.why is WHY_OF_NET[first.reason]
    assert not any(secret in f"{outcome}{boot.notes}{boot.local}" for secret in SECRETS.values())
