"""A change of the key that signs firmware, as a charger lives through it: announced, used, the old one revoked."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cloud_stub.worlds import SimWorld
from emulator.trace import Recorder
from emulator.wire.firmware_keys import sign
from tests.firmware_images import PACKAGE, SIGNER
from tests.life import SERIAL, Life, live
from tests.trust import online


def refusals(trace: Recorder) -> list[str]:
    return [event.data["reason"] for event in trace.where("update.rejected")]


async def published(life: Life, firmware_keys: Sequence[str], revoked: Sequence[str] = ()) -> None:
    """Publish a bundle with this list and have the charger fetch it."""
    assert isinstance(life.world, SimWorld)
    version = life.world.cloud.publish_bundle("old", firmware_keys, revoked)
    await life.world.command(SERIAL, 800, ["Update certificate"])
    await life.until("trust.fetched", version=version)
    await asyncio.sleep(1)


async def update(life: Life, version: str, signer: str) -> str:
    """Offer a version signed by this key and order it: the name of the event that ends the update."""
    life.world.offer_firmware(version, signer=signer)
    assert (await life.world.command(SERIAL, 201))[0] == 200
    ended = await life.until("update.[ir]*", within_s=1200)
    await asyncio.sleep(1)
    if ended.name == "update.installed":
        await life.until("boot.firmware.passed", version=version, confirmed=True)
        await online(life)
    return ended.name


def test_a_new_key_signs_once_the_bundle_has_announced_it_and_the_old_one_no_more_when_it_is_revoked() -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert await update(life, "5.4.0.0", "firmware-next") == "update.rejected"
        await published(life, ["firmware", "firmware-next"])
        assert await update(life, "5.4.0.0", "firmware") == "update.installed"
        assert await update(life, "5.4.0.1", "firmware-next") == "update.installed"
        await published(life, ["firmware", "firmware-next"], ["firmware"])
        assert await update(life, "5.4.0.2", "firmware") == "update.rejected"
        life.charger.inject({"kind": "device.bundle_lost"})
        life.charger.reboot("test")
        await online(life)
        assert await update(life, "5.4.0.2", "firmware") == "update.rejected"
        assert await update(life, "5.4.0.2", "firmware-next") == "update.installed"

    assert refusals(live(story)) == ["unknown_key", "revoked_key", "revoked_key"]


def test_a_certificate_of_a_trusted_root_does_not_let_a_key_sign_firmware() -> None:
    """The charger trusts the old root for its servers, and that root has certified this key."""

    async def story(life: Life) -> None:
        await online(life)
        assert await update(life, "5.4.0.0", "vouched") == "update.rejected"

    assert refusals(live(story)) == ["unknown_key"]


def test_the_cloud_says_that_an_image_on_disk_is_signed_by_nobody_that_chargers_know(tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(PACKAGE.image)
    image.with_name("image.bin.manifest").write_bytes(PACKAGE.manifest)
    image.with_name("image.bin.sig").write_bytes(sign(PACKAGE.manifest, SIGNER))

    async def story(life: Life) -> None:
        assert isinstance(life.world, SimWorld)
        await online(life)
        assert life.world.cloud.hand_out(version="5.4.0.0")["signer"] == "firmware"
        assert life.world.cloud.hand_out(image=str(image))["signer"] is None
        assert (await life.world.command(SERIAL, 201))[0] == 200
        await life.until("update.rejected", reason="unknown_key")

    live(story)
