"""Applies the faults of the firmware server to whatever a charger asks for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from cloud_stub.firmware import content, handed
from cloud_stub.firmware.bodies import Manner
from cloud_stub.firmware.content import Content
from cloud_stub.firmware.faults import (
    Altered,
    AlteredManifest,
    Endless,
    HostFault,
    Mixed,
    PlainHttp,
    Redirect,
    Short,
    Slow,
    Swapped,
    TransportError,
    Truncated,
    Unsigned,
    Way,
    WrongSigner,
)
from cloud_stub.firmware.handed import KEY_FAULTS, RELEASE_FAULTS, Handed
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.shelf import Shelf, Stock
from emulator.clock import Utc
from emulator.faults import FaultSet
from emulator.wire.manifest import decode_manifest

OTHER_VERSION = "1.0.0.0"
"""What is mixed in and swapped in is of this release."""

F = TypeVar("F", bound=HostFault)


@dataclass(frozen=True, slots=True)
class Asking:
    """Which charger asks, and at which of the hosts."""

    serial: str
    host: str


@dataclass(frozen=True, slots=True)
class Mischief:
    """The faults of one server. With none active, everything stays as it is."""

    faults: FaultSet
    shelf: Shelf
    utc: Utc

    def strikes(self, kind: type[F], who: Asking, when: Callable[[F], bool] = lambda fault: True) -> F | None:
        """The fault of this kind that hits a request."""
        return self.faults.strikes(kind, who.serial, lambda fault: fault.host in ("*", who.host) and when(fault))

    def detour(self, who: Asking, by: Way, host: str) -> tuple[str, int] | None:
        """The beginning of the address that chargers are sent to instead of `host`, and the HTTP status for it."""
        if redirect := self.strikes(Redirect, who, lambda fault: fault.by == by):
            return f"https://{redirect.to}", redirect.status
        if plain := self.strikes(PlainHttp, who, lambda fault: fault.by == by):
            return f"http://{host}", plain.status
        return None

    def papers(self, stock: Stock, who: Asking) -> Handed:
        """The manifest that a charger gets, and what its signature will be made of."""
        given = handed.handed(stock)
        for kind in RELEASE_FAULTS:
            if fault := self.strikes(kind, who):
                given = handed.falsified(given, fault, self.utc())
        for kind, sign in KEY_FAULTS.items():
            if fault := self.strikes(kind, who):
                given = sign(given, fault, self.shelf)
        return handed.altered(given) if self.strikes(AlteredManifest, who) else given

    def signer(self, given: Handed, who: Asking) -> str | None:
        """The key that signs the manifest, unless that was done before; None: there is no signature."""
        if self.strikes(Unsigned, who):
            return None
        return handed.FOREIGN_SIGNER if self.strikes(WrongSigner, who) else given.signer

    def image(self, stock: Stock, who: Asking) -> Content:
        """The bytes that a charger gets, wherever it begins."""
        image = content.content(stock)
        if fault := self.strikes(Mixed, who):
            parts = decode_manifest(stock.manifest).components
            part = next(part for part in parts if part.component == fault.component)
            image = content.mixed(image, part, self._other(stock))
        if self.strikes(Truncated, who):
            image = content.truncated(image)
        return image

    def swapped(self, image: Content, stock: Stock, first: int, who: Asking) -> Content:
        """The bytes that a charger gets that has `first` of them already."""
        fault = self.strikes(Swapped, who, lambda fault: first >= fault.after_bytes)
        if fault is None:
            return image
        other = self._other(stock)
        return replace(other, size_bytes=image.size_bytes, etag=image.etag if fault.same_tag else other.etag)

    def part(self, image: Content, span: range, who: Asking) -> tuple[Content, range]:
        """The bytes of one reply, and which they are."""
        middle = image.size_bytes // 2
        if middle in span and self.strikes(Altered, who):
            image = content.altered(image)
        if len(span) > 1 and self.strikes(Short, who):
            span = span[: len(span) // 2]
        return image, span

    def manner(self, who: Asking, cut: Callable[[], None]) -> Manner:
        """How a reply is sent; `cut` breaks its connection."""
        slow, broken = self.strikes(Slow, who), self.strikes(TransportError, who)
        endless = self.strikes(Endless, who) is not None
        return Manner(slow.bytes_per_s if slow else None, endless, cut if broken else None)

    def _other(self, stock: Stock) -> Content:
        """Another release of the same size."""
        return content.content(self.shelf.get(Offer(OTHER_VERSION, stock.signer, stock.image.size_bytes)))
