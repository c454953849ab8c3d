"""Entity tags of devices and twins, and the precondition ``If-Match`` (iothub-mqtt.md sections 2.2 to 2.4)."""

from base64 import b64encode

from cloud_stub.state.errors import ErrorCode, HubError

FIRST_DEVICE_ETAG = 100_000_000
"""Device etags are decimal numbers of about this length."""


def device_etag(number: int) -> str:
    """Base64 of the decimal text."""
    return b64encode(str(number).encode()).decode()


def twin_etag(number: int) -> str:
    """Base64 of an 8-byte big-endian counter: 1 is ``AAAAAAAAAAE=``."""
    return b64encode(number.to_bytes(8, "big")).decode()


def bare(if_match: str | None) -> str:
    """The tag without its quotes; empty when there is none, ``*`` for any."""
    text = (if_match or "").strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def require(if_match: str | None, etag: str) -> None:
    """HubError 412001 unless the tag, which may be in quotes, ``*`` or absent, admits `etag`."""
    wanted = bare(if_match)
    if wanted not in ("", "*", etag):
        raise HubError(ErrorCode.ETAG_MISMATCH, "the etag in If-Match is not the newest one")
