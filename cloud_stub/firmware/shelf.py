"""The images that are handed out: each made once, however many chargers fetch it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509 import Certificate, load_pem_x509_certificate

from cloud_stub.firmware import files
from cloud_stub.firmware.image import FileImage, Image, MemoryImage
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.package import Package, Release, build_image
from emulator.errors import UsageError
from emulator.wire.firmware_keys import key_id
from emulator.wire.manifest import decode_manifest
from emulator.wire.update_reason import FirmwareError

IMAGE_BYTES_MAX = 128 << 20
"""Of a stand-in, which lies in memory."""
SHELF_BYTES_MAX = 256 << 20
"""Of images together, unless one alone is larger. What has not been asked for the longest goes, and is made anew."""
HASHED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stock:
    """A package that can be handed out. `signer` names the key that is to sign its manifest where there is no
    `signature`; an empty one means that there is none to be had."""

    version: str
    signer: str
    manifest: bytes = field(repr=False)
    signature: bytes | None = field(repr=False)
    image: Image
    etag: str
    """A strong entity tag (RFC 9110 section 8.8.3): other bytes, another tag."""


class Shelf:
    """Packages by offer. `signers` are the keys by name, `certificates` the PEM of what CAs say of some of them."""

    def __init__(
        self, signers: Mapping[str, EllipticCurvePrivateKey], certificates: Mapping[str, str] | None = None
    ) -> None:
        self.signers = dict(signers)
        self._certificates = dict(certificates or {})
        self.built = 0
        """How many packages were ever made."""
        self._stock: dict[Offer, Stock] = {}

    def get(self, offer: Offer) -> Stock:
        """The package of an offer. UsageError: bad version or size, no such signer, or files that are no good."""
        stock = self._stock.pop(offer, None) or self._make(offer)
        self._stock[offer] = stock  # the newest at the end
        while len(self._stock) > 1 and sum(each.image.size_bytes for each in self._stock.values()) > SHELF_BYTES_MAX:
            del self._stock[next(iter(self._stock))]
        return stock

    def renew(self, offer: Offer) -> Stock:
        """The same, but files are read as they are now."""
        if offer.image:
            self._stock.pop(offer, None)
        return self.get(offer)

    def signer_id(self, name: str) -> str:
        """The id of a key. UsageError: no such signer."""
        if name not in self.signers:
            raise UsageError(f"signer {name}: not known; known are {', '.join(sorted(self.signers))}")
        return key_id(self.signers[name].public_key())

    def certificate(self, name: str) -> Certificate:
        """What a CA says of a key. UsageError: none does."""
        if name not in self._certificates:
            raise UsageError(f"signer {name}: has no certificate")
        return load_pem_x509_certificate(self._certificates[name].encode())

    def signer_of(self, key: str) -> str | None:
        """The name of the key with this id; None: it is none of this cloud's, and no charger here was told of it."""
        return next((name for name, signer in self.signers.items() if key_id(signer.public_key()) == key), None)

    def _make(self, offer: Offer) -> Stock:
        signer_id = self.signer_id(offer.signer)
        if offer.image:
            return _on_disk(offer)
        release = Release(offer.version, signer_id, offer.security_counter)
        if offer.size_bytes > IMAGE_BYTES_MAX:
            raise UsageError(f"firmware {offer.version}: {offer.size_bytes} bytes, at most {IMAGE_BYTES_MAX}")
        try:
            package = build_image(release, offer.size_bytes)
        except FirmwareError as error:
            raise UsageError(f"firmware {offer.version}: {error.detail}") from None
        self.built += 1
        return stock_of(package, offer.signer)


def stock_of(package: Package, signer: str) -> Stock:
    """A package in memory, ready to be handed out."""
    image = MemoryImage(package.image)
    return Stock(package.version, signer, package.manifest, None, image, _tag(image))


def offer_of(image: str, signer: str = "firmware") -> Offer:
    """An image on disk as an offer. UsageError: there is none, with a manifest beside it.

    `signer` is the key for what faults make of it.
    """
    path = Path(image).absolute()
    try:
        manifest = decode_manifest(files.read_manifest(path))
    except FirmwareError as error:
        raise UsageError(f"{files.manifest_of(path)}: {error.detail}") from None
    return Offer(manifest.version, signer, manifest.size_bytes, manifest.security_counter, str(path))


def _on_disk(offer: Offer) -> Stock:
    """The package of an image on disk, which must still be the one that was offered."""
    path = Path(offer.image)
    image = FileImage(path)
    if offer_of(offer.image, offer.signer) != offer or image.size_bytes != offer.size_bytes:
        raise UsageError(f"{path}: {image.size_bytes} bytes; it is not the image that its manifest describes")
    return Stock(offer.version, offer.signer, files.read_manifest(path), files.read_signature(path), image, _tag(image))


def _tag(image: Image) -> str:
    digest = hashlib.sha256()
    for first in range(0, image.size_bytes, HASHED_BYTES):
        digest.update(image.read(first, HASHED_BYTES))
    return f'"{digest.hexdigest()[:32]}"'
