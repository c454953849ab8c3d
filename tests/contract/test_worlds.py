"""One site, one cloud, one broken thing: virtual time and real sockets must tell the same story, stage by stage.

The tables are in the files beside this one, by who is to blame: ``test_worlds_dhcp``, ``_dns``, ``_ntp``, ``_tls`` (hub
and trust bundle) and ``_link_and_site``. Each row of them is a charger on a sound site, what is wrong for it, and every
(stage, outcome, why) from power-on until the charger is online. Both worlds must tell just that. What each server,
link or address did that was tried on the way is not in the table, but must be the same in both.

To add a row, give it a name that says what is wrong, in the words of the site, and choose what it tells:

- ``passes(fault, ...)``: the charger comes online with what is wrong, and no stage minds;
- ``degrades(stage, why, fault, ...)``: it does, but this stage only by a fallback;
- ``stops(stage, why, fault, ...)``: this stage fails, with ``again=3`` three times; at that moment all is healed, and
  the charger comes online;
- ``stays(stage, why, fault)``: this stage fails, all is healed, and it fails again, as with a lease that is wrong;
- ``loses(why, fault, ...)``: the fault strikes when the charger is online, and costs it the session;
- ``Case(faults=..., rows=...)`` for any other story; `before`, `passed` and `PASSES` are rows in which nothing happens.

A fault is what a scenario file would say, without ``who``: each row has a charger of its own. Further keys are the
charger's: ``changes`` of the profile beside `QUICK`, ``local`` settings of the installer, its ``place``, or the
``setup`` of a site of its own. The waits of `QUICK` are real on real sockets: what bites must bite in seconds, and what
must not has to be far from them. The rows of a table run side by side, so one more costs little.
"""

from collections.abc import Callable
from typing import Any

import pytest

from emulator.trace import Recorder
from tests.contract.worlds import PASSES, QUICK, WORLDS
from tests.life import SERIAL, Life, live

LAB = pytest.param("lab", marks=pytest.mark.needs("root", "nft", "mosquitto"))
VERSION = "5.4.0.1"


@pytest.fixture(params=[*WORLDS, LAB])
def tell(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """`live` in one of the worlds."""
    return lambda story: live(story, world=request.param, changes=QUICK)


async def updating(life: Life, *faults: str) -> list[Callable[[], None]]:
    """Online, and told to update, from a server that is broken like this; what heals it."""
    await online(life)
    life.world.offer_firmware(VERSION)
    undo = [await life.inject(kind=kind) for kind in faults]
    assert await life.world.command(SERIAL, 200) == (200, None)
    return undo


async def online(life: Life) -> None:
    await life.until("device.online", within_s=20)


def test_with_nothing_broken_every_stage_passes_once(tell) -> None:
    trace = tell(online)
    attempts = [event.data for event in trace.where("boot.*", SERIAL) if "outcome" in event.data]
    assert tuple((data["stage"], data["outcome"], data["why"]) for data in attempts) == PASSES
    (hub,) = trace.where("boot.hub.passed")
    assert hub.data["tls"] == "TLSv1.2"


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


def test_an_update_is_downloaded_verified_and_started(tell) -> None:
    async def story(life: Life) -> None:
        await updating(life)
        await life.until("boot.firmware.passed", within_s=40, version=VERSION)

    trace = tell(story)
    seen = [event.name for event in trace.where("update.*", SERIAL) if event.name != "update.progress"]
    assert seen == ["update.started", "update.manifest", "update.verified", "update.installed"]
    assert [event.data["version"] for event in trace.where("boot.firmware.passed", SERIAL)] == ["5.3.0.3", VERSION]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("firmware.wrong_signer", "bad_signature"),
        ("firmware.altered", "wrong_hash"),
        ("firmware.truncated", "short"),
    ],
)
def test_an_update_that_is_not_the_vendors_is_rejected(tell, fault: str, reason: str) -> None:
    async def story(life: Life) -> None:
        await updating(life, fault)
        rejected = await life.until("update.rejected", within_s=40)
        assert rejected.data["reason"] == reason

    assert not tell(story).where("update.installed", SERIAL)


def test_an_update_that_nobody_serves_is_tried_again_until_somebody_does(tell) -> None:
    async def story(life: Life) -> None:
        undo = await updating(life, "firmware.unavailable")
        await life.until("update.retrying", within_s=20)
        for heal in undo:
            heal()
        await life.until("update.installed", within_s=60)

    tell(story)
