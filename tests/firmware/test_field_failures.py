"""The field table (zaptec.md section 14): what leaves the open Go firmware hanging for an hour, until its timer.

Ours gets through it in seconds or gives up in minutes; the profile ``go-like`` hangs, for those who need to see it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from emulator.trace import TraceEvent
from emulator.wire.update_reason import UpdateReason
from tests.firmware.attack import NEW, RUNS, SMALL, TOLD_S, Heard, cloud_of, listen
from tests.life import SERIAL, Life, live

BLOCK_BYTES = 65_536
GO_LIKE = {"firmware.updater": "go", "firmware.range_blocks": 1, "firmware.retry_s": 60.0}
"""As in the profile, but it asks in vain once a minute, not every three seconds: the test is over sooner."""
HANGS_S = 3600.0
MINUTES_S = 300.0

NO_LENGTH = {"kind": "firmware.no_length"}
ONE_TRANSPORT_ERROR = {"kind": "firmware.transport_error", "count": 1}
UNPARSABLE = {"kind": "firmware.bad_location"}

ROWS = [
    pytest.param(8 * BLOCK_BYTES, None, id="an exact multiple of 64 KiB"),
    pytest.param(SMALL, NO_LENGTH, id="missing length header"),
    pytest.param(SMALL, ONE_TRANSPORT_ERROR, id="one transport error"),
    pytest.param(SMALL, UNPARSABLE, id="unparsable location"),
]
Row = Mapping[str, Any] | None


async def ordered(life: Life, size_bytes: int, fault: Row, within_s: float) -> tuple[TraceEvent, float, Heard]:
    """Order an update under this fault: how it ended, after how many seconds, and what the cloud heard."""
    await life.until("device.online")
    cloud_of(life).firmware.offer(NEW, size_bytes=size_bytes)
    if fault is not None:
        await life.inject(**fault)
    heard = listen(life)
    begin = asyncio.get_running_loop().time()
    assert (await life.world.command(SERIAL, 201))[0] == 200
    async with asyncio.timeout(within_s):
        ended = await life.until("update.*", within_s=within_s)
        while ended.name not in ("update.installed", "update.rejected"):
            ended = await life.until("update.*", within_s=within_s)
    return ended, asyncio.get_running_loop().time() - begin, heard


@pytest.mark.parametrize(("size_bytes", "fault"), ROWS[:3])
def test_the_pro_completes(size_bytes: int, fault: Row) -> None:
    async def story(life: Life) -> None:
        ended, seconds, _ = await ordered(life, size_bytes, fault, MINUTES_S)
        assert ended.name == "update.installed" and seconds < MINUTES_S, seconds
        await life.until("boot.firmware.passed", version=NEW, confirmed=True)
        await asyncio.sleep(TOLD_S)
        assert life.charger.snapshot().firmware == NEW and life.charger.snapshot().online

    live(story)


def test_the_pro_gives_up_at_once_when_no_location_can_be_read_and_completes_when_one_can() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(**UNPARSABLE)
        ended, seconds, heard = await ordered(life, SMALL, None, MINUTES_S)
        assert ended.data["reason"] == UpdateReason.MALFORMED.value and seconds < MINUTES_S
        await asyncio.sleep(TOLD_S)
        assert heard.security()[-1]["Reason"] == UpdateReason.MALFORMED.value
        assert life.charger.snapshot().firmware == RUNS
        undo()
        assert (await life.world.command(SERIAL, 201))[0] == 200
        await life.until("boot.firmware.passed", version=NEW, confirmed=True)

    live(story)


def test_the_pro_asks_the_next_host_when_one_has_an_unparsable_location() -> None:
    async def story(life: Life) -> None:
        ended, seconds, _ = await ordered(life, SMALL, {**UNPARSABLE, "host": "api"}, MINUTES_S)
        assert ended.name == "update.installed" and seconds < MINUTES_S

    live(story)


@pytest.mark.parametrize(("size_bytes", "fault"), ROWS)
def test_the_go_like_profile_hangs_for_an_hour(size_bytes: int, fault: Row) -> None:
    async def story(life: Life) -> None:
        ended, seconds, heard = await ordered(life, size_bytes, fault, 2 * HANGS_S)
        assert ended.data.get("reason") == UpdateReason.TIMED_OUT.value
        assert seconds == pytest.approx(HANGS_S, abs=2)
        await life.until("device.online")  # the Go restarts after a rejection too
        await asyncio.sleep(TOLD_S)
        assert heard.security()[-1]["Reason"] == UpdateReason.TIMED_OUT.value
        assert life.charger.snapshot().firmware == RUNS

    live(story, changes=GO_LIKE)


def test_the_go_like_profile_completes_where_nothing_is_wrong() -> None:
    async def story(life: Life) -> None:
        ended, seconds, _ = await ordered(life, SMALL, None, MINUTES_S)
        assert ended.name == "update.installed" and seconds < MINUTES_S

    live(story, changes=GO_LIKE)
