"""A charger on LTE-M has its address and its DNS servers from the operator (M10): what the site has does not matter."""

import asyncio
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life, live

LTE, CABLE, BOTH = {"mode": "lte"}, {"mode": "ethernet"}, {"mode": "wifi", "fallback": ["lte"]}
OPERATOR, RESOLVER = "100.64.0.1", "100.64.0.53"
HOUR_S = 3600.0
LEASE_S = 12 * HOUR_S


def broken(*faults: dict[str, Any]) -> Any:
    """For `before`: the faults are there from the start."""

    def strike(world: World) -> None:
        for fault in faults:
            world.inject(fault, where="test")

    return strike


async def online(life: Life) -> None:
    await life.until("device.online", within_s=30)


async def two_minutes(life: Life) -> None:
    await asyncio.sleep(120)


def only(trace: Recorder, name: str) -> TraceEvent:
    (event,) = trace.where(name, SERIAL)
    return event


def asked(life: Life, service: str) -> list[str]:
    """What a DHCP server has heard."""
    return [seen["request"].split()[0] for seen in life.world.history(service)]


def test_the_operator_gives_address_and_name_server() -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert asked(life, "operator") == ["DISCOVER", "REQUEST"]
        assert asked(life, "dhcp") == []
        assert {seen["data"]["server"] for seen in life.world.history("dns")} == {"operator"}
        assert life.world.history("hub")[0]["sender"].startswith("100.64.0.")

    address = only(live(story, local=LTE), "boot.address.passed").data
    assert (address["address"], address["server"], address["dns"]) == ("100.64.0.100", OPERATOR, [RESOLVER])
    assert address["seconds"] < 1.0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "dhcp.silence"},
        {"kind": "dhcp.exhausted"},
        {"kind": "dhcp.nak"},
        {"kind": "dhcp.wrong_dns"},
        {"kind": "dhcp.short_lease", "lease_s": 0},
        {"kind": "dhcp.renumber"},
        {"kind": "dhcp.rogue"},
        {"kind": "dns.silence", "server": "primary"},
        {"kind": "dns.hijack", "server": "primary", "address": "10.20.0.80"},
        {"kind": "site.captive_portal"},
        {"kind": "site.nat_reboot", "for_s": HOUR_S},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_what_is_wrong_at_the_site_does_not_strike_it(fault: dict[str, Any]) -> None:
    sound, struck = (live(two_minutes, local=LTE, before=broken(*faults)) for faults in ((), (fault,)))
    assert struck.where("device.online") and struck.digest() == sound.digest()
    sound, struck = (live(two_minutes, local=CABLE, before=broken(*faults)) for faults in ((), (fault,)))
    assert struck.digest() != sound.digest()


def test_a_name_server_of_the_operator_that_is_silent_is_passed_over() -> None:
    trace = live(online, local=LTE, before=broken({"kind": "dns.silence", "server": "operator"}))
    names = only(trace, "boot.names.degraded").data
    assert (names["why"], names["server"]) == ("fallback_dns", "8.8.8.8:53")
    assert live(online, before=broken({"kind": "dns.silence", "server": "operator"})).where("boot.names.passed")


@pytest.mark.parametrize(
    ("fault", "stage", "why"),
    [({"kind": "dns.silence"}, "names", "dns_silent"), ({"kind": "ntp.silence"}, "time", "ntp_silent")],
    ids=["names", "time"],
)
def test_a_fault_that_names_the_charger_finds_it_behind_the_operator_s_address(
    fault: dict[str, Any], stage: str, why: str
) -> None:
    async def story(life: Life) -> None:
        await life.until(f"boot.{stage}.failed", within_s=120, why=why)

    live(story, local=LTE, before=broken({**fault, "who": SERIAL}))
    assert live(online, local=LTE, before=broken({**fault, "who": "ZPR000002"})).where("device.online")


def test_a_charger_that_falls_back_to_lte_and_returns_to_wi_fi_has_each_network_s_address() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.address.passed")
        await online(life)
        gone = await life.inject(kind="wifi.ssid_changed")
        moved = await life.until("boot.address.passed", within_s=60)
        assert moved.data["address"].startswith("100.64.")
        await online(life)
        gone()
        down = await life.inject(kind="link.down")
        down()
        home = await life.until("boot.address.passed", within_s=60)
        assert home.data["address"] == "10.20.16.1"
        await online(life)

    forgotten = live(story, local=BOTH).where("lease.forgotten", SERIAL)
    assert [event.data["server"] for event in forgotten] == [OPERATOR, "10.20.0.1"], "each refuses the other's address"


def test_the_lease_is_renewed_and_kept_over_a_reboot_by_the_operator() -> None:
    async def story(life: Life) -> None:
        await online(life)
        renewed = await life.until("lease.renewed", within_s=LEASE_S)
        assert renewed.t == pytest.approx(LEASE_S / 2, abs=10) and renewed.data["server"] == OPERATOR
        life.charger.reboot("test")
        again = await life.until("boot.address.passed", within_s=60)
        assert (again.data["how"], again.data["address"]) == ("remembered", "100.64.0.100")
        await online(life)
        await asyncio.sleep(0.9 * LEASE_S)
        assert asked(life, "operator") == ["DISCOVER"] + ["REQUEST"] * 4 and asked(life, "dhcp") == []

    assert not live(story, local=LTE).where("lease.lost")


def test_the_operator_has_no_faults_of_its_own() -> None:
    async def story(life: Life) -> None:
        with pytest.raises(UsageError, match=r"^test: kind: 'operator\.silence': no service has faults of this family"):
            await life.inject(kind="operator.silence")

    live(story)
