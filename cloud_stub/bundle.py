"""The trust bundle server: which roots chargers are to accept (zaptec.md section 5).

A charger says which bundle it has and gets the newest, signed, or hears that it has it. With ``override`` it gets the
version that it names. Every version that was published is kept, up to `PUBLISHED_MAX`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_stub.bundle_faults import (
    BEFORE_LOGIN,
    FAULTS,
    BadCertificate,
    BadSignature,
    Empty,
    Garbage,
    NoCertificates,
    Oversize,
    Silent,
    Stale,
    Unavailable,
)
from cloud_stub.https import ContextOf, HttpsService, sender_of
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Fault
from emulator.wire.bundle import (
    PATH,
    REPLY_MAX_BYTES,
    REQUEST_MAX_BYTES,
    BundleError,
    BundleRequest,
    decode_request,
    encode_reply,
    sign,
)
from emulator.wire.firmware_keys import FirmwareKeys, encode_keys, key_id, load_public_key

FIRST_VERSION = 8
"""What a Pro of 2025 reported as 823."""
PUBLISHED_MAX = 64


@dataclass(frozen=True, slots=True)
class Published:
    """One version of the bundle."""

    version: int
    contents: str
    data: str = field(repr=False)
    """What is signed: the roots, and which keys may sign firmware."""
    reply: bytes = field(repr=False)
    """The whole reply that carries it; also what production stores in a charger."""


class BundleServer(HttpsService):
    """Serves ``POST /bundle``, and `beside` it whatever else its host has."""

    name: ClassVar[str] = "bundle"
    FAULTS: ClassVar[tuple[type[Fault], ...]] = FAULTS
    BEFORE_LOGIN: ClassVar[tuple[type[Fault], ...]] = BEFORE_LOGIN

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        contexts: ContextOf,
        roots: Mapping[str, str],
        signer: EllipticCurvePrivateKey,
        foreign_signer: EllipticCurvePrivateKey,
        firmware_keys: Mapping[str, str],
        beside: Sequence[Route] = (),
    ) -> None:
        """`roots`: the PEM of each choice of contents; the first version has ``old``.

        `firmware_keys`: the public PEM of each key that may be named in a list of those that sign firmware.
        """
        routes = [Route(PATH, self._answer, methods=["POST"]), *beside]
        super().__init__(rng=rng, utc=utc, now=now, contexts=contexts, app=Starlette(routes=routes))
        self._roots = roots
        self._signer = signer
        self._foreign_signer = foreign_signer
        self._firmware_pems = firmware_keys
        self._firmware_keys: FirmwareKeys | None = None
        self._published: dict[int, Published] = {}
        self._first = self.publish("old")

    @property
    def newest(self) -> Published:
        """What chargers get."""
        return next(reversed(self._published.values()))

    def publish(self, contents: str, firmware_keys: Sequence[str] = (), revoked: Sequence[str] = ()) -> Published:
        """Make a bundle with these roots the newest version. UsageError: no such contents, or no such key.

        With `firmware_keys` it lists them as those that may sign firmware, without those that are `revoked`; later
        bundles repeat the list until there is another one.
        """
        if contents not in self._roots:
            raise UsageError(f"bundle {contents}: not known; known are {', '.join(sorted(self._roots))}")
        if firmware_keys or revoked:
            self._firmware_keys = self._listed(firmware_keys, revoked)
        version = self.newest.version + 1 if self._published else FIRST_VERSION
        data = self._roots[contents] + (encode_keys(self._firmware_keys) if self._firmware_keys else "")
        reply = encode_reply(version, data, sign(data, self._signer))
        self._published[version] = Published(version, contents, data, reply)
        if len(self._published) > PUBLISHED_MAX:
            del self._published[next(iter(self._published))]
        return self.newest

    def _listed(self, known: Sequence[str], revoked: Sequence[str]) -> FirmwareKeys:
        """The list after the last one. UsageError: it has no keys, or unknown ones."""
        if strangers := {*known, *revoked} - self._firmware_pems.keys():
            there_are = ", ".join(sorted(self._firmware_pems))
            raise UsageError(f"firmware key {min(strangers)}: not known; known are {there_are}")
        if not known:
            raise UsageError("firmware_keys: a list without any key would end all updates")
        ids = frozenset(key_id(load_public_key(self._firmware_pems[name])) for name in revoked)
        number = self._firmware_keys.number + 1 if self._firmware_keys else 1
        return FirmwareKeys(tuple(self._firmware_pems[name] for name in known), ids, number)

    def bad_certificate(self) -> str | None:
        fault = self.faults.strikes(BadCertificate)
        return fault.bad if fault else None

    async def _answer(self, request: Request) -> Response:
        try:
            asked = decode_request(await _body(request))
        except BundleError as error:
            return self._recorded(request, None, Response(error.detail, 400))
        except ClientDisconnect:
            return self._recorded(request, None, Response(status_code=400))  # nobody is there to read it
        if self.faults.strikes(Silent, asked.serial):
            self._recorded(request, asked, Response(status_code=200), said="silence")
            await _until_gone(request)
            return Response(status_code=408)  # nobody is there to read it
        return self._recorded(request, asked, self._reply(asked))

    def _reply(self, asked: BundleRequest) -> Response:
        if fault := self.faults.strikes(Unavailable, asked.serial):
            return Response("try again later", fault.status)
        if self.faults.strikes(Garbage, asked.serial):
            return Response("<html><body>Please log in</body></html>", media_type="text/html")
        if self.faults.strikes(Empty, asked.serial):
            return Response(b"")
        return Response(self._bundle_for(asked), media_type="application/json")

    def _bundle_for(self, asked: BundleRequest) -> bytes:
        newest, faults = self.newest, self.faults
        if faults.strikes(Stale, asked.serial):
            return self._first.reply
        if faults.strikes(BadSignature, asked.serial):
            return self._lie(newest.data, self._foreign_signer)
        if faults.strikes(Oversize, asked.serial):
            return self._lie(newest.data + "\n" * REPLY_MAX_BYTES, self._signer)
        if faults.strikes(NoCertificates, asked.serial):
            return self._lie("There are no certificates here.\n", self._signer)
        if asked.override in self._published:
            return self._published[asked.override].reply
        return newest.reply if asked.version < newest.version else encode_reply(newest.version, None)

    def _lie(self, data: str, signer: EllipticCurvePrivateKey) -> bytes:
        return encode_reply(self.newest.version + 1, data, sign(data, signer))

    def _recorded(
        self, request: Request, asked: BundleRequest | None, reply: Response, *, said: str | None = None
    ) -> Response:
        """The reply, with the exchange in the history."""
        data = {} if asked is None else {"serial": asked.serial, "version": asked.version, "error": asked.error}
        what = said or f"{reply.status_code} {len(bytes(reply.body))} bytes"
        self.record(sender_of(request), f"POST {PATH}", what, **data)
        return reply


async def _body(request: Request) -> bytes:
    """The body of a request, cut off when it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > REQUEST_MAX_BYTES:
            break  # too long whatever follows
    return bytes(body)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
