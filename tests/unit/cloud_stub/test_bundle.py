"""The bundle server: who gets which version, what it lies, and what it remembers."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certs.issue import root_authority
from cloud_stub.bundle import FIRST_VERSION, PUBLISHED_MAX, BundleServer
from emulator.clock import SimLoop
from emulator.errors import UsageError
from emulator.faults import Fault, fault_from
from emulator.wire.bundle import (
    REPLY_MAX_BYTES,
    Bundle,
    BundleError,
    BundleReason,
    BundleRequest,
    Newest,
    encode_request,
    open_reply,
)
from emulator.wire.firmware_keys import FirmwareKeys, public_pem
from tests.firmware_images import KEY_ID, NEXT
from tests.firmware_images import SIGNER as FIRMWARE_SIGNER

SIGNER, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
KEY_PEM = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SERIAL = "ZPR000001"
FIRMWARE_PEM, NEXT_PEM = (public_pem(key.public_key()) for key in (FIRMWARE_SIGNER, NEXT))


@cache
def roots() -> dict[str, str]:
    old, new = (root_authority(name).pem.decode() for name in ("old", "new"))
    return {"old": old, "new": new, "both": old + new}


async def elsewhere(_request: Request) -> Response:
    return Response("beside")


def server() -> BundleServer:
    return BundleServer(
        rng=Random(1),
        utc=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        now=lambda: 0.0,
        contexts=lambda bad: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        roots=roots(),
        signer=SIGNER,
        foreign_signer=STRANGER,
        firmware_keys={"firmware": FIRMWARE_PEM, "firmware-next": NEXT_PEM},
        beside=[Route("/beside", elsewhere)],
    )


def break_(made: BundleServer, **fault: Any) -> None:
    table: dict[str, type[Fault]] = {each.kind: each for each in made.FAULTS}
    made.inject(fault_from(fault, table))


Client = httpx.AsyncClient


def talk(made: BundleServer, story: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(app=made.app)
        async with Client(transport=transport, base_url="https://devices.zaptec.com") as client:
            await story(client)

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())


def answer(made: BundleServer, body: bytes | None = None, **request: Any) -> httpx.Response:
    """The reply to one request."""
    replies: list[httpx.Response] = []
    said = {"version": 0, "serial": SERIAL, "firmware": "5.3.0.3", **request}
    content = encode_request(BundleRequest(**said)) if body is None else body

    async def story(client: Client) -> None:
        replies.append(await client.post("/bundle", content=content))

    talk(made, story)
    return replies[0]


def opened(reply: httpx.Response) -> Bundle | Newest:
    assert reply.status_code == 200
    return open_reply(reply.content, KEY_PEM)


def test_a_charger_without_a_bundle_gets_the_first_with_the_old_root() -> None:
    assert opened(answer(server())) == Bundle(FIRST_VERSION, roots()["old"])


def test_who_has_the_newest_hears_so_and_gets_no_data() -> None:
    reply = answer(server(), version=FIRST_VERSION)
    assert json.loads(reply.content) == {"ver": FIRST_VERSION}


def test_what_is_published_is_one_version_up_and_what_production_stores() -> None:
    made = server()
    published = [made.publish(contents) for contents in ("both", "new", "old")]
    assert [(each.version, each.contents) for each in published] == [(9, "both"), (10, "new"), (11, "old")]
    assert made.newest is published[-1]
    assert opened(answer(made, version=10)) == Bundle(11, roots()["old"])
    assert answer(made).content == made.newest.reply


def listed(made: BundleServer) -> FirmwareKeys | None:
    bundle = opened(answer(made))
    assert isinstance(bundle, Bundle)
    return bundle.firmware_keys


def test_a_bundle_says_nothing_of_firmware_keys_until_it_is_told_to_and_then_repeats_it() -> None:
    made = server()
    assert listed(made) is None
    made.publish("both", ["firmware", "firmware-next"])
    assert listed(made) == FirmwareKeys((FIRMWARE_PEM, NEXT_PEM), number=1)
    made.publish("new")
    assert listed(made) == FirmwareKeys((FIRMWARE_PEM, NEXT_PEM), number=1)
    made.publish("new", ["firmware", "firmware-next"], ["firmware"])
    assert listed(made) == FirmwareKeys((FIRMWARE_PEM, NEXT_PEM), frozenset({KEY_ID}), 2)


def test_a_list_of_unknown_keys_or_of_none_is_not_published() -> None:
    made = server()
    for known, revoked in ((["nobody"], []), (["firmware"], ["nobody"])):
        with pytest.raises(UsageError, match="firmware key nobody: not known; known are firmware, firmware-next"):
            made.publish("both", known, revoked)
    with pytest.raises(UsageError, match="a list without any key"):
        made.publish("both", [], ["firmware"])
    assert made.newest.version == FIRST_VERSION


def test_any_version_can_be_ordered_and_one_that_never_was_is_ignored() -> None:
    made = server()
    made.publish("new")
    assert opened(answer(made, version=9, override=8)) == Bundle(8, roots()["old"])
    assert opened(answer(made, version=9, override=77)) == Newest(9)


def test_only_so_many_versions_are_kept() -> None:
    made = server()
    for _ in range(PUBLISHED_MAX):
        made.publish("old")
    assert opened(answer(made, version=9, override=FIRST_VERSION)) == Bundle(
        FIRST_VERSION + PUBLISHED_MAX, roots()["old"]
    )
    assert isinstance(opened(answer(made, version=9, override=FIRST_VERSION + 1)), Bundle)


def test_contents_that_there_are_not_are_refused() -> None:
    with pytest.raises(UsageError, match="bundle none: not known; known are both, new, old"):
        server().publish("none")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bundle.bad_signature", BundleReason.BAD_SIGNATURE),
        ("bundle.garbage", BundleReason.MALFORMED),
        ("bundle.empty", BundleReason.EMPTY),
        ("bundle.no_certificates", BundleReason.NO_CERTIFICATES),
    ],
)
def test_each_lie_is_one_that_a_charger_tells_apart(kind: str, reason: BundleReason) -> None:
    made = server()
    break_(made, kind=kind)
    with pytest.raises(BundleError) as caught:
        opened(answer(made, version=FIRST_VERSION))
    assert caught.value.reason == reason


def test_an_oversize_bundle_is_longer_than_a_charger_takes() -> None:
    made = server()
    break_(made, kind="bundle.oversize")
    assert len(answer(made).content) > REPLY_MAX_BYTES


def test_a_stale_server_gives_everybody_the_first_bundle() -> None:
    made = server()
    made.publish("new")
    break_(made, kind="bundle.stale")
    assert opened(answer(made, version=9)) == Bundle(8, roots()["old"])


@pytest.mark.parametrize("status", [302, 404, 503])
def test_an_unavailable_server_says_so(status: int) -> None:
    made = server()
    break_(made, kind="bundle.unavailable", status=status)
    assert answer(made).status_code == status


def test_a_fault_for_one_charger_spares_the_others() -> None:
    made = server()
    break_(made, kind="bundle.empty", who="ZPR000002")
    assert isinstance(opened(answer(made)), Bundle)
    assert answer(made, serial="ZPR000002").content == b""


def test_a_silent_server_takes_the_request_and_says_nothing_until_the_charger_has_gone() -> None:
    made = server()
    break_(made, kind="bundle.silent")

    async def story(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await client.post("/bundle", content=encode_request(BundleRequest(0, SERIAL, "5.3.0.3")))

    talk(made, story)
    assert [(seen.request, seen.reply) for seen in made.history] == [("POST /bundle", "silence")]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"ver":8}', b"x" * 101, b"y" * 100_000])
def test_a_request_that_is_none_gets_400(body: bytes) -> None:
    made = server()
    reply = answer(made, body)
    assert reply.status_code == 400
    assert made.history[-1].reply.startswith("400 ")


def test_the_history_holds_what_the_charger_said_of_itself() -> None:
    made = server()
    answer(made, version=8, error="tls_expired")
    (seen,) = made.history_json()
    assert seen["request"] == "POST /bundle" and seen["reply"] == "200 9 bytes"
    assert seen["data"] == {"serial": SERIAL, "version": 8, "error": "tls_expired"}


def test_the_host_serves_more_than_bundles() -> None:
    async def story(client: Client) -> None:
        assert (await client.get("/beside")).text == "beside"
        assert (await client.get("/bundle")).status_code == 405

    talk(server(), story)


def test_a_wrong_certificate_is_named_for_the_next_connections() -> None:
    made = server()
    assert made.bad_certificate() is None
    break_(made, kind="bundle.certificate", bad="public_root", count=1)
    assert [made.bad_certificate() for _ in range(2)] == ["public_root", None]
