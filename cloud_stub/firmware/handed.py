"""Manifest and signature as a charger gets them: what was made, or what a fault has made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cloud_stub.firmware.cms import cms_signature
from cloud_stub.firmware.faults import (
    CaKey,
    Expired,
    HostFault,
    NotFromHere,
    RevokedKey,
    Rollback,
    WrongHardware,
    WrongSerial,
)
from cloud_stub.firmware.shelf import Shelf, Stock
from emulator.wire.firmware_keys import sign
from emulator.wire.manifest import Manifest, decode_manifest, encode_manifest

CA_SIGNER = "vouched"
FOREIGN_SIGNER = "foreign"


@dataclass(frozen=True, slots=True)
class Handed:
    """What one charger got: `signed` are the bytes that its signature is made over by the key `signer`, if there is
    not one that was made before."""

    manifest: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    signer: str
    made_before: bytes | None = field(default=None, repr=False)

    def signature(self, signer: str, shelf: Shelf) -> bytes:
        """The signature by this key; empty: there is none."""
        if signer == self.signer and self.made_before is not None:
            return self.made_before
        return sign(self.signed, shelf.signers[signer])


def handed(stock: Stock) -> Handed:
    """A package as it was made."""
    return Handed(stock.manifest, stock.manifest, stock.signer, stock.signature)


def altered(good: Handed) -> Handed:
    """Another manifest than the one that is signed."""
    manifest = decode_manifest(good.manifest)
    claimed = encode_manifest(replace(manifest, security_counter=manifest.security_counter + 1))
    return replace(good, manifest=claimed)


def falsified(good: Handed, fault: HostFault, utc: datetime) -> Handed:
    """Another release about the same image, signed by the same key."""
    manifest = encode_manifest(RELEASE_FAULTS[type(fault)](decode_manifest(good.manifest), fault, utc))
    return replace(good, manifest=manifest, signed=manifest, made_before=None)


def signed_by(good: Handed, signer: str, shelf: Shelf) -> Handed:
    """The same release, made for another key and signed by it. UsageError: no such signer."""
    manifest = encode_manifest(replace(decode_manifest(good.manifest), key_id=shelf.signer_id(signer)))
    return Handed(manifest, manifest, signer)


def certified(good: Handed, shelf: Shelf) -> Handed:
    """The same release, signed by a key that a CA has certified, with the certificate in the signature.

    UsageError: there is no such key, or no certificate of it.
    """
    given = signed_by(good, CA_SIGNER, shelf)
    made = cms_signature(given.signed, shelf.signers[CA_SIGNER], shelf.certificate(CA_SIGNER))
    return replace(given, made_before=made)


def _expired(manifest: Manifest, fault: Any, utc: datetime) -> Manifest:
    return replace(manifest, not_after=(utc - timedelta(seconds=fault.by_s)).replace(microsecond=0))


RELEASE_FAULTS: Mapping[type[HostFault], Callable[[Manifest, Any, datetime], Manifest]] = {
    Rollback: lambda manifest, fault, utc: replace(manifest, security_counter=fault.security_counter),
    Expired: _expired,
    WrongHardware: lambda manifest, fault, utc: replace(manifest, hardware=(fault.hardware,)),
    WrongSerial: lambda manifest, fault, utc: replace(manifest, serial_prefixes=(fault.prefix,)),
    NotFromHere: lambda manifest, fault, utc: replace(manifest, min_version=manifest.version),
}
"""Faults that change what a release says of itself, and how."""

KEY_FAULTS: Mapping[type[HostFault], Callable[[Handed, Any, Shelf], Handed]] = {
    CaKey: lambda good, fault, shelf: certified(good, shelf),
    RevokedKey: lambda good, fault, shelf: signed_by(good, fault.signer, shelf),
}
"""Faults that have a release signed by another key, and how."""
