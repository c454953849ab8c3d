"""Images are made or opened once, and handed out piece by piece."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from certs.layout import CertsDir
from cloud_stub.firmware.bodies import PIECE_BYTES
from cloud_stub.firmware.image import MemoryImage
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.shelf import SHELF_BYTES_MAX, Shelf, offer_of, stock_of
from emulator.errors import UsageError
from emulator.wire.firmware_keys import sign
from tests.firmware_images import BLOCK, PACKAGE, SIGNER, STRANGER
from tests.unit.cloud_stub.firmware.test_faults import SERIAL, VERSION, Site

SMALL = 5 * 65_536
SIGNERS = {"firmware": SIGNER, "foreign": STRANGER}


class Watched(MemoryImage):
    """An image that counts what is read from it."""

    taken = 0

    def read(self, first: int, count: int) -> bytes:
        Watched.taken += count
        return super().read(first, count)


def on_disk(folder: Path, *, signed: bool = True) -> Path:
    image = folder / "image.bin"
    image.write_bytes(PACKAGE.image)
    (folder / "image.bin.manifest").write_bytes(PACKAGE.manifest)
    if signed:
        (folder / "image.bin.sig").write_bytes(sign(PACKAGE.manifest, STRANGER))
    return image


def test_a_release_is_built_once_however_often_it_is_asked_for() -> None:
    shelf = Shelf(SIGNERS)
    assert shelf.get(Offer("5.4", size_bytes=SMALL)) is shelf.get(Offer("5.4", size_bytes=SMALL))
    assert shelf.built == 1
    assert shelf.get(Offer("5.4", "foreign", SMALL)).etag == shelf.get(Offer("5.4", size_bytes=SMALL)).etag
    assert shelf.get(Offer("5.5", size_bytes=SMALL)).etag != shelf.get(Offer("5.4", size_bytes=SMALL)).etag
    assert shelf.built == 3


def test_the_shelf_is_not_endless_and_what_went_comes_back_the_same() -> None:
    shelf, size = Shelf(SIGNERS), SHELF_BYTES_MAX // 10
    first = shelf.get(Offer("1.0", size_bytes=size))
    for number in range(2, 12):
        shelf.get(Offer(f"{number}.0", size_bytes=size))
    assert shelf.get(Offer("1.0", size_bytes=size)).etag == first.etag and shelf.built == 12
    shelf.get(Offer("11.0", size_bytes=size))
    assert shelf.built == 12


@pytest.mark.parametrize(
    ("offer", "named"),
    [
        (Offer("new"), "new"),
        (Offer("5.4", "nobody"), "nobody"),
        (Offer("5.4", size_bytes=5), "5 bytes"),
        (Offer("5.4", size_bytes=1 << 40), "at most"),
        (Offer("5.4", image="/nowhere/image.bin"), "/nowhere/image.bin"),
    ],
)
def test_what_cannot_be_offered_is_refused_by_name(offer: Offer, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Shelf(SIGNERS).get(offer)


def test_an_image_on_disk_is_handed_out_as_it_is(tmp_path: Path, certs: CertsDir) -> None:
    site, path = Site(certs), on_disk(tmp_path)
    offer = offer_of(str(path))
    assert (offer.version, offer.size_bytes) == (PACKAGE.version, len(PACKAGE.image))

    async def story() -> None:
        site.server.hand_out(offer)
        assert (await site.get()).content == PACKAGE.image
        assert (await site.get(".manifest")).content == PACKAGE.manifest
        assert (await site.get(".sig")).content == (tmp_path / "image.bin.sig").read_bytes()
        part = await site.get(Range=f"bytes={BLOCK}-{2 * BLOCK - 1}")
        assert (part.status_code, part.content) == (206, PACKAGE.image[BLOCK : 2 * BLOCK])
        (tmp_path / "image.bin.new").write_bytes(bytes(len(PACKAGE.image)))
        os.replace(tmp_path / "image.bin.new", path)
        assert (await site.get(**{"If-Match": part.headers["ETag"]})).content == PACKAGE.image
        site.server.hand_out(offer)
        assert (await site.get(**{"If-Match": part.headers["ETag"]})).status_code == 412

    site.run(story)


def test_an_image_without_a_signature_is_handed_out_without_one(tmp_path: Path, certs: CertsDir) -> None:
    site, path = Site(certs), on_disk(tmp_path, signed=False)

    async def story() -> None:
        site.server.hand_out(offer_of(str(path)))
        assert (await site.get(".sig")).status_code == 404

    site.run(story)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    shelf, path = Shelf(SIGNERS), on_disk(tmp_path)
    offer = offer_of(str(path))
    with pytest.raises(UsageError, match=r"image\.bin"):
        shelf.get(replace(offer, version="5.5"))
    path.write_bytes(PACKAGE.image[:-1])
    with pytest.raises(UsageError, match=r"image\.bin: \d+ bytes"):
        shelf.get(offer)
    (tmp_path / "image.bin.manifest").write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"image\.bin\.manifest"):
        offer_of(str(path))
    (tmp_path / "image.bin.manifest").unlink()
    with pytest.raises(UsageError, match=r"image\.bin\.manifest"):
        offer_of(str(path))


def test_a_campaign_whose_image_has_gone_offers_nothing(tmp_path: Path, certs: CertsDir) -> None:
    site, path = Site(certs), on_disk(tmp_path)
    offer = offer_of(str(path))

    class Everybody:
        def offered(self, serial: str) -> Offer | None:
            return offer

        def handed_out(self, serial: str, version: str) -> Offer | None:
            return offer

        def asked(self, serial: str) -> None: ...

    async def story() -> None:
        site.server.roster = Everybody()
        path.unlink()
        reply = await site.get()
        assert (reply.status_code, "image.bin" in reply.text) == (404, True)

    site.run(story)


def test_who_does_not_read_holds_up_nothing_but_a_few_pieces(certs: CertsDir) -> None:
    site = Site(certs)
    size = 200 * PIECE_BYTES
    stock = stock_of(PACKAGE, "firmware")

    async def story() -> None:
        image = Watched(bytes(size))
        site.server._stock = replace(stock, version=VERSION, image=image)
        async with site.http.stream("GET", f"https://api.zaptec.com/firmware/{SERIAL}/{VERSION}.bin") as reply:
            assert reply.headers["Content-Length"] == str(size)
            await asyncio.sleep(60)
            assert Watched.taken < size / 4, "the rest has not been read"
            async for _ in reply.aiter_raw():
                pass
        assert Watched.taken == size

    site.run(story)


def test_replies_that_are_broken_off_leave_the_server_alone(certs: CertsDir) -> None:
    site = Site(certs)

    async def story() -> None:
        for _ in range(20):
            with pytest.raises(httpx.TransportError):
                site.inject("firmware.transport_error")
                await site.get()
        assert (await site.get()).status_code == 200

    site.run(story)
