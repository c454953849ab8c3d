"""Names that the boot and the downloads ask for: every failure is a network error."""

import asyncio
from random import Random

import pytest

from emulator.boot.lookup import Lookup
from emulator.clock import Rtc, SimLoop
from emulator.env import Env
from emulator.errors import NetError, NetReason
from emulator.flash import MemoryFlash
from emulator.net.sim import SimNet
from emulator.profile import load_profile
from emulator.trace import Trace


async def reason_for(name: str) -> NetReason:
    loop, profile = asyncio.get_running_loop(), load_profile()
    host = SimNet(Random(1)).host("charger", "10.0.0.2")
    rtc = Rtc(loop.time, built_at=profile.firmware.built_at)
    env = Env(host, rtc, MemoryFlash(), Trace("charger", [], loop.time), "1")
    with pytest.raises(NetError) as caught:
        await Lookup(profile, env).address_of(name)
    assert await host.udp()  # the socket of the question is closed, its port may be used again
    return caught.value.reason


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", ".".join(["abc"] * 70), "nobody.answers.example"])
def test_a_name_without_an_address_is_unreachable(name: str) -> None:
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        assert runner.run(reason_for(name)) is NetReason.UNREACHABLE
