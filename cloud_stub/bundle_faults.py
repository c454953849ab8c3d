"""How the trust bundle server breaks. The first strikes before a charger has said who it is."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cloud_stub.hub.faults import BadCertificateKind
from emulator.faults import Fault


@dataclass(frozen=True, kw_only=True)
class BadCertificate(Fault):
    """New connections to the bundle server see another certificate; ``public_root``: good, but not the vendor's."""

    kind: ClassVar[str] = "bundle.certificate"
    bad: BadCertificateKind | Literal["public_root"]


@dataclass(frozen=True, kw_only=True)
class Unavailable(Fault):
    """Every request is answered with this HTTP status."""

    kind: ClassVar[str] = "bundle.unavailable"
    status: Annotated[int, Field(ge=300, le=599)] = 503


@dataclass(frozen=True, kw_only=True)
class Silent(Fault):
    """The request is taken and never answered."""

    kind: ClassVar[str] = "bundle.silent"


@dataclass(frozen=True, kw_only=True)
class BadSignature(Fault):
    """The bundle is signed with a key that no charger trusts."""

    kind: ClassVar[str] = "bundle.bad_signature"


@dataclass(frozen=True, kw_only=True)
class Garbage(Fault):
    """The reply is a page for people, as of a proxy that wants a login."""

    kind: ClassVar[str] = "bundle.garbage"


@dataclass(frozen=True, kw_only=True)
class Empty(Fault):
    """The reply has no body."""

    kind: ClassVar[str] = "bundle.empty"


@dataclass(frozen=True, kw_only=True)
class Oversize(Fault):
    """The bundle is signed and good, and longer than a charger takes."""

    kind: ClassVar[str] = "bundle.oversize"


@dataclass(frozen=True, kw_only=True)
class NoCertificates(Fault):
    """What is signed holds no certificate."""

    kind: ClassVar[str] = "bundle.no_certificates"


@dataclass(frozen=True, kw_only=True)
class Stale(Fault):
    """Everybody gets the first bundle there ever was, whatever they have."""

    kind: ClassVar[str] = "bundle.stale"


BEFORE_LOGIN = (BadCertificate,)
FAULTS = (
    *BEFORE_LOGIN,
    Unavailable,
    Silent,
    BadSignature,
    Garbage,
    Empty,
    Oversize,
    NoCertificates,
    Stale,
)
