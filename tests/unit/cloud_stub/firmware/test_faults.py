"""What each fault of the firmware server makes of an update, seen by somebody who checks what a charger would check."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest

from certs.layout import CertsDir
from cloud_stub.firmware.server import FirmwareServer
from emulator.clock import Rtc, SimLoop
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.net.http import https_client
from emulator.net.sim import SimNet
from emulator.net.tls import client_context, server_context
from emulator.wire.firmware import TOTAL_LENGTH_HEADER, decode_location, encode_location_request
from emulator.wire.firmware_keys import FirmwareKeys, public_pem, verify
from emulator.wire.manifest import Manifest
from emulator.wire.manifest_fit import Running, check_fits
from emulator.wire.payload import check_block
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import KEY_ID, KEYS, NEXT, SIGNER, STRANGER

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL, OTHER = "ZPR000001", "ZPR000002"
VERSION, COUNTER = "5.4.0.0", 7
BLOCK = 65_536
SIZE = 5 * BLOCK
HOSTS = {"api.zaptec.com": "api", "zapcloud-api.azurewebsites.net": "old_api", "devices.zaptec.com": "devices"}
RUNNING = Running("5.3.0.0", COUNTER, "zaptec-pro", SERIAL, 1 << 25, BLOCK)
AFTER_ROTATION = FirmwareKeys((public_pem(SIGNER.public_key()), public_pem(NEXT.public_key())), frozenset({KEY_ID}), 1)


class Site:
    """A firmware server on a simulated network, and somebody who fetches from it over TLS."""

    def __init__(self, certs: CertsDir) -> None:
        self.certs = certs
        self.now: Callable[[], float] = lambda: 0.0
        self.server = FirmwareServer(
            rng=Random(1),
            utc=lambda: NOON + timedelta(seconds=self.now()),
            now=lambda: self.now(),
            contexts=lambda bad: server_context(*(certs.bad(bad) if bad else certs.server("api.zaptec.com"))),
            signers={**certs.firmware_signers(), "firmware": SIGNER, "firmware-next": NEXT, "foreign": STRANGER},
            certificates={"vouched": certs.vouched_certificate_pem()},
            check=lambda serial, key: True,
            download_host="devices.zaptec.com",
            hosts=HOSTS,
        )
        self.server.offer(VERSION, size_bytes=SIZE, security_counter=COUNTER)

    def inject(self, kind: str, **values: Any) -> Callable[[], None]:
        table = {fault.kind: fault for fault in self.server.FAULTS}
        return self.server.inject(fault_from({"kind": kind, **values}, table))

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            self.now = asyncio.get_running_loop().time
            net = SimNet(Random(1))
            await self.server.start(net.host("api", "10.20.3.2"))

            async def resolve(name: str) -> str:
                return "10.20.3.2"

            async with https_client(
                net.host("charger", "10.20.16.1"),
                resolve=resolve,
                context=client_context(self.certs.roots_pem()),
                rtc=Rtc(self.now, built_at=NOON),
                timeout_s=20,
            ) as self.http:
                await story()
            await self.server.stop()

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(main())

    async def get(self, suffix: str = "", serial: str = SERIAL, **headers: str) -> httpx.Response:
        return await self.http.get(f"https://api.zaptec.com/firmware/{serial}/{VERSION}.bin{suffix}", headers=headers)

    async def locate(self) -> httpx.Response:
        address = f"https://api.zaptec.com/api/firmware/{SERIAL}/current"
        return await self.http.post(address, content=encode_location_request(bytes(32)))

    async def described(self, keys: FirmwareKeys = KEYS) -> Manifest:
        """Manifest and signature, if they are good and for this charger. FirmwareError."""
        manifest, signature = await self.get(".manifest"), await self.get(".sig")
        genuine = verify(manifest.content, signature.content if signature.status_code == 200 else b"", keys)
        check_fits(genuine, RUNNING, NOON)
        return genuine

    async def block(self, manifest: Manifest, index: int) -> None:
        """One block of the image, if it is good. FirmwareError."""
        first = index * BLOCK
        reply = await self.get(Range=f"bytes={first}-{first + BLOCK - 1}")
        assert reply.status_code == 206
        check_block(manifest, index, reply.content)

    async def updated(self, keys: FirmwareKeys = KEYS) -> UpdateReason | None:
        """Why an update fails; None: it does not."""
        try:
            decode_location((await self.locate()).content)
            manifest = await self.described(keys)
            for index in range(len(manifest.blocks)):
                await self.block(manifest, index)
        except FirmwareError as error:
            return error.reason
        return None


@pytest.fixture
def site(certs: CertsDir) -> Site:
    return Site(certs)


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("firmware.unsigned", {}, UpdateReason.UNSIGNED),
        ("firmware.wrong_signer", {}, UpdateReason.BAD_SIGNATURE),
        ("firmware.altered_manifest", {}, UpdateReason.BAD_SIGNATURE),
        ("firmware.ca_key", {}, UpdateReason.CERTIFICATE_SIGNER),
        ("firmware.rollback", {}, UpdateReason.ROLLBACK),
        ("firmware.expired", {}, UpdateReason.EXPIRED),
        ("firmware.wrong_hardware", {}, UpdateReason.WRONG_HARDWARE),
        ("firmware.wrong_serial", {}, UpdateReason.WRONG_SERIAL),
        ("firmware.not_from_here", {}, UpdateReason.NOT_FROM_HERE),
        ("firmware.altered", {}, UpdateReason.WRONG_HASH),
        ("firmware.mixed", {}, UpdateReason.MIXED),
        ("firmware.mixed", {"component": "plc"}, UpdateReason.MIXED),
        ("firmware.swapped", {"same_tag": True}, UpdateReason.WRONG_HASH),
        ("firmware.short", {}, UpdateReason.SHORT),
        ("firmware.bad_location", {}, UpdateReason.MALFORMED),
        ("firmware.bad_location", {"text": '{"DownloadUrl":"","Version":""}'}, UpdateReason.MALFORMED),
        ("firmware.plain_http", {}, UpdateReason.NOT_HTTPS),
    ],
)
def test_what_is_false_is_found_out_and_the_next_try_is_good(
    site: Site, kind: str, values: dict[str, Any], reason: UpdateReason
) -> None:
    async def story() -> None:
        heal = site.inject(kind, who=SERIAL, **values)
        assert await site.updated() is reason
        heal()
        assert await site.updated() is None
        site.inject(kind, who=OTHER, **values)
        site.inject(kind, host="old_api", **values)
        assert await site.updated() is None

    site.run(story)


def test_a_key_that_was_revoked_signs_only_for_those_who_have_not_heard_of_it(site: Site) -> None:
    async def story() -> None:
        site.server.offer(VERSION, signer="firmware-next", size_bytes=SIZE, security_counter=COUNTER)
        assert await site.updated(AFTER_ROTATION) is None
        site.inject("firmware.revoked_key")
        assert await site.updated(AFTER_ROTATION) is UpdateReason.REVOKED_KEY
        assert await site.updated(KEYS) is None

    site.run(story)


def test_a_fault_with_a_count_strikes_one_manifest_and_the_signature_fits_it(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.expired", count=1, by_s=60.0)
        assert await site.updated() is UpdateReason.EXPIRED
        assert await site.updated() is None

    site.run(story)


def test_an_image_that_is_swapped_shows_by_its_tag(site: Site) -> None:
    async def story() -> None:
        tag = (await site.get(Range="bytes=0-9")).headers["ETag"]
        assert (await site.get(Range="bytes=10-19", **{"If-Range": tag})).status_code == 206
        site.inject("firmware.swapped", after_bytes=BLOCK)
        assert (await site.get(Range="bytes=0-9", **{"If-Range": tag})).status_code == 206
        whole = await site.get(Range=f"bytes={BLOCK}-{2 * BLOCK - 1}", **{"If-Range": tag})
        assert (whole.status_code, len(whole.content)) == (200, SIZE)
        assert whole.headers["ETag"] != tag

    site.run(story)


@pytest.mark.parametrize(
    ("kind", "location"),
    [("firmware.redirect", "https://firmware.example.net/"), ("firmware.plain_http", "http://devices.zaptec.com/")],
)
def test_who_asks_for_a_file_is_sent_elsewhere(site: Site, kind: str, location: str) -> None:
    async def story() -> None:
        site.inject(kind, by="redirect", status=307)
        for suffix in ("", ".manifest", ".sig"):
            reply = await site.get(suffix)
            assert (reply.status_code, reply.headers["Location"]) == (
                307,
                f"{location}firmware/{SERIAL}/{VERSION}.bin{suffix}",
            )
        assert decode_location((await site.locate()).content).download_url.startswith("https://devices.zaptec.com/")

    site.run(story)


def test_the_location_reply_itself_names_a_foreign_host(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.redirect", by="location", to="evil.example")
        assert decode_location((await site.locate()).content).download_url.startswith("https://evil.example/firmware/")
        assert (await site.get(".sig")).status_code == 200

    site.run(story)


def test_half_an_image_is_called_whole(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.truncated")
        reply = await site.get(Range="bytes=0-9")
        assert (reply.headers[TOTAL_LENGTH_HEADER], reply.headers["Content-Range"]) == (
            str(SIZE // 2),
            f"bytes 0-9/{SIZE // 2}",
        )

    site.run(story)


def test_the_length_header_may_be_missing(site: Site) -> None:
    async def story() -> None:
        assert (await site.get(Range="bytes=0-9")).headers[TOTAL_LENGTH_HEADER] == str(SIZE)
        site.inject("firmware.no_length")
        assert TOTAL_LENGTH_HEADER not in (await site.get(Range="bytes=0-9")).headers

    site.run(story)


def test_a_transport_error_comes_once_in_the_middle_of_a_reply(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.transport_error")
        with pytest.raises(httpx.TransportError):
            await site.get(Range="bytes=0-65535")
        assert len((await site.get(Range="bytes=0-65535")).content) == BLOCK

    site.run(story)


def test_a_slow_server_keeps_its_client_busy(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.slow", bytes_per_s=10.0, count=1)
        begin = site.now()
        reply = await site.get(Range="bytes=0-599")
        assert len(reply.content) == 600 and 59 < site.now() - begin < 62
        begin = site.now()
        await site.get(Range="bytes=0-599")
        assert site.now() - begin < 1

    site.run(story)


def test_endless_data_ends_when_the_client_has_had_enough(site: Site) -> None:
    async def story() -> None:
        site.inject("firmware.endless", count=1)
        taken = 0
        async with site.http.stream("GET", f"https://api.zaptec.com/firmware/{SERIAL}/{VERSION}.bin") as reply:
            assert "Content-Length" not in reply.headers
            async for part in reply.aiter_raw():
                taken += len(part)
                if taken > 4 * SIZE:
                    break
        await asyncio.sleep(5)
        assert await site.updated() is None

    site.run(story)


@pytest.mark.parametrize("host", ["*", "api"])
def test_a_bad_certificate_is_seen_where_it_is(site: Site, host: str) -> None:
    async def story() -> None:
        heal = site.inject("firmware.certificate", bad="unknown_root", host=host)
        with pytest.raises(httpx.ConnectError):
            await site.locate()
        heal()
        site.inject("firmware.certificate", bad="unknown_root", host="devices")
        assert (await site.locate()).status_code == 200
        assert site.server.bad_certificate_at("devices") == "unknown_root"

    site.run(story)


@pytest.mark.parametrize(("host", "broken"), [("*", set(HOSTS)), ("devices", {"devices.zaptec.com"})])
def test_one_of_the_hosts_may_be_down(site: Site, host: str, broken: set[str]) -> None:
    async def story() -> None:
        site.inject("firmware.unavailable", host=host)
        replies = {name: await site.http.get(f"https://api.zaptec.com/firmware/{SERIAL}/{VERSION}.bin.sig",
                   headers={"Host": name}) for name in HOSTS}  # fmt: skip
        assert {name for name, reply in replies.items() if reply.status_code == 503} == broken

    site.run(story)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"kind": "firmware.certificate", "bad": "expired", "who": SERIAL}, "only all can be meant"),
        ({"kind": "firmware.slow", "bytes_per_s": 0}, "bytes_per_s"),
        ({"kind": "firmware.redirect", "status": 200}, "status"),
        ({"kind": "firmware.mixed", "component": "heater"}, "component"),
        ({"kind": "firmware.unavailable", "host": "moon"}, "host"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(site: Site, fault: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        site.inject(fault.pop("kind"), **fault)
