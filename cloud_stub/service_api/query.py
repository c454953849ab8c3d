"""A query of the hub as a value: what it asks of devices, and where its next page begins. Pure (section 2.6).

`query_parser` says which language it is read from.
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cloud_stub.service_api.query_terms import UNDEFINED, Document, Path, Term
from cloud_stub.service_api.query_tokens import QueryError


class ItemType(StrEnum):
    """The reply header ``x-ms-item-type``."""

    TWIN = "Twin"
    RAW = "Raw"
    JOB_RESPONSE = "JobResponse"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a projection, and its name in the rows."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks for. `columns` None: whole twins. `count` is the name under which to count, if that is all."""

    columns: tuple[Column, ...] | None
    count: str | None
    where: Term
    top: int | None = None

    @property
    def item_type(self) -> ItemType:
        """What the rows are."""
        return ItemType.TWIN if self.columns is None and self.count is None else ItemType.RAW

    def finds(self, document: Document) -> bool:
        """Whether a twin is asked for."""
        return self.where.of(document) is True

    def row(self, document: Document) -> dict[str, Any]:
        """What is asked for of a twin; columns that are undefined are absent."""
        if self.columns is None:
            return dict(document)
        values = ((column.name, column.path.of(document)) for column in self.columns)
        return {name: value for name, value in values if value is not UNDEFINED}


class Pager:
    """Collects one page. Feed it twins by rising device id, from after the id where the page before ended."""

    def __init__(self, query: Query, *, max_items: int, given: int = 0) -> None:
        """`given` rows were on the pages before."""
        self._query = query
        self._room = max_items if query.top is None else min(max_items, query.top - given)
        self._left = None if query.top is None else query.top - given
        self._given = given
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        self._last = ""
        self.full = False
        """Nothing that is fed from now on makes a difference."""
        self.more = False
        """There is a further page."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the page. A count is complete only when all twins were fed."""
        return self._rows if self._query.count is None else [{self._query.count: self._count}]

    @property
    def place(self) -> tuple[str, int]:
        """After which id to go on, and how many rows are given by then."""
        return self._last, self._given + len(self._rows)

    def feed(self, device_id: str, document: Document) -> None:
        """Take a twin that the query finds. One beyond the page only says that there is more."""
        if self.full or not self._query.finds(document):
            return
        if self._query.count is not None:
            self._count += 1
            self.full = self._count == self._query.top
        elif len(self._rows) < self._room:
            self._rows.append(self._query.row(document))
            self._last = device_id
            self.full = len(self._rows) == self._left
        else:
            self.full = self.more = True


def continuation_of(query: str, after: str, given: int) -> str:
    """The token for going on after a device id, when so many rows have been given."""
    return urlsafe_b64encode(json.dumps([_digest(query), after, given]).encode()).decode()


def place_in(query: str, token: str | None) -> tuple[str, int]:
    """The inverse: after which id to go on, and how many rows were given. QueryError for a token of another query."""
    if not token:
        return "", 0
    try:
        digest, after, given = json.loads(urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, RecursionError):
        digest, after, given = "", "", 0
    if digest != _digest(query) or not isinstance(after, str) or not isinstance(given, int) or given < 0:
        raise QueryError(1, "the continuation token is not one of this query")
    return after, given


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode("utf-8", "surrogatepass")).hexdigest()[:16]
