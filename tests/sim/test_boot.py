"""Power-on to online in virtual time, and what each broken thing does to it."""

from collections.abc import Callable

import pytest

from emulator.world import World
from tests.life import SERIAL, Life, live

STAGE_ORDER = ["link", "address", "names", "time", "trust", "hub", "firmware"]


async def online(life: Life) -> None:
    await life.until("device.online")


def test_a_charger_passes_every_stage_once_and_in_order() -> None:
    trace = live(online)
    rows = [e for e in trace.where("boot.*", SERIAL) if "outcome" in e.data]
    assert [e.data["stage"] for e in rows] == STAGE_ORDER
    assert {e.data["outcome"] for e in rows} == {"passed"}
    assert {e.data["attempt"] for e in rows} == {1}


def test_the_clock_is_unset_before_ntp_and_right_after() -> None:
    trace = live(online)
    (time,) = trace.where("boot.time.passed")
    assert time.data["before"].startswith("2025-03-01")
    assert time.data["after"].startswith("2026-06-01T12:00")
    (hub,) = trace.where("boot.hub.passed")
    assert hub.data["tls"] == "TLSv1.2"


def test_a_silent_first_dns_server_degrades_to_the_google_fallback() -> None:
    trace = live(online, before=lambda world: world.inject({"kind": "dns.silence", "server": "primary"}, where="test"))
    (names,) = trace.where("boot.names.degraded")
    assert names.data["why"] == "fallback_dns"
    assert names.data["server"] == "8.8.8.8:53"
    assert names.data["seconds"] >= 2.0  # the primary was given its time


def test_when_google_is_silent_too_cloudflare_answers() -> None:
    def break_two(world: World) -> None:
        for server in ("primary", "google"):
            world.inject({"kind": "dns.silence", "server": server}, where="test")

    (names,) = live(online, before=break_two).where("boot.names.degraded")
    assert names.data["server"] == "1.1.1.1:53"


def test_dhcp_without_dns_servers_uses_the_fallbacks_too() -> None:
    trace = live(online, before=lambda world: world.inject({"kind": "dhcp.no_dns"}, where="test"))
    (names,) = trace.where("boot.names.degraded")
    assert (names.data["why"], names.data["server"]) == ("fallback_dns", "8.8.8.8:53")


@pytest.mark.parametrize(
    ("fault", "stage", "why"),
    [
        ({"kind": "link.down"}, "link", "no_carrier"),
        ({"kind": "dhcp.silence"}, "address", "no_offer"),
        ({"kind": "dns.silence"}, "names", "dns_silent"),
        ({"kind": "dns.servfail"}, "names", "dns_failed"),
        ({"kind": "dns.refused"}, "names", "dns_failed"),
        ({"kind": "ntp.silence"}, "time", "ntp_silent"),
        ({"kind": "ntp.kiss", "code": "RATE"}, "time", "ntp_refused"),
        ({"kind": "ntp.wrong_origin"}, "time", "ntp_absurd"),
        ({"kind": "site.block", "protocol": "tcp", "port": 8883}, "hub", "timed_out"),
        ({"kind": "site.block", "protocol": "tcp", "port": 8883, "action": "reject"}, "hub", "refused"),
        ({"kind": "site.block", "protocol": "udp", "port": 123}, "time", "ntp_silent"),
        ({"kind": "site.block", "protocol": "udp", "port": 53}, "names", "dns_silent"),
        ({"kind": "hub.certificate", "bad": "unknown_root"}, "hub", "tls_unknown_ca"),
        ({"kind": "hub.certificate", "bad": "intercepted"}, "hub", "tls_unknown_ca"),
        ({"kind": "hub.certificate", "bad": "wrong_host"}, "hub", "tls_wrong_host"),
        ({"kind": "hub.certificate", "bad": "expired"}, "hub", "tls_expired"),
        ({"kind": "hub.certificate", "bad": "not_yet_valid"}, "hub", "tls_not_yet_valid"),
        ({"kind": "hub.tls_version", "version": "1.3"}, "hub", "tls_version"),
        ({"kind": "hub.tls_version", "version": "1.1"}, "hub", "tls_version"),
        ({"kind": "hub.connack", "code": 5}, "hub", "hub_refused"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_each_fault_ends_its_stage_with_its_own_why_and_the_charger_comes_back_when_healed(
    fault: dict[str, object], stage: str, why: str
) -> None:
    undo: list[Callable[[], None]] = []

    async def story(life: Life) -> None:
        failed = await life.until(f"boot.{stage}.failed")
        assert failed.data["why"] == why
        undo[0]()
        await life.until("device.online", within_s=1200)

    live(story, before=lambda world: undo.append(world.inject(fault, where="test")))


def test_a_wrong_key_is_refused_at_the_login_and_nowhere_else() -> None:
    seen = []

    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "hub_refused"
        seen.extend(life.world.history("hub"))

    live(story, before=lambda world: world.inject({"kind": "hub.wrong_key", "who": SERIAL}, where="test"))
    assert any("signature" in exchange["reply"] for exchange in seen)
