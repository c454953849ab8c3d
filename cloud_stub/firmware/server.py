"""The firmware server: where the current image is, and the image in ranges (manual row M6, zaptec.md section 14).

The exchange follows the open Go firmware where that shows it; the container is invented (`emulator.wire.manifest`).
Every host that has the routes serves all of it: the API under its two names, and the host that images are fetched from.
"""

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import ClassVar, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_stub.firmware.bodies import body
from cloud_stub.firmware.faults import BEFORE_LOGIN, FAULTS, BadCertificate, BadLocation, NoLength, Unavailable
from cloud_stub.firmware.handed import Handed, handed
from cloud_stub.firmware.mischief import Asking, Mischief
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.package import IMAGE_BYTES, Package
from cloud_stub.firmware.ranges import parse_range, part_for
from cloud_stub.firmware.shelf import Shelf, Stock, stock_of
from cloud_stub.https import ContextOf, HttpsService, abort_of, sender_of
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Fault
from emulator.wire.firmware import (
    TOTAL_LENGTH_HEADER,
    Location,
    decode_location_request,
    encode_location,
    location_path,
)
from emulator.wire.manifest import MANIFEST_SUFFIX, SIGNATURE_SUFFIX
from emulator.wire.update_reason import FirmwareError

REQUEST_MAX_BYTES = 4096
HANDED_MAX = 4096
"""Chargers whose last manifest is remembered, so that the signature is over that."""

BINARY, JSON = "application/octet-stream", "application/json"

Answer = Callable[[Request, Asking], Awaitable[Response]]
CheckKey = Callable[[str, bytes], bool]
"""Whether this serial's key is the one given; compares in constant time."""


class Roster(Protocol):
    """Who is offered what by a campaign."""

    def offered(self, serial: str) -> Offer | None:
        """What a charger gets that asks now; None: no campaign is about it."""

    def handed_out(self, serial: str, version: str) -> Offer | None:
        """The release of this version that a charger may fetch because of a campaign."""

    def asked(self, serial: str) -> None:
        """A charger has asked, and was told what `offered` says."""


class Nobody:
    """No campaign is about anybody."""

    def offered(self, serial: str) -> Offer | None:
        return None

    def handed_out(self, serial: str, version: str) -> Offer | None:
        return None

    def asked(self, serial: str) -> None: ...


class FirmwareServer(HttpsService):
    """Says where the image is, and hands it out; `routes` are for hosts that serve more than this."""

    name: ClassVar[str] = "firmware"
    FAULTS: ClassVar[tuple[type[Fault], ...]] = FAULTS
    BEFORE_LOGIN: ClassVar[tuple[type[Fault], ...]] = BEFORE_LOGIN

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
        hosts: Mapping[str, str] | None = None,
        certificates: Mapping[str, str] | None = None,
    ) -> None:
        """`signers` by name: ``firmware`` is the one that chargers are born to trust, ``foreign`` one they never do.

        `certificates`: the PEM of what a CA has issued for some of them.
        `hosts`: what faults call each host, by the name that clients call it.
        """
        super().__init__(rng=rng, utc=utc, now=now, contexts=contexts, app=Starlette(routes=self.routes()))
        self.shelf = Shelf(signers, certificates)
        self.roster: Roster = Nobody()
        self._check = check
        self._download_host = download_host
        self._hosts = dict(hosts or {})
        self._stock: Stock | None = None
        self._handed: dict[str, Handed] = {}
        self._mischief = Mischief(self.faults, self.shelf, utc)

    def bad_certificate(self) -> str | None:
        return self.bad_certificate_at("api")

    def bad_certificate_at(self, host: str) -> str | None:
        """What is wrong with the certificate that the next connection to one of the hosts sees; None: nothing."""
        wanted = (host,) if host == "devices" else ("*", host)
        fault = self.faults.strikes(BadCertificate, when=lambda fault: fault.host in wanted)
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

    def offer(
        self,
        version: str,
        *,
        signer: str = "firmware",
        size_bytes: int = IMAGE_BYTES,
        security_counter: int = 1,
    ) -> None:
        """Hand out this version from now on to chargers that no campaign is about.

        UsageError: bad version or size, or no such signer.
        """
        self.hand_out(Offer(version, signer, size_bytes, security_counter))

    def hand_out(self, offer: Offer) -> Stock:
        """The same for any offer; what it comes to. UsageError as `Shelf.get`."""
        self._stock = self.shelf.renew(offer)
        return self._stock

    def offer_package(self, package: Package, *, signer: str = "firmware") -> None:
        """The same with an image of one's own making."""
        self._stock = stock_of(package, signer)

    def _recorded(self, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers so, with every request and its reply in the history."""

        async def endpoint(request: Request) -> Response:
            who = self._asking(request)
            try:
                if self._mischief.strikes(Unavailable, who):
                    raise HTTPException(503, "try again later")
                reply = await answer(request, who)
            except HTTPException as refusal:
                reply = Response(refusal.detail, refusal.status_code, refusal.headers)
            except ClientDisconnect:
                reply = Response(status_code=400)  # nobody is there to read it
            what = f"{reply.status_code} {reply.headers.get('content-length', 'endless')} bytes"
            asked = request.headers.get("range", "")
            self.record(
                sender_of(request), f"{request.method} {request.url.path}", what, serial=who.serial, range=asked
            )
            return reply

        return endpoint

    async def _locate(self, request: Request, who: Asking) -> Response:
        """Where the current firmware is, for a charger that proves itself by its key."""
        try:
            key = decode_location_request(await _body(request))
        except FirmwareError as error:
            raise HTTPException(400, error.detail) from None
        if not self._check(who.serial, key):
            raise HTTPException(401, "unknown charger or wrong key")
        version = self._offered_version(who.serial)
        self.roster.asked(who.serial)
        if version is None:
            raise HTTPException(404, "no firmware is offered")
        if fault := self._mischief.strikes(BadLocation, who):
            return Response(fault.text, media_type=JSON)
        detour = self._mischief.detour(who, "location", self._download_host)
        begin = detour[0] if detour else f"https://{self._download_host}"
        url = f"{begin}/firmware/{who.serial}/{version}.bin"
        return Response(encode_location(Location(url, version)), media_type=JSON)

    async def _send_manifest(self, request: Request, who: Asking) -> Response:
        stock = self._stock_for(request, who)
        given = self._mischief.papers(stock, who)
        self._handed.pop(who.serial, None)
        self._handed[who.serial] = given
        if len(self._handed) > HANDED_MAX:
            del self._handed[next(iter(self._handed))]
        return Response(given.manifest, media_type=JSON)

    async def _send_signature(self, request: Request, who: Asking) -> Response:
        stock = self._stock_for(request, who)
        given = self._handed.get(who.serial) or handed(stock)
        signer = self._mischief.signer(given, who)
        signature = given.signature(signer, self.shelf) if signer else b""
        if not signature:
            raise HTTPException(404, "no signature")
        return Response(signature, media_type=BINARY)

    async def _send_image(self, request: Request, who: Asking) -> Response:
        stock = self._stock_for(request, who)
        image = self._mischief.image(stock, who)
        begin = parse_range(request.headers.get("range", ""), image.size_bytes)
        image = self._mischief.swapped(image, stock, begin.start if begin else 0, who)
        part = part_for(request.headers, image.etag, image.size_bytes)
        headers = dict(part.headers)
        if not self._mischief.strikes(NoLength, who):
            headers[TOTAL_LENGTH_HEADER] = str(image.size_bytes)
        if not part.span:
            return Response(status_code=part.status, headers=headers)
        image, span = self._mischief.part(image, part.span, who)
        manner = self._mischief.manner(who, abort_of(request))
        return body(part.status, headers, span, image.read, manner)

    def _offered_version(self, serial: str) -> str | None:
        if offer := self.roster.offered(serial):
            return offer.version
        return self._stock.version if self._stock else None

    def _stock_for(self, request: Request, who: Asking) -> Stock:
        """The package that a request for a file is about. HTTPException: it is none, or a fault sends it elsewhere."""
        version = str(request.path_params["version"])
        offer = self.roster.handed_out(who.serial, version)
        try:
            stock = self.shelf.get(offer) if offer else self._stock
        except UsageError as gone:  # files that were good when the campaign began
            raise HTTPException(404, str(gone)) from None
        if stock is None or stock.version != version:
            raise HTTPException(404, "no such firmware")
        if detour := self._mischief.detour(who, "redirect", self._download_host):
            begin, status = detour
            raise HTTPException(status, "elsewhere", {"Location": f"{begin}{request.url.path}"})
        return stock

    def _asking(self, request: Request) -> Asking:
        host = self._hosts.get((request.url.hostname or "").lower(), "")
        return Asking(str(request.path_params["serial"]), host)


async def _body(request: Request) -> bytes:
    """The body of a request, as long as it is short."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > REQUEST_MAX_BYTES:
            raise HTTPException(413)
    return bytes(data)
