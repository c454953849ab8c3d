"""Who may connect to the hub, pure: the decision at CONNECT (iothub-mqtt.md sections 1.2 to 1.5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloud_stub.hub.client_certificate import ClientCertificate, parse_certificate, signed_by
from cloud_stub.hub.policies import Denied, Permission, Policies
from cloud_stub.hub.rules import CODE_BAD_LEVEL, CODE_UNAUTHORISED, HubRules
from cloud_stub.state.identity import CaSigned, Device, DeviceStatus, SasAuth, SelfSigned
from emulator.errors import WireError
from emulator.wire.iothub import HubUser, Sas, check_sas, covers_path, host_of, parse_sas, parse_username
from emulator.wire.mqtt import PROTOCOL_LEVEL, Connect


class RefusedReason(StrEnum):
    """Why a CONNECT was refused. For histories only: the device sees no more than the code."""

    PROTOCOL_LEVEL = "protocol_level"
    BAD_USERNAME = "bad_username"
    WRONG_HOST = "wrong_host"
    ID_MISMATCH = "id_mismatch"
    UNKNOWN_DEVICE = "unknown_device"
    DISABLED = "disabled"
    MISSING_SAS = "missing_sas"
    BAD_SAS = "bad_sas"
    SAS_ON_X509 = "sas_on_x509"
    UNKNOWN_POLICY = "unknown_policy"
    NOT_PERMITTED = "not_permitted"
    WRONG_SCOPE = "wrong_scope"
    WRONG_SIGNATURE = "wrong_signature"
    SAS_EXPIRED = "sas_expired"
    NO_CERTIFICATE = "no_certificate"
    WRONG_CERTIFICATE = "wrong_certificate"
    UNKNOWN_AUTHORITY = "unknown_authority"
    CERTIFICATE_DATES = "certificate_dates"
    INJECTED = "injected"
    UNAVAILABLE = "unavailable"


class AuthMethod(StrEnum):
    """How a device has proved itself: the value of ``iothub-connection-auth-method`` (section 1.11)."""

    DEVICE_SAS = '{"scope":"device","type":"sas","issuer":"iothub"}'
    HUB_SAS = '{"scope":"hub","type":"sas","issuer":"iothub"}'
    DEVICE_X509 = '{"scope":"device","type":"x509","issuer":"iothub"}'


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK 0. `expires_at` is the end of the token, Unix seconds; infinite with a certificate."""

    device: Device
    auth_method: AuthMethod
    expires_at: float
    api_version: str | None
    """None: left out, as very old clients do (section 1.2)."""
    model_id: str = ""

    @property
    def device_id(self) -> str:
        """Who it is."""
        return self.device.device_id


@dataclass(frozen=True, slots=True)
class Refused:
    """CONNACK `code`, then close. `device_id` as claimed, empty if unreadable."""

    code: int
    reason: RefusedReason
    device_id: str = ""


DeviceOf = Callable[[str], Device | None]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client shows: CONNECT, and the certificates of its TLS connection (DER, leaf first)."""

    connect: Connect
    certificates: Sequence[bytes] = ()


def decide_connect(
    proof: Proof, *, now_utc: datetime, rules: HubRules, device_of: DeviceOf, policies: Policies
) -> Accepted | Refused:
    """Whether a client may connect: code 5 for every fault of identity or credential."""
    connect = proof.connect
    if connect.protocol_level != PROTOCOL_LEVEL:
        return Refused(CODE_BAD_LEVEL, RefusedReason.PROTOCOL_LEVEL)
    user = _identity(connect, rules)
    if isinstance(user, RefusedReason):
        return Refused(CODE_UNAUTHORISED, user, connect.client_id)
    device = device_of(user.device_id)
    if device is None or user.module_id is not None:
        return Refused(CODE_UNAUTHORISED, RefusedReason.UNKNOWN_DEVICE, user.device_id)
    if device.status is DeviceStatus.DISABLED:
        return Refused(rules.disabled_code, RefusedReason.DISABLED, user.device_id)
    judged = _judge(proof, device, user, now_utc, rules, policies)
    if isinstance(judged, RefusedReason):
        return Refused(CODE_UNAUTHORISED, judged, user.device_id)
    method, expires_at = judged
    return Accepted(device, method, expires_at, user.query.get("api-version"), user.query.get("model-id", ""))


def _identity(connect: Connect, rules: HubRules) -> HubUser | RefusedReason:
    if not connect.username:
        return RefusedReason.BAD_USERNAME
    try:
        user = parse_username(connect.username)
    except WireError:
        return RefusedReason.BAD_USERNAME
    if host_of(user.host) != host_of(rules.host):
        return RefusedReason.WRONG_HOST
    identity = user.device_id if user.module_id is None else f"{user.device_id}/{user.module_id}"
    return user if connect.client_id == identity else RefusedReason.ID_MISMATCH


def _judge(
    proof: Proof, device: Device, user: HubUser, now_utc: datetime, rules: HubRules, policies: Policies
) -> tuple[AuthMethod, float] | RefusedReason:
    if isinstance(device.auth, SasAuth):
        return _judge_token(proof.connect.password, device, user, now_utc, rules, policies)
    if proof.connect.password:
        return RefusedReason.SAS_ON_X509
    fault = _certificate_fault(proof.certificates, device, now_utc, rules)
    return (AuthMethod.DEVICE_X509, float("inf")) if fault is None else fault


def _judge_token(
    password: bytes | None, device: Device, user: HubUser, now_utc: datetime, rules: HubRules, policies: Policies
) -> tuple[AuthMethod, float] | RefusedReason:
    if not password:
        return RefusedReason.MISSING_SAS
    try:
        sas = parse_sas(password.decode("utf-8"))
    except (WireError, UnicodeDecodeError):
        return RefusedReason.BAD_SAS
    path = (user.host, "devices", device.device_id)
    fault = _token_fault(sas, path, device, now_utc, rules, policies)
    if fault is not None:
        return fault
    return AuthMethod.DEVICE_SAS if sas.policy is None else AuthMethod.HUB_SAS, sas.expiry


_REASONS: Mapping[Denied, RefusedReason] = {
    Denied.UNKNOWN_POLICY: RefusedReason.UNKNOWN_POLICY,
    Denied.NOT_PERMITTED: RefusedReason.NOT_PERMITTED,
    Denied.WRONG_SCOPE: RefusedReason.WRONG_SCOPE,
    Denied.WRONG_SIGNATURE: RefusedReason.WRONG_SIGNATURE,
    Denied.EXPIRED: RefusedReason.SAS_EXPIRED,
}


def _token_fault(
    sas: Sas, path: tuple[str, ...], device: Device, now_utc: datetime, rules: HubRules, policies: Policies
) -> RefusedReason | None:
    if sas.policy is not None:
        judged = policies.judge(
            sas, path=path, needs=Permission.DEVICE_CONNECT, now_utc=now_utc, skew_s=rules.token_skew_s
        )
        return _REASONS.get(judged, RefusedReason.BAD_SAS) if isinstance(judged, Denied) else None
    if not covers_path(sas.resource, path):
        return RefusedReason.WRONG_SCOPE
    if not check_sas(sas, device.keys):
        return RefusedReason.WRONG_SIGNATURE
    expired = now_utc.timestamp() >= sas.expiry + rules.token_skew_s
    return RefusedReason.SAS_EXPIRED if expired else None


def _certificate_fault(
    certificates: Sequence[bytes], device: Device, now_utc: datetime, rules: HubRules
) -> RefusedReason | None:
    shown = parse_certificate(certificates[0]) if certificates else None
    if shown is None:
        return RefusedReason.NO_CERTIFICATE
    if not _is_of(shown, device):
        return RefusedReason.WRONG_CERTIFICATE
    if not shown.valid_at(now_utc):
        return RefusedReason.CERTIFICATE_DATES
    if isinstance(device.auth, CaSigned) and not signed_by(shown, certificates[1:], rules.authorities, now_utc):
        return RefusedReason.UNKNOWN_AUTHORITY
    return None


def _is_of(shown: ClientCertificate, device: Device) -> bool:
    if isinstance(device.auth, SelfSigned):
        return device.auth.admits(*shown.thumbprints)
    return shown.common_name == device.device_id
