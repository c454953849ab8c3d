"""Shared access signatures, the passwords of the hub (iothub-mqtt.md 1.3).

``SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]``, fields in any order. The signature
is HMAC-SHA256 over the resource *as written in the token*, a line feed and the expiry, so a token is checked over its
raw text: ``%2F``, ``%2f`` and ``/`` all occur and are three different texts.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_to_bytes

from emulator.errors import WireError

PREFIX = "SharedAccessSignature "
EXPIRY_DIGITS_MAX = 15


class SasError(WireError):
    """Text that is not a shared access signature. The message never repeats any of it."""


@dataclass(frozen=True, slots=True)
class Sas:
    """A token as it was sent. `resource` is raw text, `expiry` Unix seconds UTC, `policy` None for device keys."""

    resource: str
    signature: bytes = field(repr=False)
    expiry: int
    policy: str | None = None


def sas_token(
    resource: str, key: bytes, expiry: int, *, encode_resource: bool = False, policy: str | None = None
) -> str:
    """A token for `resource`, signed with the decoded key, valid until `expiry` (Unix seconds UTC).

    As the charger writes it (zaptec.md section 6): order sr, sig, se, and the resource not percent-encoded unless
    `encode_resource`, as the vendor's SDKs do. `policy` is for tokens of services.
    """
    raw = quote(resource, safe="") if encode_resource else resource
    signature = quote(base64.b64encode(_sign(raw, key, expiry)), safe="")
    name = "" if policy is None else f"&skn={quote(policy, safe='')}"
    return f"{PREFIX}sr={raw}&sig={signature}&se={expiry}{name}"


def parse_sas(text: str) -> Sas:
    """Read a token. Unknown fields are ignored, an empty ``skn`` means none. Raises SasError."""
    if not text.startswith(PREFIX):
        raise SasError("not a shared access signature")
    fields: dict[str, str] = {}
    for part in text.removeprefix(PREFIX).split("&"):
        name, _, value = part.partition("=")
        if name in fields:
            raise SasError("a field comes twice")
        fields[name] = value
    if not all(fields.get(name) for name in ("sr", "sig", "se")):
        raise SasError("no resource, signature or expiry")
    policy = unquote(fields.get("skn", "")) or None
    return Sas(fields["sr"], _signature(fields["sig"]), _expiry(fields["se"]), policy)


def check_sas(sas: Sas, keys: Sequence[bytes]) -> bool:
    """Whether one of `keys` made the signature, in constant time. Looks at neither expiry nor scope."""
    right = [hmac.compare_digest(_sign(sas.resource, key, sas.expiry), sas.signature) for key in keys]
    return any(right)


def covers(resource_raw: str, host: str, device_id: str) -> bool:
    """Whether a token for this resource lets a device in: whole leading segments of ``{host}/devices/{device_id}``."""
    return covers_path(resource_raw, (host, "devices", device_id))


def covers_path(resource_raw: str, path: tuple[str, ...]) -> bool:
    """Whether the resource is whole leading segments of `path`, whose first one is a host.

    It may be percent-encoded or not, which for an id with a percent sign makes a difference: one of both must fit.
    The host is compared without case and port, the rest as it is.
    """
    return _leads(resource_raw.split("/"), path) or _leads(unquote(resource_raw).split("/"), path)


def _leads(scope: list[str], path: tuple[str, ...]) -> bool:
    return host_of(scope[0]) == host_of(path[0]) and tuple(scope[1:]) == path[1 : len(scope)]


def host_of(text: str) -> str:
    """A host as it is compared: some clients write the port too (iothub-mqtt.md 1.2), and letter case is free."""
    return text.partition(":")[0].lower()


def _sign(resource_raw: str, key: bytes, expiry: int) -> bytes:
    return hmac.digest(key, f"{resource_raw}\n{expiry}".encode("utf-8", "surrogatepass"), "sha256")


def _signature(value: str) -> bytes:
    try:
        return base64.b64decode(unquote_to_bytes(value.encode("ascii")), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise SasError("the signature is not base64") from None


def _expiry(value: str) -> int:
    # the signed text holds the digits as written; refusing 007 lets an int stand for them
    if not (value.isascii() and value.isdigit()) or len(value) > EXPIRY_DIGITS_MAX or str(int(value)) != value:
        raise SasError("the expiry is not a whole number of seconds")
    return int(value)
