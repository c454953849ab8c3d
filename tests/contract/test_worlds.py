"""One site, one cloud, one broken thing: virtual time and real sockets must tell the same story, stage by stage."""

from collections.abc import Callable
from typing import Any

import pytest

from emulator.trace import Recorder
from emulator.world import World
from tests.life import SERIAL, Life, live

Row = tuple[str, str, str | None]
"""Stage, outcome, why."""

QUICK = {
    "dns.try_timeout_s": 0.3,
    "dns.attempts": 1,
    "ntp.try_timeout_s": 0.3,
    "ntp.tries": 1,
    "ntp.rate_pause_s": 0.05,
    "dhcp.first_retransmit_s": 0.4,
    "dhcp.jitter_s": 0.1,
    "dhcp.budget_s": 1.0,
    "network.connect_timeout_s": 0.6,
    "network.tls_timeout_s": 2.0,
    "backoff.first_s": 0.1,
    "backoff.cap_without_car_s": 0.0,
}
"""The same waits everywhere, short enough for real time."""

UNTIL_TIME: list[Row] = [("link", "passed", None), ("address", "passed", None), ("names", "passed", None)]
UNTIL_HUB: list[Row] = [*UNTIL_TIME, ("time", "passed", None), ("trust", "passed", None)]
ONLINE: list[Row] = [*UNTIL_HUB, ("hub", "passed", None), ("firmware", "passed", None)]

BROKEN: dict[str, tuple[dict[str, Any], list[Row]]] = {
    "no address": ({"kind": "dhcp.silence"}, [("link", "passed", None), ("address", "failed", "no_offer")]),
    "no name server": ({"kind": "dns.silence"}, [*UNTIL_TIME[:2], ("names", "failed", "dns_silent")]),
    "name servers that fail": ({"kind": "dns.servfail"}, [*UNTIL_TIME[:2], ("names", "failed", "dns_failed")]),
    "no time": ({"kind": "ntp.silence"}, [*UNTIL_TIME, ("time", "failed", "ntp_silent")]),
    "time refused": ({"kind": "ntp.kiss"}, [*UNTIL_TIME, ("time", "failed", "ntp_refused")]),
    "time absurd": ({"kind": "ntp.absurd_root"}, [*UNTIL_TIME, ("time", "failed", "ntp_absurd")]),
    "time forged": ({"kind": "ntp.wrong_origin"}, [*UNTIL_TIME, ("time", "failed", "ntp_absurd")]),
    "port dropped": (
        {"kind": "site.block", "protocol": "tcp", "port": 8883},
        [*UNTIL_HUB, ("hub", "failed", "timed_out")],
    ),
    "port rejected": (
        {"kind": "site.block", "protocol": "tcp", "port": 8883, "action": "reject"},
        [*UNTIL_HUB, ("hub", "failed", "refused")],
    ),
    "nobody has logged in at the guest network": (
        {"kind": "site.captive_portal"},
        [*UNTIL_TIME, ("time", "failed", "ntp_silent")],
    ),
    "only names and web pages": (
        {"kind": "site.allow_only", "allow": ["udp/53", "tcp/443"]},
        [*UNTIL_TIME, ("time", "failed", "ntp_silent")],
    ),
    "everything but the hub": (
        {"kind": "site.allow_only", "allow": ["udp/53", "udp/123", "tcp/443"], "action": "reject"},
        [*UNTIL_HUB, ("hub", "failed", "refused")],
    ),
    "a proxy that inspects TLS": (
        {"kind": "site.intercept", "ports": [8883]},
        [*UNTIL_HUB, ("hub", "failed", "tls_unknown_ca")],
    ),
    "big packets vanish": (
        {"kind": "site.mtu_black_hole", "port": 8883},
        [*UNTIL_HUB, ("hub", "failed", "timed_out")],
    ),
    "forged resets": ({"kind": "site.reset", "port": 8883}, [*UNTIL_HUB, ("hub", "failed", "reset")]),
    "no room in the router's table": ({"kind": "site.nat_full"}, [*UNTIL_TIME[:2], ("names", "failed", "dns_silent")]),
    "unknown root": (
        {"kind": "hub.certificate", "bad": "unknown_root"},
        [*UNTIL_HUB, ("hub", "failed", "tls_unknown_ca")],
    ),
    "wrong host": (
        {"kind": "hub.certificate", "bad": "wrong_host"},
        [*UNTIL_HUB, ("hub", "failed", "tls_wrong_host")],
    ),
    "expired": ({"kind": "hub.certificate", "bad": "expired"}, [*UNTIL_HUB, ("hub", "failed", "tls_expired")]),
    "not yet valid": (
        {"kind": "hub.certificate", "bad": "not_yet_valid"},
        [*UNTIL_HUB, ("hub", "failed", "tls_not_yet_valid")],
    ),
    "only TLS 1.3": ({"kind": "hub.tls_version", "version": "1.3"}, [*UNTIL_HUB, ("hub", "failed", "tls_version")]),
    "only TLS 1.1": ({"kind": "hub.tls_version", "version": "1.1"}, [*UNTIL_HUB, ("hub", "failed", "tls_version")]),
    "wrong key": ({"kind": "hub.wrong_key", "who": SERIAL}, [*UNTIL_HUB, ("hub", "failed", "hub_refused")]),
}


@pytest.fixture(params=["sim", "loopback"])
def tell(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """`live` in one of the worlds."""

    def one(story, before: Callable[[World], None] = lambda world: None) -> Recorder:
        return live(story, world=request.param, changes=QUICK, before=before)

    return one


async def online(life: Life) -> None:
    await life.until("device.online", within_s=20)


def rows(trace: Recorder) -> list[Row]:
    """Every attempt at every stage, in order."""
    attempts = [event.data for event in trace.where("boot.*", SERIAL) if "outcome" in event.data]
    return [(data["stage"], data["outcome"], data["why"]) for data in attempts]


def test_with_nothing_broken_every_stage_passes_once(tell) -> None:
    trace = tell(online)
    assert rows(trace) == ONLINE
    (hub,) = trace.where("boot.hub.passed")
    assert hub.data["tls"] == "TLSv1.2"


@pytest.mark.parametrize(
    ("silent", "answers"), [(("primary",), "8.8.8.8:53"), (("primary", "google"), "1.1.1.1:53")], ids=["one", "two"]
)
def test_silent_name_servers_are_passed_over(tell, silent: tuple[str, ...], answers: str) -> None:
    def silence(world: World) -> None:
        for server in silent:
            world.inject({"kind": "dns.silence", "server": server}, where="test")

    trace = tell(online, silence)
    assert rows(trace) == [*ONLINE[:2], ("names", "degraded", "fallback_dns"), *ONLINE[3:]]
    (names,) = trace.where("boot.names.degraded")
    assert names.data["server"] == answers


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_thing_stops_the_boot_at_its_stage_until_it_is_healed(tell, broken: str) -> None:
    fault, expected = BROKEN[broken]
    stage = expected[-1][0]
    undo: list[Callable[[], None]] = []

    def strike(world: World) -> None:
        undo.append(world.inject(fault, where="test"))

    async def story(life: Life) -> None:
        await life.until(f"boot.{stage}.failed", within_s=20)
        undo[0]()
        await online(life)

    trace = tell(story, strike)
    again = 0 if stage in ("link", "address") else 2  # from the link, later ones from the names on
    assert rows(trace) == [*expected, *ONLINE[again:]]


def test_what_the_hub_saw_is_the_same_too(tell) -> None:
    seen: list[list[tuple[str, str]]] = []

    async def story(life: Life) -> None:
        await online(life)
        seen.append([(each["request"], each["reply"]) for each in life.world.history("hub")])

    tell(story)
    (requests,) = seen
    assert [request for request, _ in requests] == ["TCP", "TLS", f"CONNECT {SERIAL}"]
    assert requests[1][1].startswith("TLSv1.2")
    assert requests[2][1] == "0: accepted"


def test_a_command_comes_back_from_the_charger(tell) -> None:
    answers: list[tuple[int, Any]] = []

    async def story(life: Life) -> None:
        await online(life)
        await life.until("device.publish", within_s=20)
        answers.append(await life.world.command(SERIAL, 102))

    tell(story)
    ((status, _),) = answers
    assert 200 <= status < 300
