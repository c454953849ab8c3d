"""How the device endpoint breaks up to the login. The first three strike before a device has said who it is.

`FAULTS` is the whole table of the hub, with what strikes after the login from the modules beside this one.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cloud_stub.hub.faults_answers import ANSWER_FAULTS
from cloud_stub.hub.faults_connection import CONNECTION_FAULTS
from cloud_stub.hub.faults_down import DOWN_FAULTS
from emulator.faults import Condition, Fault

DAY_S = 86_400.0

BadCertificateKind = Literal["expired", "not_yet_valid", "wrong_host", "unknown_root", "intercepted", "new_root"]
"""What is wrong with a certificate; `new_root`: nothing, but it is under the root that the host has moved to."""
TlsVersionName = Literal["1.1", "1.2", "1.3"]


@dataclass(frozen=True, kw_only=True)
class BadCertificate(Fault):
    """New connections see another certificate."""

    kind: ClassVar[str] = "hub.certificate"
    bad: BadCertificateKind


@dataclass(frozen=True, kw_only=True)
class TlsVersion(Fault):
    """New connections find a server that speaks only this version of TLS."""

    kind: ClassVar[str] = "hub.tls_version"
    version: Literal["1.1", "1.3"]


@dataclass(frozen=True, kw_only=True)
class Silent(Fault):
    """TCP is accepted, then nothing is said: TLS stalls."""

    kind: ClassVar[str] = "hub.silent"


@dataclass(frozen=True, kw_only=True)
class Connack(Fault):
    """CONNECT is refused with this code, whatever the credentials."""

    kind: ClassVar[str] = "hub.connack"
    code: Annotated[int, Field(ge=1, le=255)]


@dataclass(frozen=True, kw_only=True)
class StallConnect(Fault):
    """CONNECT is never answered."""

    kind: ClassVar[str] = "hub.stall_connect"


@dataclass(frozen=True, kw_only=True)
class WrongKey(Fault):
    """The hub holds another key than the device."""

    kind: ClassVar[str] = "hub.wrong_key"


@dataclass(frozen=True, kw_only=True)
class ClockSkew(Condition):
    """The hub's clock is off by `offset_s` when it looks at tokens and certificates."""

    kind: ClassVar[str] = "hub.clock_skew"
    offset_s: Annotated[float, Field(ge=-3_660 * DAY_S, le=3_660 * DAY_S, allow_inf_nan=False)]


BEFORE_LOGIN = (BadCertificate, TlsVersion, Silent)
FAULTS = (
    *BEFORE_LOGIN,
    Connack,
    StallConnect,
    WrongKey,
    ClockSkew,
    *CONNECTION_FAULTS,
    *ANSWER_FAULTS,
    *DOWN_FAULTS,
)
