"""The firmware server: where the current image is, and the image in ranges (manual row M6, zaptec.md section 14).

The exchange follows the open Go firmware where that shows it; the container is invented (`emulator.wire.firmware`).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_stub.https import ContextOf, HttpsService, sender_of
from cloud_stub.hub.faults import BadCertificateKind
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Fault
from emulator.wire.firmware import (
    MANIFEST_SUFFIX,
    SIGNATURE_SUFFIX,
    TOTAL_LENGTH_HEADER,
    FirmwareError,
    Location,
    decode_location_request,
    describe,
    encode_location,
    encode_manifest,
    location_path,
    parse_version,
    sign,
)

REQUEST_MAX_BYTES = 4096
IMAGE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 65_536
HARDWARE = "zaptec-pro"

BINARY = "application/octet-stream"

Answer = Callable[[Request], Awaitable[Response]]
CheckKey = Callable[[str, bytes], bool]
"""Whether this serial's key is the one given; compares in constant time."""

_RANGE = re.compile(r"bytes=(\d{0,12})-(\d{0,12})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class BadCertificate(Fault):
    """New connections to the API hosts, which say where the image is, see another certificate."""

    kind: ClassVar[str] = "firmware.certificate"
    bad: BadCertificateKind


@dataclass(frozen=True, kw_only=True)
class WrongSigner(Fault):
    """The signature is made with a key that no charger trusts."""

    kind: ClassVar[str] = "firmware.wrong_signer"


@dataclass(frozen=True, kw_only=True)
class Unsigned(Fault):
    """There is no signature file."""

    kind: ClassVar[str] = "firmware.unsigned"


@dataclass(frozen=True, kw_only=True)
class Altered(Fault):
    """One byte in the middle of the image differs from what was signed."""

    kind: ClassVar[str] = "firmware.altered"


@dataclass(frozen=True, kw_only=True)
class Truncated(Fault):
    """Only the first half of the image is there."""

    kind: ClassVar[str] = "firmware.truncated"


@dataclass(frozen=True, kw_only=True)
class Unavailable(Fault):
    """Every request is answered with HTTP 503."""

    kind: ClassVar[str] = "firmware.unavailable"


@dataclass(frozen=True, slots=True)
class Package:
    """An image with its manifest bytes; the signature is made by whoever hands it out."""

    version: str
    image: bytes = field(repr=False)
    manifest: bytes = field(repr=False)


@lru_cache(maxsize=4)
def build_image(
    version: str,
    size_bytes: int = IMAGE_BYTES,
    *,
    security_counter: int = 1,
    hardware: str = HARDWARE,
    block_bytes: int = BLOCK_BYTES,
) -> Package:
    """An image that stands in for firmware: the same version is always the same bytes. FirmwareError: bad values."""
    label = f"zaptec-pro-emulator {version}\n".encode()
    filler = Random(f"firmware/{version}").randbytes(max(size_bytes - len(label), 0))  # noqa: S311 - only filler
    image = (label + filler)[:size_bytes]
    manifest = describe(
        image, version=version, security_counter=security_counter, hardware=hardware, block_bytes=block_bytes
    )
    return Package(version, image, encode_manifest(manifest))


@dataclass(frozen=True, slots=True)
class _Offer:
    package: Package
    signer: str


class FirmwareServer(HttpsService):
    """Says where the image is, and hands it out; `routes` are for hosts that serve more than this."""

    name: ClassVar[str] = "firmware"
    FAULTS: ClassVar[tuple[type[Fault], ...]] = (BadCertificate, WrongSigner, Unsigned, Altered, Truncated, Unavailable)
    BEFORE_LOGIN: ClassVar[tuple[type[Fault], ...]] = (BadCertificate,)

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        contexts: ContextOf,
        signers: Mapping[str, EllipticCurvePrivateKey],
        check: CheckKey,
        download_host: str,
    ) -> None:
        """`signers` by name: ``firmware`` is the one that chargers trust, ``foreign`` the one they do not."""
        super().__init__(rng=rng, utc=utc, now=now, contexts=contexts, app=Starlette(routes=self.routes()))
        self._signers = dict(signers)
        self._check = check
        self._download_host = download_host
        self._offer: _Offer | None = None

    def bad_certificate(self) -> str | None:
        fault = self.faults.strikes(BadCertificate)
        return fault.bad if fault else None

    def routes(self) -> list[Route]:
        """What is served, for applications that serve more than this."""
        image = "/firmware/{serial}/{version}.bin"
        return [
            Route(location_path("{serial}"), self._recorded(self._locate), methods=["POST"]),
            Route(image + MANIFEST_SUFFIX, self._recorded(self._send_manifest), methods=["GET"]),
            Route(image + SIGNATURE_SUFFIX, self._recorded(self._send_signature), methods=["GET"]),
            Route(image, self._recorded(self._send_image), methods=["GET"]),
        ]

    def offer(self, version: str, *, signer: str = "firmware", size_bytes: int = IMAGE_BYTES) -> None:
        """Hand out this version from now on. UsageError: bad version or size, or no such signer."""
        if signer not in self._signers:
            raise UsageError(f"signer {signer}: not known; known are {', '.join(sorted(self._signers))}")
        try:
            parse_version(version)
            package = build_image(version, size_bytes)
        except FirmwareError as error:
            raise UsageError(f"firmware {version}: {error.detail}") from None
        self.offer_package(package, signer=signer)

    def offer_package(self, package: Package, *, signer: str = "firmware") -> None:
        """Hand out an image of one's own making."""
        self._offer = _Offer(package, signer)

    def _recorded(self, answer: Answer) -> Answer:
        """The same endpoint, with every request and its reply in the history."""

        async def endpoint(request: Request) -> Response:
            try:
                if self.faults.strikes(Unavailable, _serial(request)):
                    raise HTTPException(503, "try again later")
                reply = await answer(request)
            except HTTPException as refusal:
                reply = Response(refusal.detail, refusal.status_code, refusal.headers)
            except ClientDisconnect:
                reply = Response(status_code=400)  # nobody is there to read it
            what = f"{reply.status_code} {len(reply.body)} bytes"
            asked = request.headers.get("range", "")
            self.record(
                sender_of(request), f"{request.method} {request.url.path}", what, serial=_serial(request), range=asked
            )
            return reply

        return endpoint

    async def _locate(self, request: Request) -> Response:
        """Where the current firmware is, for a charger that proves itself by its key."""
        try:
            key = decode_location_request(await _body(request))
        except FirmwareError as error:
            raise HTTPException(400, error.detail) from None
        if not self._check(_serial(request), key):
            raise HTTPException(401, "unknown charger or wrong key")
        if self._offer is None:
            raise HTTPException(404, "no firmware is offered")
        version = self._offer.package.version
        url = f"https://{self._download_host}/firmware/{_serial(request)}/{version}.bin"
        return Response(encode_location(Location(url, version)), media_type="application/json")

    async def _send_manifest(self, request: Request) -> Response:
        return Response(self._offered(request).package.manifest, media_type="application/json")

    async def _send_signature(self, request: Request) -> Response:
        offer, serial = self._offered(request), _serial(request)
        if self.faults.strikes(Unsigned, serial):
            raise HTTPException(404, "no signature")
        signer = "foreign" if self.faults.strikes(WrongSigner, serial) else offer.signer
        return Response(sign(offer.package.manifest, self._signers[signer]), media_type=BINARY)

    async def _send_image(self, request: Request) -> Response:
        image, serial = self._offered(request).package.image, _serial(request)
        total = len(image) // 2 if self.faults.strikes(Truncated, serial) else len(image)
        span = parse_range(request.headers.get("range", ""), total)
        headers = {TOTAL_LENGTH_HEADER: str(total), "Accept-Ranges": "bytes"}
        if span is None:
            raise HTTPException(416, "no such range", headers | {"Content-Range": f"bytes */{total}"})
        body = image[span.start : span.stop]
        middle = len(image) // 2 - span.start
        if 0 <= middle < len(body) and self.faults.strikes(Altered, serial):
            body = body[:middle] + bytes([body[middle] ^ 0x01]) + body[middle + 1 :]
        if "range" not in request.headers:
            return Response(body, 200, headers, media_type=BINARY)
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{total}"
        return Response(body, 206, headers, media_type=BINARY)

    def _offered(self, request: Request) -> _Offer:
        """The offer that the request is about."""
        if self._offer is None or self._offer.package.version != request.path_params["version"]:
            raise HTTPException(404, "no such firmware")
        return self._offer


def _serial(request: Request) -> str:
    return str(request.path_params["serial"])


def parse_range(header: str, total: int) -> range | None:
    """The bytes that a Range header asks for, cut to `total`; None: not satisfiable (RFC 9110 section 14).

    A header that is missing, or not one range of bytes, means everything.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return range(total)
    first, last = match.groups()
    if not first:
        span = range(max(total - int(last), 0), total)
    else:
        span = range(int(first), min(int(last) + 1, total) if last else total)
        if last and int(last) < int(first):
            return range(total)
    return span if span else None


async def _body(request: Request) -> bytes:
    """The body of a request, as long as it is short."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > REQUEST_MAX_BYTES:
            raise HTTPException(413)
    return bytes(body)
