"""Keys and small images for tests about firmware."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_stub.firmware.package import Package, Release, build_image
from emulator.wire.firmware_keys import FirmwareKeys, key_id, public_pem
from emulator.wire.manifest import Manifest, decode_manifest
from emulator.wire.update_reason import FirmwareError, UpdateReason

SIGNER, NEXT, STRANGER = (ec.derive_private_key(number, ec.SECP256R1()) for number in (0xC0FFEE, 0xFADE, 0xBAD))
KEYS = FirmwareKeys((public_pem(SIGNER.public_key()),))
KEY_ID, NEXT_ID, STRANGERS_ID = (key_id(key.public_key()) for key in (SIGNER, NEXT, STRANGER))

BLOCK = 4096
SIZE = 5 * BLOCK + 208
RELEASE = Release("5.4.0.0", KEY_ID, security_counter=3, min_version="5.1", serial_prefixes=("ZPR",))


def package(**changes: Any) -> Package:
    """A small package of this release, or of one that differs from it."""
    return build_image(replace(RELEASE, **changes), SIZE, block_bytes=BLOCK)


def blocks_of(image: bytes, block_bytes: int = BLOCK) -> list[bytes]:
    """An image in blocks."""
    return [image[start : start + block_bytes] for start in range(0, len(image), block_bytes)]


PACKAGE = package()
IMAGE = PACKAGE.image
MANIFEST: Manifest = decode_manifest(PACKAGE.manifest)


def reason_of(call: Callable[..., Any], *args: Any) -> UpdateReason:
    """Why this call refuses an update; it fails the test if it does not."""
    with pytest.raises(FirmwareError) as caught:
        call(*args)
    return caught.value.reason
