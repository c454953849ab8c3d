"""The lease from power-on to its end (M7), and what each broken thing at the DHCP service does to it."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life
from tests.life import live as live_anywhere

HOUR_S = 3600.0
LEASE_S = 12 * HOUR_S
BUDGET_S = 70.0
ROUTER, RENUMBERED, ROGUE = "10.20.0.1", "10.20.251.", "10.20.252."
live = partial(live_anywhere, local={"mode": "ethernet"})
"""On a cable, which adds nothing to the times."""

FIRST, DNS = "10.20.16.1", "10.20.0.53"


def broken(*faults: dict[str, Any]) -> Callable[[World], None]:
    """Faults that are there before the power is."""

    def strike(world: World) -> None:
        for fault in faults:
            world.inject(fault, where="test")

    return strike


async def online(life: Life) -> None:
    await life.until("device.online")


async def no_address(life: Life) -> None:
    await life.until("boot.address.failed")


def only(trace: Recorder, name: str) -> TraceEvent:
    (event,) = trace.where(name, SERIAL)
    return event


def asked(life: Life, kind: str = "") -> list[float]:
    """When the server heard the charger say this."""
    return [seen["t"] for seen in life.world.history("dhcp") if seen["request"].startswith(kind)]


def test_the_trace_says_what_was_lent_by_whom_and_how() -> None:
    address = only(live(online), "boot.address.passed").data
    assert (address["address"], address["server"], address["dns"]) == (FIRST, ROUTER, [DNS])
    assert (address["lease_s"], address["how"], address["offered_by"]) == (LEASE_S, "discovered", [ROUTER])
    assert address["seconds"] < 0.1


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_after_a_reboot_the_address_of_before_is_asked_for_and_got(how: str) -> None:
    async def story(life: Life) -> None:
        await online(life)
        if how == "reboot":
            await life.world.command(SERIAL, 102)
        else:
            life.charger.cut_power()
            await asyncio.sleep(HOUR_S)
            life.charger.restore_power()
        await online(life)
        requests = [seen["request"].split()[0] for seen in life.world.history("dhcp")]
        assert requests == ["DISCOVER", "REQUEST", "REQUEST"]

    first, second = live(story).where("boot.address.passed", SERIAL)
    assert (first.data["address"], first.data["how"]) == (FIRST, "discovered")
    assert (second.data["address"], second.data["how"], second.data["seconds"]) == (FIRST, "remembered", 0.001)


def test_a_charger_that_keeps_no_address_discovers_after_every_reboot() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.charger.reboot("test")
        await online(life)
        assert life.charger.env.flash.get("lease") is None

    trace = live(story, changes={"dhcp.remember": False})
    assert [event.data["how"] for event in trace.where("boot.address.passed")] == ["discovered", "discovered"]


def test_a_remembered_address_that_is_refused_is_forgotten_and_another_got_without_a_failure() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dhcp.renumber")
        life.charger.reboot("test")
        await online(life)

    trace = live(story)
    forgotten = only(trace, "lease.forgotten")
    assert (forgotten.data["server"], forgotten.data["message"]) == (ROUTER, "address not available")
    second = trace.where("boot.address.passed")[1].data
    assert second["address"].startswith(RENUMBERED) and second["how"] == "discovered"
    assert 1 <= second["seconds"] <= 11, "the pause before a new beginning"
    assert trace.where("boot.address.failed") == []


def test_a_remembered_address_that_nobody_answers_for_is_followed_by_a_discovery() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dhcp.silence", to="REQUEST", count=2)
        life.charger.reboot("test")
        await online(life)

    second = live(story).where("boot.address.passed")[1].data
    assert (second["address"], second["how"]) == (FIRST, "discovered")
    assert second["seconds"] == pytest.approx(4 + 8, abs=2)


@pytest.mark.parametrize("bad", [b"", b"\xff\xfe", b"[]", b'{"address": 7}', b'{"address": "0.0.0.0"}', b"{" * 99])
def test_a_remembered_address_that_is_none_is_ignored(bad: bytes) -> None:
    async def story(life: Life) -> None:
        life.charger.env.flash.put("lease", bad)
        await online(life)

    assert only(live(story), "boot.address.passed").data["how"] == "discovered"


@pytest.mark.parametrize(
    ("fault", "kind", "why", "state"),
    [
        ({"kind": "dhcp.silence"}, "DISCOVER", "no_offer", "SELECTING"),
        ({"kind": "dhcp.silence", "to": "DISCOVER"}, "DISCOVER", "no_offer", "SELECTING"),
        ({"kind": "dhcp.exhausted"}, "DISCOVER", "no_offer", "SELECTING"),
        ({"kind": "dhcp.silence", "to": "REQUEST"}, "REQUEST", "no_ack", "REQUESTING"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else None,
)
def test_silence_is_asked_again_ever_later_until_the_stage_gives_up(
    fault: dict[str, Any], kind: str, why: str, state: str
) -> None:
    async def story(life: Life) -> None:
        await no_address(life)
        waits = [later - earlier for earlier, later in pairwise(asked(life, kind))]
        assert len(waits) == 4
        for wait, expected in zip(waits, (4, 8, 16, 32), strict=True):
            assert wait == pytest.approx(expected, abs=1.01)

    failed = only(live(story, before=broken(fault)), "boot.address.failed").data
    assert (failed["why"], failed["detail"]) == (why, f"in state {state}")
    assert failed["seconds"] == pytest.approx(BUDGET_S)


def test_a_server_that_refuses_what_it_offered_is_named_with_its_words() -> None:
    failed = only(live(no_address, before=broken({"kind": "dhcp.nak"})), "boot.address.failed").data
    assert (failed["why"], failed["detail"]) == ("dhcp_nak", f"{ROUTER}: address not available")
    assert failed["seconds"] < 0.1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "dhcp.short_option"}, "option 6: 3 bytes are not addresses"),
        ({"kind": "dhcp.short_option", "option": 51}, "option 51: 3 bytes instead of 4"),
        ({"kind": "dhcp.short_lease", "lease_s": 0}, f"OFFER of {FIRST} by {ROUTER} for 0 s is no lease"),
        ({"kind": "dhcp.option", "code": 51}, f"OFFER of {FIRST} by {ROUTER} for None s is no lease"),
        ({"kind": "dhcp.option", "code": 54}, f"OFFER of {FIRST} by None for 43200 s is no lease"),
        ({"kind": "dhcp.option", "code": 1, "hex": "ff00ff00"}, "option 1: 255.0.255.0 is not a subnet mask"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_an_offer_of_no_use_is_no_offer_and_the_trace_says_what_is_wrong_with_it(
    fault: dict[str, Any], words: str
) -> None:
    failed = only(live(no_address, before=broken(fault)), "boot.address.failed").data
    assert (failed["why"], failed["detail"]) == ("no_offer", f"in state SELECTING, no use: {words}")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "dhcp.overload"},
        {"kind": "dhcp.option", "code": 1},
        {"kind": "dhcp.option", "code": 43, "hex": "00" * 300},
        {"kind": "dhcp.option", "code": 58, "hex": "ffffffff"},
    ],
    ids=lambda value: "-".join(str(each)[:8] for each in value.values()),
)
def test_what_is_odd_but_of_use_is_used(fault: dict[str, Any]) -> None:
    address = only(live(online, before=broken(fault)), "boot.address.passed").data
    assert (address["address"], address["dns"], address["lease_s"]) == (FIRST, [DNS], LEASE_S)


@pytest.mark.parametrize("fault", [{"kind": "dhcp.no_dns"}, {"kind": "dhcp.wrong_dns"}])
def test_without_a_dns_server_that_answers_the_fallbacks_help(fault: dict[str, Any]) -> None:
    trace = live(online, before=broken(fault))
    lent = only(trace, "boot.address.passed").data["dns"]
    assert lent == ([] if fault["kind"] == "dhcp.no_dns" else ["192.0.2.53"])
    names = only(trace, "boot.names.degraded").data
    assert (names["why"], names["server"]) == ("fallback_dns", "8.8.8.8:53")


@pytest.mark.parametrize(("delay_s", "outcome"), [(3.0, "passed"), (30.0, "passed"), (80.0, "failed")])
def test_a_slow_server_is_waited_for_as_long_as_the_stage_lasts(delay_s: float, outcome: str) -> None:
    async def story(life: Life) -> None:
        await life.until("boot.address.*")

    trace = live(story, before=broken({"kind": "dhcp.slow", "delay_s": delay_s}))
    address = only(trace, "boot.address.*").data
    assert (address["outcome"], address["why"]) == (outcome, "no_offer" if outcome == "failed" else None)
    assert address["seconds"] == pytest.approx(min(2 * delay_s, BUDGET_S), abs=0.1)


def test_a_lease_is_renewed_at_half_its_time_for_as_long_as_the_charger_lives() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await asyncio.sleep(30 * HOUR_S)
        assert life.charger.snapshot().online

    renewed = live(story).where("lease.renewed")
    assert [event.t for event in renewed] == pytest.approx([LEASE_S / 2 * n for n in range(1, 6)], abs=1)
    assert {event.data["by"] for event in renewed} == {"renewing"}
    assert {(event.data["address"], event.data["server"]) for event in renewed} == {(FIRST, ROUTER)}


def test_a_lease_that_its_server_did_not_renew_is_rebound_by_whoever_answers() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.address.passed")
        await life.inject(kind="dhcp.silence", for_s=10.6 * HOUR_S)
        await life.until("lease.renewed", within_s=LEASE_S)
        assert life.charger.snapshot().online

    renewed = only(live(story), "lease.renewed")
    assert renewed.data["by"] == "rebinding"
    assert renewed.t == pytest.approx(11.25 * HOUR_S, abs=1), "half of what was left after T2"


def test_a_lease_that_nobody_renews_ends_with_the_address_and_the_session() -> None:
    async def story(life: Life) -> None:
        await online(life)
        silence = await life.inject(kind="dhcp.silence")
        await life.until("lease.lost", within_s=LEASE_S + 1)
        assert life.charger.snapshot().address is None
        assert life.charger.env.flash.get("lease") is None
        await life.until("device.offline")
        silence()
        await online(life)

    trace = live(story)
    lost = only(trace, "lease.lost")
    assert lost.data["why"] == "expired"
    assert lost.t == pytest.approx(LEASE_S, abs=0.01)


def test_a_site_with_new_addresses_refuses_the_old_one_when_it_is_renewed() -> None:
    async def story(life: Life) -> None:
        await online(life)
        undo = await life.inject(kind="dhcp.renumber")
        await life.until("lease.lost", within_s=LEASE_S)
        moved = await life.until("boot.address.passed", within_s=120)
        assert moved.data["address"].startswith(RENUMBERED)
        await online(life)
        undo()
        await life.until("lease.lost", within_s=LEASE_S)
        home = await life.until("boot.address.passed", within_s=120)
        assert home.data["address"] == FIRST, "the server knows its former clients"

    first, _ = live(story).where("lease.lost")
    assert (first.data["why"], first.data["message"]) == ("nak", "address not available")
    assert first.t == pytest.approx(LEASE_S / 2, abs=1)


def test_new_dns_servers_come_with_a_renewal() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dhcp.wrong_dns", dns="192.0.2.7")
        await life.until("lease.renewed", within_s=LEASE_S, dns=["192.0.2.7"])
        await asyncio.sleep(24 * HOUR_S)

    trace = live(story)
    assert trace.where("clock.resync_failed") == []
    assert trace.where("clock.resynced"), "by a fallback"


@pytest.mark.parametrize("lease_s", [1, 3, 10])
def test_a_lease_shorter_than_the_boot_is_renewed_during_the_boot(lease_s: int) -> None:
    faults = ({"kind": "dhcp.short_lease", "lease_s": lease_s}, {"kind": "dns.silence", "server": "primary"})

    async def story(life: Life) -> None:
        await online(life)
        assert life.charger.snapshot().address == FIRST
        await asyncio.sleep(60)

    trace = live(story, before=broken(*faults))
    waits = [later.t - earlier.t for earlier, later in pairwise(trace.where("lease.renewed"))]
    assert waits == pytest.approx([lease_s / 2] * len(waits), abs=0.01) and len(waits) >= 60 / lease_s
    assert trace.where("lease.lost") == [] and len(trace.where("boot.address.*")) == 1
    assert trace.where("device.offline") == []


def test_a_short_lease_that_ends_during_the_boot_sends_it_back_to_the_link() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.address.passed")
        silence = await life.inject(kind="dhcp.silence")
        await life.until("lease.lost", within_s=3)
        failed = await life.until("boot.*.failed", within_s=60)
        assert failed.data["stage"] != "address"
        silence()
        await life.until("boot.link.passed", within_s=60)
        await online(life)

    faults = ({"kind": "dhcp.short_lease", "lease_s": 2}, {"kind": "dns.silence", "server": "primary"})
    trace = live(story, before=broken(*faults))
    lost = only(trace, "lease.lost")
    assert lost.data["why"] == "expired" and lost.t == pytest.approx(2, abs=0.1)
    assert trace.where("device.online")[0].t > lost.t


def test_a_rogue_server_that_is_first_is_believed_until_its_lease_has_to_be_rebound() -> None:
    async def story(life: Life) -> None:
        rogue = await life.inject(kind="dhcp.rogue")
        address = await life.until("boot.address.passed")
        assert address.data["address"].startswith(ROGUE) and address.data["server"] == "10.20.252.1"
        assert address.data["offered_by"] == ["10.20.252.1", ROUTER], "two servers: that is the finding"
        rogue()
        lost = await life.until("lease.lost", within_s=HOUR_S)
        assert (lost.data["why"], lost.data["server"]) == ("nak", ROUTER)
        assert lost.t == pytest.approx(0.875 * HOUR_S, abs=1), "renewals to the rogue get no answer"
        healed = await life.until("boot.address.passed", within_s=120)
        assert healed.data["address"].startswith("10.20.16.") and healed.data["offered_by"] == [ROUTER]
        await life.until("device.online", within_s=300)

    trace = live(story)
    assert trace.where("lease.renewed") == []
    names = trace.where("boot.names.*", SERIAL)
    assert [event.data["why"] for event in names[:-1]] == ["dns_silent"] * (len(names) - 1) and len(names) > 2
    (tried, *others) = names[0].data["tried"].values()
    assert tried[:3] == ["10.20.252.3:53 silent", "8.8.8.8:53 silent", "1.1.1.1:53 silent"]
    assert all(other == tried for other in others)
    assert names[-1].name == "boot.names.passed"


def test_a_rogue_server_that_is_second_does_no_harm_but_is_seen() -> None:
    address = only(live(online, before=broken({"kind": "dhcp.rogue", "first": False})), "boot.address.passed").data
    assert (address["address"], address["offered_by"]) == (FIRST, [ROUTER, "10.20.252.1"])


def test_times_of_renewal_that_make_no_sense_are_replaced_by_the_usual_ones() -> None:
    late, early = {"kind": "dhcp.option", "code": 58, "hex": "00007080"}, {"kind": "dhcp.option", "code": 59}

    async def story(life: Life) -> None:
        await life.until("lease.renewed", within_s=LEASE_S)

    trace = live(story, before=broken(late, {**early, "hex": "00001c20"}))  # T1 after 8 h, T2 after 2 h
    assert only(trace, "lease.renewed").t == pytest.approx(LEASE_S / 2, abs=1)
    trace = live(story, before=broken({**early, "hex": "00007080"}, {**late, "hex": "00001c20"}))
    assert only(trace, "lease.renewed").t == pytest.approx(2 * HOUR_S, abs=1)


def test_an_endless_lease_is_never_renewed() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await asyncio.sleep(100 * HOUR_S)
        assert life.charger.snapshot().address == FIRST

    changes = {"ntp.resync_s": 1e9, "telemetry.full_idle_s": 1e9, "telemetry.pulse_idle_s": 1e9}
    trace = live(story, changes=changes, before=broken({"kind": "dhcp.short_lease", "lease_s": 0xFFFFFFFF}))
    assert only(trace, "boot.address.passed").data["lease_s"] is None
    assert trace.where("lease.*") == []
