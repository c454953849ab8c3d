"""A whole update in virtual time: charger and firmware server on a SimNet, real TLS and real HTTP between them."""

import asyncio
import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import pytest

from certs import CertsDir, Root, ensure
from cloud_stub.firmware import (
    IMAGE_BYTES,
    Altered,
    FirmwareServer,
    Truncated,
    Unavailable,
    Unsigned,
    WrongSigner,
    build_image,
)
from cloud_stub.https import HttpsServer
from emulator.clock import Rtc, SimLoop
from emulator.device.update import Installed, Rejected, update_firmware
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.faults import Fault
from emulator.flash import MemoryFlash
from emulator.net.http import https_client
from emulator.net.sim import LATENCY_S, SimHost, SimNet
from emulator.net.tls import client_context, server_context
from emulator.profile import Profile, load_profile
from emulator.slots import Slots
from emulator.trace import Recorder, Trace
from emulator.wire.firmware import MANIFEST_MAX_BYTES, UpdateReason

SERIAL, KEY = "ZPR000001", bytes(range(32))
API, DOWNLOADS = "api.zaptec.com", "devices.zaptec.com"
ADDRESSES = {API: "10.20.3.1", DOWNLOADS: "10.20.3.2"}
NEW = "5.4.0.0"
SMALL = 5 * 65_536 + 17


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    return ensure(tmp_path_factory.mktemp("certs") / "made")


@dataclass
class Site:
    """One charger and the firmware server, with everything between them."""

    spec: Spec
    env: Env
    slots: Slots
    server: FirmwareServer
    http: httpx.AsyncClient
    recorder: Recorder
    api: HttpsServer
    downloads: SimHost
    happened: defaultdict[str, asyncio.Event]

    async def update(self) -> Installed | Rejected:
        return await update_firmware(self.spec, self.env, self.http, self.slots)

    def requests(self) -> list[str]:
        return [f"{exchange.request} {exchange.reply}" for exchange in self.server.history]


def _spec(certs: CertsDir, profile: Profile) -> Spec:
    """A charger that trusts every root, and asks nobody for more."""
    return Spec(
        SERIAL,
        KEY,
        profile,
        certs.roots_pem(),
        certs.firmware_public_pem(),
        vendor_root_pem=certs.root_pem(Root.VENDOR),
        bundle_key_pem=certs.bundle_public_pem(),
    )


async def build_site(
    certs: CertsDir,
    *,
    bad_downloads: str | None = None,
    changes: dict[str, Any] | None = None,
    download_host: str = DOWNLOADS,
) -> Site:
    loop = asyncio.get_running_loop()
    net = SimNet(Random(1))
    rtc = Rtc(loop.time, built_at=datetime(2025, 3, 1, tzinfo=UTC))
    recorder = Recorder()
    happened: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    server = FirmwareServer(
        rng=Random(2),
        utc=rtc.now,
        now=loop.time,
        contexts=lambda bad: server_context(*(certs.bad(bad_downloads) if bad_downloads else certs.server(DOWNLOADS))),
        signers={"firmware": certs.firmware_signer(), "foreign": certs.foreign_signer()},
        check=lambda serial, key: (serial, key) == (SERIAL, KEY),
        download_host=download_host,
    )
    downloads = net.host(DOWNLOADS, ADDRESSES[DOWNLOADS])
    await server.start(downloads)
    api = HttpsServer(server.app, server_context(*certs.server(API)))
    await api.start(net.host(API, ADDRESSES[API]))
    profile = load_profile().with_changes(changes or {})
    spec = _spec(certs, profile)
    host: SimHost = net.host(SERIAL, "10.20.16.1")
    flash = MemoryFlash()
    trace = Trace(SERIAL, [recorder, lambda event: happened[event.name].set()], loop.time)
    env = Env(host, rtc, flash, trace, seed="1")

    async def resolve(name: str) -> str:
        if name not in ADDRESSES:
            raise NetError(NetReason.UNREACHABLE, f"{name}: DNS nxdomain")
        return ADDRESSES[name]

    http = https_client(
        host,
        resolve=resolve,
        context=client_context(spec.roots_pem),
        rtc=rtc,
        timeout_s=profile.firmware.http_timeout_s,
    )
    slots = Slots(flash, profile.firmware)
    slots.boot()
    return Site(spec, env, slots, server, http, recorder, api, downloads, happened)


def play(certs: CertsDir, story: Callable[[Site], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        site = await build_site(certs, **options)
        await story(site)
        await site.http.aclose()
        await site.api.stop()
        await site.server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())


def test_eight_mebibytes_arrive_are_verified_and_boot_next(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW)
        assert await site.update() == Installed(NEW)
        image = build_image(NEW).image
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
        assert len(site.requests()) == 3 + 128

    play(certs, story)


@pytest.mark.parametrize("host", ["xn--a.com", "xn--zz--zz.com", "1.2.3.999", "a..b"])
def test_a_host_that_nobody_can_ask_ends_the_update_and_nothing_else(certs: CertsDir, host: str) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW)
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.MALFORMED
        assert {line.split()[0] for line in site.requests()} == {"POST"}

    play(certs, story, download_host=host)


def test_the_signature_is_checked_before_any_byte_of_the_image_is_asked_for(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, signer="foreign")
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.BAD_SIGNATURE
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
        assert isinstance(result, Rejected) and result.reason is UpdateReason.TIMED_OUT
        assert {line.split()[0] for line in site.requests()} == {"POST", "TLS"}
        assert all(event.data["detail"].startswith(reason.value) for event in site.recorder.where("update.retrying"))

    play(certs, story, bad_downloads=kind, changes={"firmware.timeout_s": 30.0})


def test_a_wrong_key_gets_no_location(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.server.offer(NEW, size_bytes=SMALL)
        stranger = replace(site.spec, key=bytes(32))
        result = await update_firmware(stranger, site.env, site.http, site.slots)
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
        package = build_image(NEW, SMALL)
        site.server.offer_package(replace(package, manifest=bytes(4_000_000)))
        result = await site.update()
        assert isinstance(result, Rejected) and result.reason is UpdateReason.TIMED_OUT
        assert f"more than {MANIFEST_MAX_BYTES} bytes" in site.recorder.where("update.retrying")[0].data["detail"]

    play(certs, story, changes={"firmware.timeout_s": 10.0})


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
