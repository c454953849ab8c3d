"""Which part of a file a request gets, and under which conditions: RFC 9110 sections 13 and 14.

One range of bytes is served. Several at once are not: the header is then as if it were not there, as the RFC allows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

HEADER_CHARACTERS_MAX = 200
"""A longer Range header is ignored."""

_RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')


@dataclass(frozen=True, slots=True)
class Part:
    """What of a file is sent: HTTP status, bytes, and the headers that say so."""

    status: int
    span: range
    headers: Mapping[str, str] = field(default_factory=dict)


def part_for(headers: Mapping[str, str], etag: str, total: int) -> Part:
    """The part of a file of `total` bytes that a GET with these headers (names in lower case) is answered with.

    200 the whole, 206 a part, 304 and 416 nothing, 412 nothing: the file is another one.
    """
    common = {"ETag": etag, "Accept-Ranges": "bytes"}
    if "if-match" in headers and not _names(headers["if-match"], etag, strong=True):
        return Part(412, range(0), common)
    if "if-none-match" in headers and _names(headers["if-none-match"], etag, strong=False):
        return Part(304, range(0), common)
    asked = headers.get("range", "")
    if headers.get("if-range", etag).strip() != etag:
        asked = ""  # only a strong tag counts, and we have no dates (RFC 9110 section 13.1.5)
    span = parse_range(asked, total)
    if span is None:
        return Part(416, range(0), common | {"Content-Range": f"bytes */{total}"})
    if span == range(total) and _only(asked) is None:
        return Part(200, span, common)
    return Part(206, span, common | {"Content-Range": f"bytes {span.start}-{span.stop - 1}/{total}"})


def parse_range(header: str, total: int) -> range | None:
    """The bytes that a Range header asks for, cut to `total`; None: not satisfiable (RFC 9110 section 14.1.2).

    A header that is missing, or not one good range of bytes, means everything.
    """
    only = _only(header)
    if only is None:
        return range(total)
    first, last = only
    if not first:
        span = range(max(total - int(last), 0), total)
    else:
        span = range(int(first), min(int(last) + 1, total) if last else total)
    return span if span else None


def _only(header: str) -> tuple[str, str] | None:
    """First and last byte of the only range in a header, as texts of which one may be empty; None: not one range."""
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or len(header) > HEADER_CHARACTERS_MAX:
        return None
    given = [each for item in ranges.split(",") if (each := item.strip())]
    match = _RANGE.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    return None if first and last and int(last) < int(first) else (first, last)


def _names(header: str, etag: str, *, strong: bool) -> bool:
    """Whether a list of entity tags has this one, or is ``*``."""
    if header.strip() == "*":
        return True
    tags: list[str] = _ETAG.findall(header)
    return etag in (tags if strong else [tag.removeprefix("W/") for tag in tags])
