"""The user properties of messages on the bus, pure."""

import re
from urllib.parse import quote

Properties = tuple[tuple[str, str], ...]
"""Names with their values, in order; a name may occur more than once."""

# What a broker may end the connection for: control characters, surrogates, non-characters (MQTT 5 section 1.5.4).
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def clean(properties: Properties) -> Properties:
    """The same properties with characters that MQTT forbids in text percent-encoded, so that no message is poison."""
    return tuple((_clean(name), _clean(value)) for name, value in properties)


def _clean(text: str) -> str:
    return text if text.isprintable() else _FORBIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return quote(match[0].encode("utf-8", "surrogatepass"))
