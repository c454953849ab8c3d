"""The bytes of an image as a charger gets them: what was made, or what a fault has made of it.

No image is ever copied as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cloud_stub.firmware.shelf import Stock
from emulator.wire.manifest import ComponentImage


@dataclass(frozen=True, slots=True)
class Content:
    """An image to be read from: `read` takes the first byte and how many, all of which are there."""

    size_bytes: int
    etag: str
    read: Callable[[int, int], bytes]


def content(stock: Stock) -> Content:
    """An image as it was made."""
    return Content(stock.image.size_bytes, stock.etag, stock.image.read)


def truncated(good: Content) -> Content:
    """Its first half."""
    return replace(good, size_bytes=good.size_bytes // 2)


def altered(good: Content) -> Content:
    """The same but for one bit of the byte in the middle."""
    middle = good.size_bytes // 2

    def read(first: int, count: int) -> bytes:
        data = bytearray(good.read(first, count))
        if first <= middle < first + count:
            data[middle - first] ^= 0x01
        return bytes(data)

    return replace(good, read=read)


def mixed(good: Content, part: ComponentImage, other: Content) -> Content:
    """The same but for one component, which is that of another image of the same size."""
    begin, end = part.offset, part.offset + part.size_bytes

    def read(first: int, count: int) -> bytes:
        data = bytearray(good.read(first, count))
        start, stop = max(first, begin), min(first + count, end)
        if start < stop:
            data[start - first : stop - first] = other.read(start, stop - start)
        return bytes(data)

    return replace(good, read=read)
