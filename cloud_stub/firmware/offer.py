"""What is offered: a stand-in, by the few values from which the same bytes are always built, or an image on disk."""

from dataclasses import dataclass

from cloud_stub.firmware.package import IMAGE_BYTES


@dataclass(frozen=True, slots=True)
class Offer:
    """A release: version, name of the key that signs it, size of the image in bytes, and security counter.

    With `image`, the path of an image with its manifest and signature beside it, they only repeat what is there.
    """

    version: str
    signer: str = "firmware"
    size_bytes: int = IMAGE_BYTES
    security_counter: int = 1
    image: str = ""
