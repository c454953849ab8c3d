"""A whole update in virtual time: charger and firmware server on a SimNet, real TLS and real HTTP between them."""

import asyncio
import base64
import hashlib
from dataclasses import replace

import pytest

from certs import CertsDir, ensure
from cloud_stub.firmware.faults import (
    Altered,
    Truncated,
    Unavailable,
    Unsigned,
    WrongSigner,
)
from cloud_stub.firmware.package import IMAGE_BYTES, build_image
from emulator.device.update import Installed, Rejected, update_firmware
from emulator.errors import NetReason
from emulator.faults import Fault
from emulator.net.sim import LATENCY_S
from emulator.slots import Slots
from emulator.wire.manifest import MANIFEST_MAX_BYTES
from emulator.wire.update_reason import UpdateReason
from tests.unit.device.update_site import (
    KEY,
    NEW,
    SERIAL,
    SMALL,
    Site,
    keys_of,
    play,
    release_of,
)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    return ensure(tmp_path_factory.mktemp("certs") / "made")


def test_eight_mebibytes_arrive_are_verified_and_boot_next(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW)
        assert await site.update() == Installed(NEW)
        image = build_image(release_of(certs)).image
        assert len(image) == IMAGE_BYTES
        stored = site.env.flash.blob_read(site.slots.blob("b"), 0, IMAGE_BYTES)
        assert hashlib.sha256(stored).digest() == hashlib.sha256(image).digest()
        rebooted = Slots(site.env.flash, site.spec.profile.firmware)
        assert (rebooted.boot().version, rebooted.running.slot, rebooted.pending) == (NEW, "b", True)
        names = [event.name for event in site.recorder.events]
        assert names == [
            "update.started",
            "update.manifest",
            *["update.progress"] * 8,
            "update.verified",
            "update.installed",
        ]
        assert len(site.requests()) == 3 + 8

    play(certs, story)


@pytest.mark.parametrize("host", ["xn--a.com", "xn--zz--zz.com", "1.2.3.999", "a..b"])
def test_a_host_that_nobody_can_ask_ends_the_update_and_nothing_else(certs: CertsDir, host: str) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason in (UpdateReason.MALFORMED, UpdateReason.FOREIGN_REDIRECT)
        assert {line.split()[0] for line in site.requests()} == {"POST"}

    play(certs, story, download_host=host)


@pytest.mark.parametrize("signer", ["foreign", "firmware-next", "vouched"])
def test_the_signature_is_checked_before_any_byte_of_the_image_is_asked_for(certs: CertsDir, signer: str) -> None:
    """A certificate of the CA that vouches for the server makes no difference to who may sign."""

    async def story(site: Site) -> None:
        site.server.offer(NEW, signer=signer)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.UNKNOWN_KEY
        assert [line.split()[0] + line.split()[1].removeprefix(f"/firmware/{SERIAL}/") for line in site.requests()] == [
            f"POST/api/firmware/{SERIAL}/current",
            f"GET{NEW}.bin.manifest",
            f"GET{NEW}.bin.sig",
        ]
        assert site.slots.boot().version == site.spec.profile.firmware.version
        assert site.recorder.events[-1].name == "update.rejected"

    play(certs, story)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (WrongSigner(), UpdateReason.BAD_SIGNATURE),
        (Unsigned(), UpdateReason.UNSIGNED),
        (Altered(), UpdateReason.WRONG_HASH),
        (Truncated(), UpdateReason.SHORT),
    ],
)
def test_a_spoiled_update_leaves_the_old_firmware_running(certs: CertsDir, fault: Fault, reason: UpdateReason) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        undo = site.server.inject(fault)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is reason, result
        assert site.env.flash.blob_size(site.slots.blob("b")) == 0
        assert not site.slots.boot().rolled_back
        assert site.slots.running.version == site.spec.profile.firmware.version
        undo()
        assert await site.update() == Installed(NEW)

    play(certs, story)


def test_a_server_that_is_away_for_a_while_only_delays_the_update(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        site.server.inject(Unavailable(for_s=100.0))
        start = asyncio.get_running_loop().time()
        assert await site.update() == Installed(NEW)
        assert 100 <= asyncio.get_running_loop().time() - start < 105
        assert len(site.recorder.where("update.retrying")) == 34

    play(certs, story)


def test_a_server_that_stays_away_ends_the_update_at_its_timer(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        site.server.inject(Unavailable())
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.TIMED_OUT
        assert asyncio.get_running_loop().time() == pytest.approx(600.0, abs=1)

    play(certs, story, changes={"firmware.timeout_s": 600.0})


def test_a_server_that_restarts_in_the_middle_of_a_block_costs_one_retry(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        update = asyncio.get_running_loop().create_task(site.update())
        await site.happened["update.manifest"].wait()
        await asyncio.sleep(1.5 * LATENCY_S)  # the first block is on its way
        await site.server.stop()
        await site.server.start(site.downloads)
        assert await update == Installed(NEW)
        (retry,) = site.recorder.where("update.retrying")
        assert "reset" in retry.data["detail"]

    play(certs, story)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", NetReason.TLS_EXPIRED),
        ("not_yet_valid", NetReason.TLS_NOT_YET_VALID),
        ("wrong_host", NetReason.TLS_WRONG_HOST),
        ("unknown_root", NetReason.TLS_UNKNOWN_CA),
        ("intercepted", NetReason.TLS_UNKNOWN_CA),
    ],
)
def test_nothing_is_downloaded_from_a_server_without_a_good_certificate(
    certs: CertsDir, kind: str, reason: NetReason
) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.TLS
        assert {line.split()[0] for line in site.requests()} == {"POST", "TLS"}
        why = {event.data["detail"].partition(":")[0] for event in site.recorder.where("update.retrying")}
        assert why <= {reason.value, "unreachable"}

    play(certs, story, bad_downloads=kind, changes={"firmware.patience_s": 30.0})


def test_a_wrong_key_gets_no_location(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        stranger = replace(site.spec, key=bytes(32))
        result = await update_firmware(stranger, site.env, site.http, site.slots, keys_of(site.spec))
        assert isinstance(result, Rejected) and result.reason is UpdateReason.REFUSED
        assert "401" in result.detail

    play(certs, story)


def test_no_update_while_the_running_image_is_on_trial(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        await site.update()
        site.slots.boot()
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.UNCONFIRMED
        site.slots.confirm()
        assert await site.update() == Installed(NEW)
        assert site.slots.inactive == "a"

    play(certs, story)


def test_a_reply_that_does_not_end_is_cut_off(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        package = build_image(release_of(certs), SMALL)
        site.server.offer_package(replace(package, manifest=bytes(4_000_000)))
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.ENDLESS
        assert f"more than {MANIFEST_MAX_BYTES} bytes" in result.detail

    play(certs, story)


def test_an_older_version_is_refused(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer("5.2.9.9", size_bytes=SMALL)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.OLDER

    play(certs, story)


def test_power_cut_in_the_middle_leaves_nothing_to_boot(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        assert await site.update() == Installed(NEW)
        update = asyncio.get_running_loop().create_task(site.update())
        site.happened["update.manifest"].clear()
        await site.happened["update.manifest"].wait()
        update.cancel()
        await asyncio.gather(update, return_exceptions=True)
        assert update.cancelled()
        after = Slots(site.env.flash, site.spec.profile.firmware)
        assert after.boot().version == site.spec.profile.firmware.version

    play(certs, story)


def test_the_key_is_in_no_trace_and_no_history(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        await site.update()
        told = "".join(event.as_json() for event in site.recorder.events) + str(site.server.history_json())
        assert base64.b64encode(KEY).decode() not in told
        assert repr(KEY) not in told

    play(certs, story)


def test_the_same_seed_gives_the_same_trace(certs: CertsDir) -> None:
    digests: list[str] = []

    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        site.server.inject(Unavailable(for_s=10.0))
        await site.update()
        digests.append(site.recorder.digest())

    play(certs, story)
    play(certs, story)
    assert digests[0] == digests[1]
