"""What a firmware server that was taken over, a network and a flash that fail do to an update."""

import asyncio
from contextlib import suppress

import pytest

from certs import CertsDir, ensure
from cloud_stub.firmware.faults import (
    BadLocation,
    Endless,
    NoLength,
    PlainHttp,
    Redirect,
    Short,
    Slow,
    Swapped,
    TransportError,
)
from emulator.device.update import Installed, Rejected, update_firmware
from emulator.faults import Fault
from emulator.flash import MemoryFlash
from emulator.flash.faulty import Cut, CutDevice, PowerCut
from emulator.slots import Slots
from emulator.wire.update_reason import UpdateReason
from tests.unit.device.update_site import (
    BIG,
    DOWNLOADS,
    NEW,
    SMALL,
    Site,
    keys_of,
    play,
)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    return ensure(tmp_path_factory.mktemp("certs") / "made")


async def interrupted(site: Site, blocks: int) -> None:
    """Begin an update and pull the plug when so many blocks lie in flash."""
    update = asyncio.get_running_loop().create_task(site.update())
    while site.env.flash.blob_size(site.slots.blob("b")) < blocks * 65_536:  # noqa: ASYNC110 - flash tells nobody
        await asyncio.sleep(0.001)
    update.cancel()
    await asyncio.gather(update, return_exceptions=True)


def test_after_a_power_cut_only_what_is_missing_is_fetched(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=BIG)
        await interrupted(site, 20)
        held = site.env.flash.blob_size(site.slots.blob("b")) // 65_536
        assert await site.update() == Installed(NEW)
        assert [event.data["blocks"] for event in site.recorder.where("update.resumed")] == [held]
        asked = [exchange.data["range"] for exchange in site.server.history if exchange.data["range"]]
        assert f"bytes={held * 65_536}-{(held + 16) * 65_536 - 1}" in asked

    play(certs, story)


def test_what_another_release_has_left_in_the_slot_is_not_gone_on_with(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=BIG)
        await interrupted(site, 5)
        site.server.offer("5.4.0.1", size_bytes=BIG)
        assert await site.update() == Installed("5.4.0.1")
        assert site.recorder.where("update.resumed") == []

    play(certs, story)


@pytest.mark.parametrize(
    ("fault", "reason", "within_s"),
    [
        (Redirect(by="redirect"), UpdateReason.FOREIGN_REDIRECT, 10),
        (Redirect(by="redirect", status=308), UpdateReason.FOREIGN_REDIRECT, 10),
        (Redirect(by="location"), UpdateReason.FOREIGN_REDIRECT, 10),
        (PlainHttp(by="redirect"), UpdateReason.NOT_HTTPS, 10),
        (PlainHttp(by="location"), UpdateReason.NOT_HTTPS, 10),
        (Redirect(to=DOWNLOADS), UpdateReason.REFUSED, 10),
        (BadLocation(), UpdateReason.MALFORMED, 10),
        (Swapped(), UpdateReason.CHANGED, 10),
        (Swapped(same_tag=True), UpdateReason.WRONG_HASH, 10),
        (Endless(), UpdateReason.ENDLESS, 10),
        (Short(), UpdateReason.SHORT, 10),
        (Slow(bytes_per_s=10), UpdateReason.TOO_SLOW, 400),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else str(value),
)
def test_a_server_that_was_taken_over_gets_nothing_installed(
    certs: CertsDir, fault: Fault, reason: UpdateReason, within_s: float
) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=BIG)
        undo = site.server.inject(fault)
        start = asyncio.get_running_loop().time()
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is reason, result
        assert asyncio.get_running_loop().time() - start < within_s
        assert not site.slots.boot().rolled_back and site.slots.running.slot == "a"
        undo()
        assert await site.update() == Installed(NEW)

    play(certs, story)


@pytest.mark.parametrize("fault", [NoLength(), TransportError(), TransportError(count=4)])
@pytest.mark.parametrize("size_bytes", [BIG, 32 * 65_536], ids=["odd", "whole blocks"])
def test_what_hangs_the_go_for_an_hour_costs_seconds_here(certs: CertsDir, fault: Fault, size_bytes: int) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=size_bytes)
        site.server.inject(fault)
        assert await site.update() == Installed(NEW)
        assert asyncio.get_running_loop().time() < 20

    play(certs, story)


@pytest.mark.parametrize(
    ("fault", "size_bytes"),
    [(None, 32 * 65_536), (NoLength(), SMALL), (TransportError(), SMALL), (BadLocation(), SMALL)],
    ids=["whole blocks", "no length", "transport error", "bad location"],
)
def test_the_go_like_profile_hangs_for_an_hour(certs: CertsDir, fault: Fault | None, size_bytes: int) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=size_bytes)
        if fault is not None:
            site.server.inject(fault)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.TIMED_OUT
        assert asyncio.get_running_loop().time() == pytest.approx(3600, abs=1)

    play(certs, story, profile="go-like")


def test_the_go_like_profile_installs_where_nothing_is_wrong(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        assert await site.update() == Installed(NEW)

    play(certs, story, profile="go-like")


def test_flash_that_is_full_refuses_the_update_and_keeps_the_way_back(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        assert isinstance(site.env.flash, MemoryFlash)
        site.env.flash.log.reserved = site.env.flash.log.room
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.FLASH
        site.env.flash.log.reserved = 0
        assert await site.update() == Installed(NEW)

    play(certs, story)


def test_an_update_that_is_refused_by_its_manifest_leaves_the_previous_image_alone(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        await site.update()
        site.slots.boot()
        site.slots.confirm()
        site.server.offer("5.5.0.0", size_bytes=SMALL, signer="foreign")
        assert isinstance(await site.update(), Rejected)
        assert site.slots.previous is not None

    play(certs, story)


def test_while_a_car_charges_the_download_leaves_room(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=BIG)
        start = asyncio.get_running_loop().time()
        result = await update_firmware(
            site.spec, site.env, site.http, site.slots, keys_of(site.spec), charging=lambda: True
        )
        assert result == Installed(NEW)
        rate = site.spec.profile.firmware.charging_bytes_per_s
        assert asyncio.get_running_loop().time() - start >= (BIG - 65_536) / rate

    play(certs, story)


def test_a_cut_at_any_write_of_an_update_leaves_an_image_that_boots_and_the_next_try_completes(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        flash = site.env.flash
        assert isinstance(flash, MemoryFlash)
        chip, write, cut = flash.device, 0, True
        while cut:
            write += 1
            flash.blob_erase(site.slots.blob(site.slots.inactive))
            dying = flash.device = CutDevice(chip, Cut(write, 0.5))
            with suppress(PowerCut):
                await site.update()
            cut = dying.dead
            flash.device = chip
            flash.mount()
            slots = Slots(flash, site.spec.profile.firmware)
            assert slots.boot().version in (site.spec.profile.firmware.version, NEW)
            if slots.pending:
                slots.confirm()
            assert await update_firmware(site.spec, site.env, site.http, slots, keys_of(site.spec)) == Installed(NEW)
            site.slots = Slots(flash, site.spec.profile.firmware)
            site.slots.boot()
            site.slots.confirm()
        assert write > 6 * 17  # six blocks of sixteen sectors, and the size after each

    play(certs, story)
