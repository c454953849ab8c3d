"""Runs a firmware update: HTTPS and flash around the decisions of `machines.updater` (manual row M6).

Where zaptec.md section 14 leaves the exchange open it is invented: the location request carries the key as JSON; the
manifest and the signature lie beside the image; the last range asks for what is left, not for a byte more.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from emulator.device.download import Download, Pace
from emulator.device.update_requests import FetchError, Requests
from emulator.env import Env, Spec
from emulator.flash.api import FlashError
from emulator.machines.update_steps import (
    Arrived,
    Described,
    Event,
    Failed,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Inspect,
    Install,
    Kept,
    Located,
    Refused,
    Reject,
    Step,
    Stored,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.machines.updater import PassedOver, Updater
from emulator.machines.updater_go import GoUpdater
from emulator.slots import Image, Slots
from emulator.wire.firmware import (
    LOCATION_MAX_BYTES,
    Location,
    decode_location,
    encode_location_request,
    location_path,
)
from emulator.wire.firmware_keys import SIGNATURE_MAX_BYTES, FirmwareKeys
from emulator.wire.manifest import MANIFEST_MAX_BYTES, MANIFEST_SUFFIX, SIGNATURE_SUFFIX, Manifest
from emulator.wire.manifest_fit import Running
from emulator.wire.update_reason import FirmwareError, UpdateReason

PROGRESS_BLOCKS = 16


@dataclass(frozen=True, slots=True)
class Installed:
    """The image is in the other slot and boots next."""

    version: str
    passed_over: tuple[PassedOver, ...] = ()
    """What was not accepted on the way."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The running firmware stays. `version` is that of the image, if it came so far."""

    reason: UpdateReason
    detail: str
    version: str = ""
    passed_over: tuple[PassedOver, ...] = ()


async def update_firmware(
    spec: Spec,
    env: Env,
    http: httpx.AsyncClient,
    slots: Slots,
    keys: FirmwareKeys,
    charging: Callable[[], bool] = lambda: False,
) -> Installed | Rejected:
    """Fetch, check and install what the cloud offers now, if one of `keys` has signed it.

    It never reboots, and takes `timeout_s` at most. While `charging` says so it leaves room for other traffic.
    """
    env.trace.emit("update.started", version=slots.running.version, slot=slots.inactive)
    if slots.pending:
        return _rejected(env, Reject(UpdateReason.UNCONFIRMED, f"{slots.running.version} is not confirmed yet"))
    firmware, network = spec.profile.firmware, spec.profile.network
    hosts = (network.api_host, network.devices_host, network.old_api_host)
    requests = Requests(http, hosts, firmware.block_timeout_s)
    update = _Update(spec, env, slots, requests, Pace(firmware.charging_bytes_per_s, charging))
    running = Running(
        version=slots.running.version,
        security_counter=slots.counter,
        hardware=firmware.hardware,
        serial=spec.serial,
        slot_bytes=firmware.slot_bytes,
        block_bytes=firmware.block_bytes,
    )
    go = firmware.updater == "go"
    updater = GoUpdater(firmware, hosts[:1], running, keys) if go else Updater(firmware, hosts, running, keys)
    end = await update.run(updater)
    if isinstance(end, Install):
        end = update.install(end.manifest)
    if isinstance(end, Reject):
        update.forget(end)
        return _rejected(env, end, update.version, tuple(updater.passed_over))
    env.trace.emit("update.installed", version=end.manifest.version, slot=slots.inactive)
    return Installed(end.manifest.version, tuple(updater.passed_over))


def _image_of(manifest: Manifest) -> Image:
    components, sha256 = manifest.versions(), manifest.sha256.hex()
    return Image(manifest.version, manifest.security_counter, components, manifest.size_bytes, sha256)


def _rejected(env: Env, end: Reject, version: str = "", passed_over: tuple[PassedOver, ...] = ()) -> Rejected:
    env.trace.emit("update.rejected", reason=end.reason.value, detail=end.detail)
    return Rejected(end.reason, end.detail, version, passed_over)


class _Update:
    """Does what the steps of one update say."""

    def __init__(self, spec: Spec, env: Env, slots: Slots, requests: Requests, pace: Pace) -> None:
        self._spec = spec
        self._env = env
        self._slots = slots
        self._blob = slots.blob(slots.inactive)
        self._requests = requests
        self._download = Download(requests, spec.profile.firmware, pace)
        self._touched = False
        self.version = ""
        """Of the image that is being fetched; empty before it is known."""

    async def run(self, updater: Updater) -> Install | Reject:
        loop = asyncio.get_running_loop()
        step = updater.start(loop.time())
        try:
            while not isinstance(step, Install | Reject):
                event = await self._answer_in_time(step, updater.deadline())
                step = updater.handle(event, loop.time())
                self._tell(step, event)
        finally:
            await self._download.close()
        return step

    def install(self, manifest: Manifest) -> Install | Reject:
        """Have the image boot next; Reject if flash cannot remember that."""
        try:
            self._slots.install(_image_of(manifest))
        except FlashError as error:
            return Reject(UpdateReason.FLASH, str(error))
        return Install(manifest)

    def forget(self, end: Reject) -> None:
        """Empty the slot, unless what it holds is good and the next try can go on from there."""
        if not self._touched or end.reason in (UpdateReason.TIMED_OUT, UpdateReason.TOO_SLOW, UpdateReason.TLS):
            return
        try:
            self._env.flash.blob_erase(self._blob)
        except FlashError as error:
            self._env.trace.emit("update.not_erased", detail=str(error))

    async def _answer_in_time(self, step: Step, deadline: float) -> Event:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._answer(step)
        except TimeoutError:
            return Failed("the last step was still going on")
        except FetchError as error:
            return error.event
        except FlashError as error:
            return Refused(UpdateReason.FLASH, str(error))

    async def _answer(self, step: Step) -> Event:
        match step:
            case FetchLocation(host):
                return await self._locate(host)
            case FetchManifest(location):
                return await self._describe(location)
            case Inspect(_, manifest):
                return Kept(await self._inspect(manifest))
            case FetchBlock():
                return await self._download.block(step)
            case WriteBlock(block, data):
                self._env.flash.blob_write(self._blob, block.first, data)
                return Stored()
            case Verify(manifest):
                return Hashed(await self._hash(manifest))
            case Wait(until):
                await asyncio.sleep(until - asyncio.get_running_loop().time())
                return Waited()
            case Install() | Reject():
                raise AssertionError("the update is over")

    def _tell(self, step: Step, event: Event) -> None:
        trace = self._env.trace
        match event, step:
            case Described(), Inspect(_, manifest):
                self.version = manifest.version
                trace.emit("update.manifest", version=manifest.version, size_bytes=manifest.size_bytes)
            case Kept(blocks), (FetchBlock() | Verify()) if blocks:
                trace.emit("update.resumed", blocks=blocks)
            case Arrived(), WriteBlock(block) if (block.index + 1) % PROGRESS_BLOCKS == 0:
                trace.emit("update.progress", done_bytes=block.last + 1, size_bytes=block.manifest.size_bytes)
            case Failed(detail), Wait():
                trace.emit("update.retrying", detail=detail)
            case Refused(reason, detail), FetchLocation(host):
                trace.emit("update.passed_over", reason=reason.value, detail=detail, next=host)
            case Hashed(), Install(manifest):
                trace.emit("update.verified", version=manifest.version, sha256=manifest.sha256.hex())

    async def _locate(self, host: str) -> Event:
        url = f"https://{host}:{self._spec.profile.network.https_port}{location_path(self._spec.serial)}"
        reply = await self._requests.ask("POST", url, LOCATION_MAX_BYTES, json=encode_location_request(self._spec.key))
        try:
            location = decode_location(reply.body)
        except FirmwareError as error:
            return Refused(error.reason, error.detail)
        self._requests.check(location.download_url)
        return Located(location)

    async def _describe(self, location: Location) -> Event:
        manifest = await self._requests.ask("GET", location.download_url + MANIFEST_SUFFIX, MANIFEST_MAX_BYTES)
        signature = await self._requests.ask(
            "GET", location.download_url + SIGNATURE_SUFFIX, SIGNATURE_MAX_BYTES, or_else=httpx.codes.NOT_FOUND
        )
        signed = signature.body if signature.status == httpx.codes.OK else b""
        return Described(manifest.body, signed, self._env.rtc.now())

    async def _inspect(self, manifest: Manifest) -> int:
        """How many blocks the slot holds, if all of them are good and nothing else is there; else it is emptied."""
        self._touched = True
        self._slots.discard()
        flash, size = self._env.flash, self._env.flash.blob_size(self._blob)
        whole, rest = divmod(size, manifest.block_bytes)
        blocks = len(manifest.blocks) if size == manifest.size_bytes else whole
        good = size <= manifest.size_bytes and (not rest or size == manifest.size_bytes)
        for index in range(blocks if good else 0):
            data = flash.blob_read(self._blob, index * manifest.block_bytes, manifest.block_bytes)
            good = good and hashlib.sha256(data).digest() == manifest.blocks[index]
            await asyncio.sleep(0)
        if good:
            return blocks
        flash.blob_erase(self._blob)
        return 0

    async def _hash(self, manifest: Manifest) -> bytes:
        """SHA-256 of the image as it lies in flash, with a pause for others at every block."""
        digest = hashlib.sha256()
        for offset in range(0, manifest.size_bytes, manifest.block_bytes):
            digest.update(self._env.flash.blob_read(self._blob, offset, manifest.block_bytes))
            await asyncio.sleep(0)
        return digest.digest()
