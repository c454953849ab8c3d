"""Where the firmware is: the location request and its reply (zaptec.md section 14)."""

import base64
import json
import re
from dataclasses import dataclass

from emulator.wire.json_fields import FieldError, json_object, text
from emulator.wire.manifest import parse_version
from emulator.wire.update_reason import FirmwareError, UpdateReason, malformed

LOCATION_MAX_BYTES = 1536
"""zaptec.md section 14."""
TOTAL_LENGTH_HEADER = "X-Total-Content-Length"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?=[^:/]{{1,253}}[:/])(?:{_LABEL}\.){{0,126}}(?=[A-Za-z]){_LABEL}"
"""RFC 1123 section 2.1: labels of 1 to 63 characters, the last of which no address in dots could have."""
_DOWNLOAD_URL = re.compile(rf"https://{_HOST}(?::[1-9]\d{{0,3}})?(?:/[A-Za-z0-9._~+-]{{1,255}}){{1,16}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Location:
    """Where the current firmware is (zaptec.md section 14)."""

    download_url: str
    version: str


def location_path(serial: str) -> str:
    """Path of the location request at the API host (zaptec.md section 14)."""
    return f"/api/firmware/{serial}/current"


def encode_location_request(key: bytes) -> bytes:
    """Body of the location request. That it is JSON is invented; the source only shows that it carries the key."""
    return json.dumps({"psk": base64.b64encode(key).decode()}, separators=(",", ":")).encode()


def decode_location_request(data: bytes) -> bytes:
    """The key in a location request. FirmwareError(MALFORMED), which never quotes the key."""
    try:
        return base64.b64decode(text(json_object(data), "psk"), validate=True)
    except (FieldError, ValueError):
        raise malformed("location request without a proper psk") from None


def encode_location(location: Location) -> bytes:
    """Body of the location reply."""
    fields = {"DownloadUrl": location.download_url, "Version": location.version}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_location(data: bytes) -> Location:
    """The location reply: small, with a proper version and the HTTPS address of a file.

    FirmwareError NOT_HTTPS or MALFORMED.
    """
    if len(data) > LOCATION_MAX_BYTES:
        raise malformed(f"location reply of more than {LOCATION_MAX_BYTES} bytes")
    try:
        fields = json_object(data)
        location = Location(text(fields, "DownloadUrl"), text(fields, "Version"))
    except FieldError as error:
        raise malformed(f"location reply: {error}") from None
    if location.download_url.lower().startswith("http:"):
        raise FirmwareError(UpdateReason.NOT_HTTPS, "DownloadUrl is an address without TLS")
    if not _DOWNLOAD_URL.fullmatch(location.download_url):
        raise malformed("DownloadUrl is not an HTTPS address of a file")
    parse_version(location.version)
    return location
