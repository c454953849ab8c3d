"""Runs a firmware update: HTTPS and flash around the decisions of `machines.updater` (manual row M6).

Where zaptec.md section 14 leaves the exchange open it is invented: the location request carries the key as JSON; the
manifest and the signature lie beside the image; the last range asks for what is left, not for a byte more.
"""

import asyncio
import hashlib
from dataclasses import dataclass

import httpx

from emulator.env import Env, Spec
from emulator.errors import EmulatorError
from emulator.machines.updater import (
    Arrived,
    Described,
    Event,
    Failed,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Install,
    Located,
    Refused,
    Reject,
    Step,
    Stored,
    Updater,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.net.http import net_error_of
from emulator.slots import Slots
from emulator.wire.firmware import (
    LOCATION_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    MANIFEST_SUFFIX,
    SIGNATURE_BYTES,
    SIGNATURE_SUFFIX,
    TOTAL_LENGTH_HEADER,
    FirmwareError,
    Location,
    Manifest,
    Running,
    UpdateReason,
    decode_location,
    encode_location_request,
    location_path,
)

PROGRESS_BLOCKS = 16
FINAL_STATUSES = frozenset({400, 401, 403, 404, 410})
"""Asking again gives the same answer."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The image is in the other slot and boots next."""

    version: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The running firmware stays."""

    reason: UpdateReason
    detail: str


async def update_firmware(spec: Spec, env: Env, http: httpx.AsyncClient, slots: Slots) -> Installed | Rejected:
    """Fetch, check and install what the cloud offers now. It never reboots, and takes `timeout_s` at most."""
    env.trace.emit("update.started", version=slots.running.version, slot=slots.inactive)
    if slots.pending:
        return _reject(env, UpdateReason.UNCONFIRMED, f"{slots.running.version} is not confirmed yet")
    slots.discard()
    update = _Update(spec, env, http, slots.blob(slots.inactive))
    firmware = spec.profile.firmware
    running = Running(
        version=slots.running.version,
        security_counter=slots.counter,
        hardware=firmware.hardware,
        slot_bytes=firmware.slot_bytes,
        block_bytes=firmware.block_bytes,
    )
    match await update.run(Updater(firmware, running, spec.firmware_key_pem)):
        case Install(manifest):
            slots.install(manifest.version, manifest.security_counter)
            env.trace.emit("update.installed", version=manifest.version, slot=slots.inactive)
            return Installed(manifest.version)
        case Reject(reason, detail):
            env.flash.blob_erase(slots.blob(slots.inactive))
            return _reject(env, reason, detail)


def _reject(env: Env, reason: UpdateReason, detail: str) -> Rejected:
    env.trace.emit("update.rejected", reason=reason.value, detail=detail)
    return Rejected(reason, detail)


@dataclass(frozen=True, slots=True)
class _Reply:
    """One HTTP reply, read as a whole."""

    status: int
    total_bytes: str
    body: bytes


class _FetchError(EmulatorError):
    """No usable reply. Becomes the event `Failed` or `Refused`."""

    def __init__(self, event: Failed | Refused) -> None:
        super().__init__(event.detail)
        self.event = event


class _Update:
    """Does what the steps of one update say."""

    def __init__(self, spec: Spec, env: Env, http: httpx.AsyncClient, blob: str) -> None:
        self._spec = spec
        self._env = env
        self._http = http
        self._blob = blob

    async def run(self, updater: Updater) -> Install | Reject:
        loop = asyncio.get_running_loop()
        self._env.flash.blob_erase(self._blob)
        step = updater.start(loop.time())
        while not isinstance(step, Install | Reject):
            event = await self._answer_in_time(step, updater.deadline())
            step = updater.handle(event, loop.time())
            self._tell(step, event)
        return step

    async def _answer_in_time(self, step: Step, deadline: float) -> Event:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._answer(step)
        except TimeoutError:
            return Failed("the last step was still going on")
        except _FetchError as error:
            return error.event

    async def _answer(self, step: Step) -> Event:
        match step:
            case FetchLocation():
                return await self._locate()
            case FetchManifest(location):
                return await self._describe(location)
            case FetchBlock():
                return await self._fetch(step)
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
            case Described(), FetchBlock(manifest=manifest):
                trace.emit("update.manifest", version=manifest.version, size_bytes=manifest.size_bytes)
            case Arrived(), WriteBlock(block) if (block.index + 1) % PROGRESS_BLOCKS == 0:
                trace.emit("update.progress", done_bytes=block.last + 1, size_bytes=block.manifest.size_bytes)
            case Failed(detail), Wait():
                trace.emit("update.retrying", detail=detail)
            case Hashed(), Install(manifest):
                trace.emit("update.verified", version=manifest.version, sha256=manifest.sha256.hex())

    async def _locate(self) -> Event:
        network = self._spec.profile.network
        url = f"https://{network.api_host}:{network.https_port}{location_path(self._spec.serial)}"
        request = self._request("POST", url, content=encode_location_request(self._spec.key))
        request.headers["Content-Type"] = "application/json"
        reply = await self._ask(request, LOCATION_MAX_BYTES, expect=200)
        try:
            return Located(decode_location(reply.body))
        except FirmwareError as error:
            return Refused(error.reason, error.detail)

    async def _describe(self, location: Location) -> Event:
        manifest = self._request("GET", location.download_url + MANIFEST_SUFFIX)
        described = await self._ask(manifest, MANIFEST_MAX_BYTES, expect=200)
        signature = self._request("GET", location.download_url + SIGNATURE_SUFFIX)
        signed = await self._ask(signature, SIGNATURE_BYTES, expect=200, or_else=404)
        return Described(described.body, signed.body if signed.status == 200 else b"")

    async def _fetch(self, block: FetchBlock) -> Event:
        request = self._request("GET", block.location.download_url)
        request.headers["Range"] = f"bytes={block.first}-{block.last}"
        reply = await self._ask(request, block.manifest.block_bytes, expect=206)
        if not (reply.total_bytes.isascii() and reply.total_bytes.isdigit() and len(reply.total_bytes) <= 12):
            return Failed(f"no {TOTAL_LENGTH_HEADER}")
        return Arrived(reply.body, int(reply.total_bytes))

    async def _hash(self, manifest: Manifest) -> bytes:
        """SHA-256 of the image as it lies in flash, with a pause for others at every block."""
        digest = hashlib.sha256()
        for offset in range(0, manifest.size_bytes, manifest.block_bytes):
            digest.update(self._env.flash.blob_read(self._blob, offset, manifest.block_bytes))
            await asyncio.sleep(0)
        return digest.digest()

    def _request(self, method: str, url: str, content: bytes | None = None) -> httpx.Request:
        """A request for the identity encoding. _FetchError: an address that HTTP cannot ask, whatever its syntax."""
        try:
            return self._http.build_request(method, url, content=content, headers={"Accept-Encoding": "identity"})
        except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: httpx lets those of IDNA pass
            raise _FetchError(Refused(UpdateReason.MALFORMED, str(error))) from None

    async def _ask(
        self, request: httpx.Request, limit_bytes: int, *, expect: int, or_else: int | None = None
    ) -> _Reply:
        """The reply to a request, if it has one of the expected statuses and is not too long. Else _FetchError."""
        try:
            reply = await self._exchange(request, limit_bytes)
        except httpx.TransportError as error:
            raise _FetchError(Failed(str(net_error_of(error) or error))) from None
        if reply.status in (expect, or_else):
            return reply
        detail = f"HTTP {reply.status} for {request.method} {request.url.path}"
        if reply.status in FINAL_STATUSES:
            raise _FetchError(Refused(UpdateReason.REFUSED, detail))
        raise _FetchError(Failed(detail))

    async def _exchange(self, request: httpx.Request, limit_bytes: int) -> _Reply:
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for part in response.aiter_raw():
                body += part
                if len(body) > limit_bytes:
                    raise _FetchError(Failed(f"a reply of more than {limit_bytes} bytes for {request.url.path}"))
            return _Reply(response.status_code, response.headers.get(TOTAL_LENGTH_HEADER, ""), bytes(body))
        finally:
            await response.aclose()
