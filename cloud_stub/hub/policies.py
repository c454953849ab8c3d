"""Shared access policies: names with permissions and two keys, for services and field gateways (iothub-mqtt.md 2.1).

A token of a policy names it in ``skn``. Which policy may do what is the vendor's table; the keys follow from the
production secret, so that every process of one cloud has the same.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from emulator.wire.sas import Sas, SasError, check_sas, covers_path, parse_sas


class Permission(StrEnum):
    """What a policy allows. `REGISTRY_WRITE` is never without `REGISTRY_READ`."""

    REGISTRY_READ = "RegistryRead"
    REGISTRY_WRITE = "RegistryWrite"
    SERVICE_CONNECT = "ServiceConnect"
    DEVICE_CONNECT = "DeviceConnect"


PERMISSIONS: Mapping[str, frozenset[Permission]] = {
    "iothubowner": frozenset(Permission),
    "service": frozenset({Permission.SERVICE_CONNECT}),
    "device": frozenset({Permission.DEVICE_CONNECT}),
    "registryRead": frozenset({Permission.REGISTRY_READ}),
    "registryReadWrite": frozenset({Permission.REGISTRY_READ, Permission.REGISTRY_WRITE}),
}
"""The policies that every hub has."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. Both keys are valid at any time."""

    name: str
    permissions: frozenset[Permission]
    primary_key: bytes = field(repr=False)
    secondary_key: bytes = field(repr=False)

    @property
    def keys(self) -> tuple[bytes, bytes]:
        """Primary, secondary."""
        return self.primary_key, self.secondary_key

    def connection_string(self, host: str) -> str:
        """What service SDKs are configured with. It holds the primary key: a secret."""
        key = b64encode(self.primary_key).decode()
        return f"HostName={host};SharedAccessKeyName={self.name};SharedAccessKey={key}"


class Denied(StrEnum):
    """Why a policy's token is not good enough. For histories; a client learns only that it is not authorised."""

    NO_TOKEN = "no_token"  # noqa: S105 - not a password
    BAD_TOKEN = "bad_token"  # noqa: S105 - not a password
    NO_POLICY = "no_policy"
    UNKNOWN_POLICY = "unknown_policy"
    NOT_PERMITTED = "not_permitted"
    WRONG_SCOPE = "wrong_scope"
    WRONG_SIGNATURE = "wrong_signature"
    EXPIRED = "expired"


class Policies:
    """The policies of one hub, by name (case matters)."""

    def __init__(self, production_secret: bytes) -> None:
        def key(label: str) -> bytes:
            return hmac.digest(production_secret, f"policy/{label}".encode(), "sha256")

        self._policies = {
            name: Policy(name, permissions, key(name), key(f"{name}/secondary"))
            for name, permissions in PERMISSIONS.items()
        }

    def __getitem__(self, name: str) -> Policy:
        return self._policies[name]

    def __iter__(self) -> Iterator[Policy]:
        return iter(self._policies.values())

    def get(self, name: str) -> Policy | None:
        """The policy, if there is one."""
        return self._policies.get(name)

    def judge_text(
        self, token: str | None, *, path: tuple[str, ...], needs: Permission, now_utc: datetime, skew_s: float = 0.0
    ) -> Policy | Denied:
        """As `judge`, for a token as a service sends it in ``Authorization``."""
        if not token:
            return Denied.NO_TOKEN
        try:
            sas = parse_sas(token)
        except SasError:
            return Denied.BAD_TOKEN
        return self.judge(sas, path=path, needs=needs, now_utc=now_utc, skew_s=skew_s)

    def judge(
        self, sas: Sas, *, path: tuple[str, ...], needs: Permission, now_utc: datetime, skew_s: float = 0.0
    ) -> Policy | Denied:
        """The policy that signed a token, if it may do `needs` with `path`: the hub's host, then what is asked for.

        The token's scope must be whole leading segments of `path`, so the host alone covers everything (section 1.3).
        """
        if sas.policy is None:
            return Denied.NO_POLICY
        policy = self.get(sas.policy)
        if policy is None:
            return Denied.UNKNOWN_POLICY
        if not covers_path(sas.resource, path):
            return Denied.WRONG_SCOPE
        if not check_sas(sas, policy.keys):
            return Denied.WRONG_SIGNATURE
        if needs not in policy.permissions:
            return Denied.NOT_PERMITTED
        if now_utc.timestamp() >= sas.expiry + skew_s:
            return Denied.EXPIRED
        return policy
