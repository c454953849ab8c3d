"""An attack on the update of a whole charger in the whole simulated cloud, and how it must end.

All of it in virtual time: the world ``sim`` runs on `emulator.clock.SimLoop`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_stub.worlds import SimWorld
from emulator.trace import Recorder
from emulator.wire.messages import DeviceEvent, EventType, Message, Observation
from emulator.wire.update_reason import UpdateReason
from tests.life import SERIAL, Life, live

RUNS, NEW = "5.3.0.3", "5.4.0.0"
SMALL = 5 * 65_536 + 17
OVER_A_RANGE = 20 * 65_536 + 17
"""A range is a MiB."""
SECURITY_LOG, COMPUTER_VERSION = 830, 911
TOLD_S = 2.0


@dataclass
class Heard:
    """What the cloud heard of one charger."""

    messages: list[Message] = field(default_factory=list)

    def security(self) -> list[dict[str, str]]:
        """The entries of the security log, oldest first."""
        return [
            json.loads(message.value)
            for message in self.messages
            if isinstance(message, Observation) and message.id == SECURITY_LOG
        ]

    def warnings(self) -> list[str]:
        """The lines of the log about updates that are warnings."""
        return [
            message.message
            for message in self.messages
            if isinstance(message, DeviceEvent)
            and message.kind is EventType.WARNING
            and "[ota_metrics]" in message.message
        ]


def cloud_of(life: Life) -> Any:
    assert isinstance(life.world, SimWorld)
    return life.world.cloud


def listen(life: Life) -> Heard:
    """Hear from now on what the charger says."""
    heard = Heard()
    cloud_of(life).zapcloud.listeners.append(lambda serial, message: heard.messages.append(message))
    return heard


def refused(
    reason: UpdateReason,
    *faults: Mapping[str, Any],
    size_bytes: int = SMALL,
    signer: str = "firmware",
    within_s: float = 60.0,
    before: Callable[[Life], Awaitable[None]] | None = None,
    offered: Callable[[Life], None] | None = None,
) -> Recorder:
    """Order an update under these faults: it is refused for this reason, the cloud is told so in the security log and
    in a line of the log, and the old firmware runs on, before a reboot and after it.

    `before` is what happened to the charger; `offered` puts something else than a stand-in on the server."""

    async def story(life: Life) -> None:
        await life.until("device.online")
        if before is not None:
            await before(life)
        if offered is not None:
            offered(life)
        else:
            cloud_of(life).firmware.offer(NEW, size_bytes=size_bytes, signer=signer)
        for fault in faults:
            await life.inject(**fault)
        heard = listen(life)
        assert (await life.world.command(SERIAL, 201))[0] == 200
        ended = await life.until("update.[ir]*ed", within_s=within_s)
        while ended.name not in ("update.installed", "update.rejected"):
            ended = await life.until("update.[ir]*ed", within_s=within_s)
        assert (ended.name, ended.data.get("reason")) == ("update.rejected", reason.value), ended
        await asyncio.sleep(TOLD_S)
        last = {"Name": "OTA", "Description": "Rejected", "Reason": reason.value}
        assert heard.security()[-1] == last
        assert f" {reason.value}: " in heard.warnings()[-1]
        await runs_on(life)

    return live(story)


async def runs_on(life: Life) -> None:
    """The old firmware runs, and boots."""
    assert life.recorder.where("device.reboot") == []
    assert life.charger.snapshot().firmware == RUNS and life.charger.snapshot().online
    assert not life.charger.snapshot().updating
    life.charger.reboot("test")
    await life.until("device.online")
    assert life.charger.snapshot().firmware == RUNS
    await asyncio.sleep(TOLD_S)
    assert cloud_of(life).store.last(SERIAL, COMPUTER_VERSION) == RUNS
