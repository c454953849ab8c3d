"""The property bag: application and system properties in the last level of a topic (iothub-mqtt.md 1.11)."""

import base64
import uuid
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import quote, unquote

from emulator.errors import WireError

Bag: TypeAlias = dict[str, str | None]
"""Properties of a message by name; names of system properties begin with ``$.``, None is a name without a value."""


class HubTopicError(WireError):
    """A topic, property bag or user name that the hub does not know; it answers by closing the connection."""


def encode_bag(pairs: Iterable[tuple[str, str | None]], *, escape_dollar: bool = True) -> str:
    """``k1=v1&k2=v2``, percent-encoded, a space as ``%20``. Value None writes the name alone.

    The hub and the SDKs write ``%24.ct``, the charger ``$.ct``: `escape_dollar` chooses. Raises HubTopicError for an
    empty name or text that UTF-8 cannot carry.
    """
    safe = "" if escape_dollar else "$"
    try:
        return "&".join(_encode_pair(name, value, safe) for name, value in pairs)
    except UnicodeEncodeError:
        raise HubTopicError("property that UTF-8 cannot carry") from None


def _encode_pair(name: str, value: str | None, safe: str) -> str:
    if not name:
        raise HubTopicError("property without a name")
    return quote(name, safe=safe) + ("" if value is None else "=" + quote(value, safe=""))


def parse_bag(text: str) -> Bag:
    """Read a bag; a leading ``?`` is skipped, ``+`` is a plus. Of a doubled name the first counts (invented).

    Raises HubTopicError.
    """
    bag: Bag = {}
    for part in text.removeprefix("?").split("&"):
        if not part:
            continue
        name, equals, value = part.partition("=")
        name = _decoded(name)
        if not name:
            raise HubTopicError("property without a name")
        bag.setdefault(name, _decoded(value) if equals else None)
    return bag


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise HubTopicError("property that is not UTF-8") from None


def installation_token(guid: str) -> str:
    """The 22 characters for a GUID in the charger's topics: .NET byte order, base64url (zaptec.md section 6).

    Raises HubTopicError for text that is not a GUID.
    """
    try:
        raw = uuid.UUID(guid).bytes_le
    except ValueError:
        raise HubTopicError("not a GUID") from None
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
