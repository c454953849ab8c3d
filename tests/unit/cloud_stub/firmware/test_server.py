"""The firmware server's answers, asked through its ASGI application."""

import asyncio
import base64
import hmac
import json
import ssl
from datetime import UTC, datetime
from random import Random

import httpx
import pytest

from certs.layout import CertsDir
from cloud_stub.firmware.faults import Altered, Truncated, Unavailable, Unsigned, WrongSigner
from cloud_stub.firmware.package import Release, build_image
from cloud_stub.firmware.server import FirmwareServer
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError, NetReason, UsageError
from emulator.net.api import Address
from emulator.net.sim import SimNet
from emulator.net.tls import client_context, server_context, tls_connect
from emulator.wire.firmware import Location, decode_location, encode_location_request
from emulator.wire.firmware_keys import verify
from emulator.wire.payload import check_block
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import KEY_ID, SIGNER, STRANGER
from tests.firmware_images import KEYS as TRUSTED

KEYS = {"ZPR000001": bytes(range(32)), "ZPR000002": bytes(32)}
SIZE = 4 * 65_536 + 200
RELEASE = Release("5.4.0.0", KEY_ID)
LOCATION = "/api/firmware/ZPR000001/current"
IMAGE = "/firmware/ZPR000001/5.4.0.0.bin"


def server(*, offers: bool = True, context: ssl.SSLContext | None = None) -> FirmwareServer:
    made = FirmwareServer(
        rng=Random(1),
        utc=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        now=lambda: 0.0,
        contexts=lambda bad: context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        signers={"firmware": SIGNER, "foreign": STRANGER},
        check=lambda serial, key: hmac.compare_digest(KEYS.get(serial, b""), key),
        download_host="devices.zaptec.com",
    )
    if offers:
        made.offer("5.4.0.0", size_bytes=SIZE)
    return made


def ask(service: FirmwareServer, method: str, path: str, content: bytes = b"", **headers: str) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(service.app, client=("10.20.16.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="https://api.zaptec.com") as client:
            return await client.request(method, path, content=content, headers=headers)

    return asyncio.run(main())


def test_a_charger_that_proves_itself_is_told_where_the_firmware_is() -> None:
    reply = ask(server(), "POST", LOCATION, encode_location_request(KEYS["ZPR000001"]))
    assert decode_location(reply.content) == Location(f"https://devices.zaptec.com{IMAGE}", "5.4.0.0")
    assert json.loads(reply.content).keys() == {"DownloadUrl", "Version"}


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (LOCATION, encode_location_request(KEYS["ZPR000002"]), 401),
        ("/api/firmware/ZPR999999/current", encode_location_request(KEYS["ZPR000001"]), 401),
        (LOCATION, b"psk=AAAA", 400),
        (LOCATION, b"", 400),
        (LOCATION, b"\xff" * 100, 400),
        (LOCATION, b" " * 5000, 413),
    ],
)
def test_others_are_turned_away(path: str, content: bytes, status: int) -> None:
    service = server()
    assert ask(service, "POST", path, content).status_code == status
    assert service.history_json()[0]["reply"].startswith(str(status))


def test_without_an_offer_there_is_nothing_to_find() -> None:
    service = server(offers=False)
    assert ask(service, "POST", LOCATION, encode_location_request(KEYS["ZPR000001"])).status_code == 404
    assert ask(service, "GET", IMAGE).status_code == 404


def test_only_the_offered_version_is_there() -> None:
    service = server()
    assert ask(service, "GET", "/firmware/ZPR000001/5.3.0.3.bin").status_code == 404
    assert ask(service, "GET", "/firmware/ZPR000001/5.4.0.0.bin.torrent").status_code == 404
    assert ask(service, "GET", LOCATION).status_code == 405


def test_the_image_comes_in_ranges_that_fit_the_signed_manifest() -> None:
    service = server()
    manifest_bytes, signature = (ask(service, "GET", IMAGE + suffix).content for suffix in (".manifest", ".sig"))
    manifest = verify(manifest_bytes, signature, TRUSTED)
    spans = []
    for index in range(5):
        first = index * 65_536
        reply = ask(service, "GET", IMAGE, Range=f"bytes={first}-{first + 65_535}")
        assert reply.status_code == 206
        assert reply.headers["X-Total-Content-Length"] == str(SIZE)
        check_block(manifest, index, reply.content)
        spans.append(reply.headers["Content-Range"])
    assert spans == [f"bytes {first}-{min(first + 65_535, SIZE - 1)}/{SIZE}" for first in range(0, SIZE, 65_536)]


def test_without_a_range_the_whole_image_comes() -> None:
    reply = ask(server(), "GET", IMAGE)
    assert (reply.status_code, reply.content) == (200, build_image(RELEASE, SIZE).image)
    assert "Content-Range" not in reply.headers


def test_a_range_behind_the_end_is_not_satisfiable() -> None:
    reply = ask(server(), "GET", IMAGE, Range=f"bytes={SIZE}-")
    assert reply.status_code == 416
    assert reply.headers["Content-Range"] == f"bytes */{SIZE}"


def test_each_fault_spoils_one_thing_and_only_for_its_charger() -> None:
    service = server()
    good = {path: ask(service, "GET", path).content for path in (IMAGE, IMAGE + ".manifest", IMAGE + ".sig")}
    for fault in (WrongSigner, Unsigned, Altered, Truncated):
        undo = service.inject(fault(who="ZPR000001"))
        spoiled = {path for path, content in good.items() if ask(service, "GET", path).content != content}
        assert spoiled == {IMAGE if fault in (Altered, Truncated) else IMAGE + ".sig"}
        other = {path: ask(service, "GET", path.replace("ZPR000001", "ZPR000002")).content for path in good}
        assert other == good
        undo()


def test_wrong_signer_and_altered_do_what_they_say() -> None:
    service = server()
    service.inject(WrongSigner())
    service.inject(Altered())
    data, signature = (ask(service, "GET", IMAGE + suffix).content for suffix in (".manifest", ".sig"))
    with pytest.raises(FirmwareError) as caught:
        verify(data, signature, TRUSTED)
    assert caught.value.reason is UpdateReason.BAD_SIGNATURE
    image, good = ask(service, "GET", IMAGE).content, build_image(RELEASE, SIZE).image
    assert [at for at in range(SIZE) if image[at] != good[at]] == [SIZE // 2]


def test_unavailable_counts_and_goes_away() -> None:
    service = server()
    service.inject(Unavailable(count=2))
    assert [ask(service, "GET", IMAGE + ".sig").status_code for _ in range(3)] == [503, 503, 200]


def test_the_history_tells_who_asked_what_but_no_key() -> None:
    service = server()
    body = encode_location_request(KEYS["ZPR000001"])
    ask(service, "POST", LOCATION, body)
    ask(service, "GET", IMAGE, Range="bytes=0-9")
    first, second = service.history_json()
    assert (first["sender"], first["request"]) == ("10.20.16.1:50000", f"POST {LOCATION}")
    assert (second["reply"], second["data"]) == ("206 10 bytes", {"serial": "ZPR000001", "range": "bytes=0-9"})
    assert base64.b64encode(KEYS["ZPR000001"]).decode() not in str(service.history_json())


@pytest.mark.parametrize(
    ("version", "options", "named"),
    [("new", {}, "firmware new"), ("5.4", {"signer": "nobody"}, "nobody"), ("5.4", {"size_bytes": 0}, "5.4")],
)
def test_an_offer_that_cannot_be_is_refused(version: str, options: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        server().offer(version, **options)  # type: ignore[arg-type]


def test_a_handshake_that_a_charger_breaks_off_is_in_the_history(certs: CertsDir) -> None:
    async def main() -> None:
        service = server(context=server_context(*certs.bad("unknown_root")))
        net = SimNet(Random(1))
        await service.start(net.host("devices", "10.20.3.2"))
        tcp = await net.host("charger", "10.20.16.1").connect(Address("10.20.3.2", 443), timeout_s=5)
        rtc = Rtc(asyncio.get_running_loop().time, built_at=datetime(2026, 1, 1, tzinfo=UTC))
        context = client_context(certs.roots_pem())
        with pytest.raises(NetError):
            await tls_connect(tcp, context, server_name="devices.zaptec.com", rtc=rtc, timeout_s=5)
        await asyncio.sleep(1)
        (seen,) = service.history
        assert seen.sender.startswith("10.20.16.1:") and seen.request == "TLS"
        assert seen.data["reason"] == NetReason.TLS_ALERT.value and "unknown_ca" in seen.reply
        await service.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())
