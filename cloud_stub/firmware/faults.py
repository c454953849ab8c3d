"""How the firmware server breaks, and what it is made to do by somebody who has taken it over.

What a fault does to a release, to the bytes of an image or to a reply is in the modules beside this one.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cloud_stub.hub.faults import BadCertificateKind
from emulator.faults import Fault

HostName = Literal["*", "api", "old_api", "devices"]
ComponentName = Literal["computer", "mainboard", "fpga", "plc"]
FOREIGN_HOST = "firmware.example.net"

Way = Literal["location", "redirect"]
"""``location``: the location reply names it; ``redirect``: who asks for a file is sent there."""


@dataclass(frozen=True, kw_only=True)
class HostFault(Fault):
    """A fault at one of the hosts that serve firmware, or at all."""

    host: HostName = "*"


@dataclass(frozen=True, kw_only=True)
class BadCertificate(HostFault):
    """New connections to the API hosts, which say where the image is, see another certificate; those to the host that
    has the images too if `host` names it, for it serves trust bundles as well."""

    kind: ClassVar[str] = "firmware.certificate"
    bad: BadCertificateKind


@dataclass(frozen=True, kw_only=True)
class Unavailable(HostFault):
    """Every request is answered with HTTP 503."""

    kind: ClassVar[str] = "firmware.unavailable"


@dataclass(frozen=True, kw_only=True)
class BadLocation(HostFault):
    """The location reply cannot be read."""

    kind: ClassVar[str] = "firmware.bad_location"
    text: Annotated[str, Field(max_length=1000)] = '{"DownloadUrl":'


@dataclass(frozen=True, kw_only=True)
class Redirect(HostFault):
    """Chargers are sent to a host that firmware does not come from."""

    kind: ClassVar[str] = "firmware.redirect"
    by: Way = "redirect"
    to: Annotated[str, Field(min_length=1, max_length=253)] = FOREIGN_HOST
    status: Literal[301, 302, 303, 307, 308] = 302


@dataclass(frozen=True, kw_only=True)
class PlainHttp(HostFault):
    """Chargers are sent to an address without TLS."""

    kind: ClassVar[str] = "firmware.plain_http"
    by: Way = "location"
    status: Literal[301, 302, 303, 307, 308] = 302


@dataclass(frozen=True, kw_only=True)
class WrongSigner(HostFault):
    """The signature is made with another key than the manifest names, one that no charger trusts."""

    kind: ClassVar[str] = "firmware.wrong_signer"


@dataclass(frozen=True, kw_only=True)
class Unsigned(HostFault):
    """There is no signature file."""

    kind: ClassVar[str] = "firmware.unsigned"


@dataclass(frozen=True, kw_only=True)
class AlteredManifest(HostFault):
    """The manifest is not the one that was signed: it claims a higher security counter."""

    kind: ClassVar[str] = "firmware.altered_manifest"


@dataclass(frozen=True, kw_only=True)
class CaKey(HostFault):
    """The release is signed as RAUC and SWUpdate have it: in CMS, with a certificate to sign code that a CA has issued
    whose root chargers trust for servers. They were never told of its key."""

    kind: ClassVar[str] = "firmware.ca_key"


@dataclass(frozen=True, kw_only=True)
class RevokedKey(HostFault):
    """The release is signed by the key `signer`, whatever else was wanted: one that the trust bundle has revoked."""

    kind: ClassVar[str] = "firmware.revoked_key"
    signer: Literal["firmware", "firmware-next"] = "firmware"


@dataclass(frozen=True, kw_only=True)
class Rollback(HostFault):
    """The release is signed and new by its version, but its security counter is that of an old one."""

    kind: ClassVar[str] = "firmware.rollback"
    security_counter: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


@dataclass(frozen=True, kw_only=True)
class Expired(HostFault):
    """The release is signed, but its time was over `by_s` ago: somebody keeps newer ones away."""

    kind: ClassVar[str] = "firmware.expired"
    by_s: Annotated[float, Field(gt=0, le=3e9)] = 86_400.0


@dataclass(frozen=True, kw_only=True)
class WrongHardware(HostFault):
    """The release is signed, but made for other hardware."""

    kind: ClassVar[str] = "firmware.wrong_hardware"
    hardware: Annotated[str, Field(min_length=1, max_length=64)] = "zaptec-go"


@dataclass(frozen=True, kw_only=True)
class WrongSerial(HostFault):
    """The release is signed, but made for chargers with another serial."""

    kind: ClassVar[str] = "firmware.wrong_serial"
    prefix: Annotated[str, Field(min_length=1, max_length=32)] = "ZGB"


@dataclass(frozen=True, kw_only=True)
class NotFromHere(HostFault):
    """The release is signed, but may follow only firmware that is as new as itself."""

    kind: ClassVar[str] = "firmware.not_from_here"


@dataclass(frozen=True, kw_only=True)
class Altered(HostFault):
    """One byte in the middle of the image differs from what was signed."""

    kind: ClassVar[str] = "firmware.altered"


@dataclass(frozen=True, kw_only=True)
class Mixed(HostFault):
    """One component of the image is that of another release."""

    kind: ClassVar[str] = "firmware.mixed"
    component: ComponentName = "mainboard"


@dataclass(frozen=True, kw_only=True)
class Swapped(HostFault):
    """From the byte `after_bytes` on, the image is another one; with `same_tag` its ETag does not tell."""

    kind: ClassVar[str] = "firmware.swapped"
    after_bytes: Annotated[int, Field(ge=1)] = 1
    same_tag: bool = False


@dataclass(frozen=True, kw_only=True)
class Truncated(HostFault):
    """Only the first half of the image is there."""

    kind: ClassVar[str] = "firmware.truncated"


@dataclass(frozen=True, kw_only=True)
class Short(HostFault):
    """Half of the bytes that were asked for come, in good order."""

    kind: ClassVar[str] = "firmware.short"


@dataclass(frozen=True, kw_only=True)
class Endless(HostFault):
    """What was asked for comes, and then more and more."""

    kind: ClassVar[str] = "firmware.endless"


@dataclass(frozen=True, kw_only=True)
class Slow(HostFault):
    """Bytes come, but so slowly that a charger is kept busy for ever (slow loris)."""

    kind: ClassVar[str] = "firmware.slow"
    bytes_per_s: Annotated[float, Field(gt=0, le=1e9)] = 10.0


@dataclass(frozen=True, kw_only=True)
class NoLength(HostFault):
    """The header with the length of the whole image is missing."""

    kind: ClassVar[str] = "firmware.no_length"


@dataclass(frozen=True, kw_only=True)
class TransportError(HostFault):
    """The connection breaks when half of a reply with a part of the image is out; once, unless `count` says more."""

    kind: ClassVar[str] = "firmware.transport_error"
    count: Annotated[int, Field(ge=1, strict=True)] | None = 1


FAULTS: tuple[type[HostFault], ...] = (
    BadCertificate,
    Unavailable,
    BadLocation,
    Redirect,
    PlainHttp,
    WrongSigner,
    Unsigned,
    AlteredManifest,
    CaKey,
    RevokedKey,
    Rollback,
    Expired,
    WrongHardware,
    WrongSerial,
    NotFromHere,
    Altered,
    Mixed,
    Swapped,
    Truncated,
    Short,
    Endless,
    Slow,
    NoLength,
    TransportError,
)
BEFORE_LOGIN = (BadCertificate,)
