"""Our resolver against dnsmasq, over real sockets: what fits, what does not, aliases, and names that do not exist."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from emulator.boot.lookup import Lookup
from emulator.clock import Rtc, system_utc
from emulator.env import Env
from emulator.flash import MemoryFlash
from emulator.machines.resolver import Resolved, Unresolved
from emulator.net.api import Address
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.profile import load_profile
from emulator.trace import Trace
from tests.requirements import program

pytestmark = pytest.mark.needs("dnsmasq")

WITHIN_S = 20
MANY = [f"10.1.0.{number}" for number in range(1, 61)]
PRIMARY_ONLY = {"dns.fallbacks": [], "dns.attempts": 1, "dns.try_timeout_s": 1.0}

Ask = Callable[[str], Awaitable[Resolved | Unresolved]]


@asynccontextmanager
async def asking(directory: Path) -> AsyncIterator[Ask]:
    """Ask a dnsmasq of our own, which has started."""
    plan, claim = claim_plan(Random())
    if plan.single:
        claim.close()
        pytest.fail("dnsmasq needs an address of its own, and this machine has 127.0.0.1 only")
    server = Address(f"{plan.prefix}.0.53", 53)
    host, port = plan.binding(server)
    hosts = directory / "hosts"
    hosts.write_text("".join(f"{address} many.example\n" for address in MANY) + "10.2.0.1 one.example\n")
    options = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", "--log-facility=-"]
    options += [f"--port={port}", f"--listen-address={host}", "--bind-interfaces", "--no-resolv", "--no-hosts"]
    options += [f"--addn-hosts={hosts}", "--cname=alias.example,one.example", "--local=/example/", "--local-ttl=77"]
    stderr = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program("dnsmasq"), *options, stderr=stderr)
    loop, profile = asyncio.get_running_loop(), load_profile().with_changes(PRIMARY_ONLY)
    charger = LoopbackHost(plan, "charger", "02:00:charger", f"{plan.prefix}.16.1")
    rtc = Rtc(loop.time, built_at=system_utc())
    lookup = Lookup(profile, Env(charger, rtc, MemoryFlash(), Trace("charger", [], loop.time), "1"))
    lookup.use([server.host])

    async def ask(name: str) -> Resolved | Unresolved:
        (answer,) = await lookup.find(name)
        return answer

    try:
        while isinstance(await ask("one.example"), Unresolved):
            assert process.returncode is None, (await process.communicate())[1]
            await asyncio.sleep(0.1)
        yield ask
    finally:
        charger.link_down()
        process.terminate()
        await process.communicate()
        claim.close()


def test_our_resolver_and_dnsmasq_agree(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(WITHIN_S), asking(tmp_path) as ask:
            many = await ask("many.example")
            assert isinstance(many, Resolved)
            assert sorted(many.addresses) == sorted(MANY)
            assert ([tried.what for tried in many.tried], many.ttl_s) == (["answered_tcp"], 77)

            alias = await ask("alias.example")
            assert isinstance(alias, Resolved)
            assert (alias.addresses, [tried.what for tried in alias.tried]) == (("10.2.0.1",), ["answered"])

            nowhere = await ask("nowhere.example")
            assert isinstance(nowhere, Unresolved)
            assert (nowhere.reason.value, [tried.what for tried in nowhere.tried]) == ("not_found", ["nxdomain"])

            elsewhere = await ask("elsewhere.test")
            assert isinstance(elsewhere, Unresolved)
            assert (elsewhere.reason.value, [tried.what for tried in elsewhere.tried]) == ("failed", ["refused"])

    asyncio.run(story())
