"""Look-ups over every kind of host: datagrams and connections to the same port, whatever stands for that port."""

import asyncio
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from cloud_stub.site.dns import DnsServer
from emulator.boot.lookup import Lookup
from emulator.clock import Rtc
from emulator.env import Env
from emulator.faults import fault_from
from emulator.flash import MemoryFlash
from emulator.machines.resolver import Resolved
from emulator.net.api import Host
from emulator.profile import load_profile
from emulator.trace import Trace
from tests.contract.hosts import Run, Site

FEW, MANY = "few.example", "many.example"
ZONE = {FEW: ("10.1.0.1",), MANY: tuple(f"10.1.0.{number}" for number in range(1, 101))}
QUICK = {"dns.try_timeout_s": 0.5, "dns.attempts": 1, "dns.fallbacks": ["1.1.1.1"]}


def server(label: str, *faults: dict[str, Any]) -> DnsServer:
    utc, now = datetime(2026, 1, 1, tzinfo=UTC), asyncio.get_running_loop().time
    made = DnsServer(label=label, zone=ZONE, rng=Random(1), utc=lambda: utc, now=now)
    table = {fault.kind: fault for fault in DnsServer.FAULTS}
    for fault in faults:
        made.inject(fault_from(fault, table))
    return made


def lookup(host: Host, primary: str) -> Lookup:
    loop, profile = asyncio.get_running_loop(), load_profile().with_changes(QUICK)
    rtc = Rtc(loop.time, built_at=profile.firmware.built_at)
    made = Lookup(profile, Env(host, rtc, MemoryFlash(), Trace("charger", [], loop.time), "1"))
    made.use([primary])
    return made


async def found(site: Site, name: str, *faults: dict[str, Any]) -> tuple[Resolved, str]:
    """What a look-up comes to when these faults strike the first server, and the address of that."""
    primary, public = server("primary", *faults), server("cloudflare")
    address = f"{site.lan}.0.53"
    await primary.start(site.service("dns-primary", address))
    await public.start(site.service("dns-cloudflare", "1.1.1.1"))
    try:
        (answer,) = await lookup(site.charger(), address).find(name)
    finally:
        await primary.stop()
        await public.stop()
    assert isinstance(answer, Resolved)
    return answer, address


@pytest.mark.parametrize(("name", "what"), [(FEW, "answered"), (MANY, "answered_tcp")])
def test_few_addresses_come_over_udp_and_many_over_tcp(run: Run, name: str, what: str) -> None:
    async def story(site: Site) -> None:
        answer, address = await found(site, name)
        assert answer.addresses == ZONE[name]
        assert [(each.server.host, each.what) for each in answer.tried] == [(address, what)]

    run(story)


@pytest.mark.parametrize(
    ("faults", "what"),
    [
        ([{"kind": "dns.silence"}], "silent"),
        ([{"kind": "dns.wrong_id"}], "wrong_id"),
        ([{"kind": "dns.truncated", "transport": "*"}], "truncated"),
        ([{"kind": "dns.truncated"}, {"kind": "dns.servfail", "transport": "tcp"}], "servfail"),
    ],
    ids=["silence", "wrong id", "truncated over TCP too", "servfail over TCP"],
)
def test_the_second_server_answers_when_the_first_does_not(run: Run, faults: list[dict[str, Any]], what: str) -> None:
    async def story(site: Site) -> None:
        answer, address = await found(site, FEW, *faults)
        assert answer.addresses == ZONE[FEW]
        tried = [(each.server.host, each.what) for each in answer.tried]
        assert tried == [(address, what), ("1.1.1.1", "answered")]

    run(story)


def test_forged_answers_from_another_port_are_ignored(run: Run) -> None:
    async def story(site: Site) -> None:
        answer, _ = await found(site, FEW, {"kind": "dns.spoofed", "by": "port", "answers": 3})
        assert answer.addresses == ZONE[FEW]
        assert sum(each.count for each in answer.ignored if each.what == "stranger") == 3

    run(story)
