"""Who may use the bench: the token, where it comes from, and the guard that asks callers for it."""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from emulator.errors import UsageError
from emulator.private_file import read_private

ENVIRONMENT = "ZAPTEC_BENCH_TOKEN"
FILE_BYTES_MAX = 1024
LENGTH_MIN = 16
"""Shorter ones are guessed sooner or later."""
UNREADABLE = "the token must be of visible ASCII characters, without blanks"
SCHEME = b"bearer"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Token:
    """The token in force. It never shows."""

    __slots__ = ("_secret",)

    def __init__(self, text: str, *, where: str) -> None:
        """UsageError, starting with `where`: too short, or not of visible ASCII characters."""
        if not text.isascii() or not text.isprintable() or " " in text:
            raise UsageError(f"{where}: {UNREADABLE}")
        if len(text) < LENGTH_MIN:
            raise UsageError(f"{where}: the token has {len(text)} characters; it needs {LENGTH_MIN}")
        self._secret = text.encode()

    def opens(self, authorization: bytes) -> bool:
        """Whether a header ``Authorization`` brings it; takes as long for every wrong one."""
        scheme, _, secret = authorization.partition(b" ")
        return hmac.compare_digest(secret.strip(), self._secret) and scheme.lower() == SCHEME


def find_token(file: Path | None, environ: Mapping[str, str]) -> Token | None:
    """The token in `file`, else in the environment variable `ENVIRONMENT`; None: there is none. UsageError."""
    if file is not None:
        return Token(_read(file), where=f"--bench-token-file {file}")
    text = environ.get(ENVIRONMENT)
    return None if text is None else Token(text.strip(), where=ENVIRONMENT)


def _read(file: Path) -> str:
    """The text of the token file."""
    where = f"--bench-token-file {file}"
    try:
        return read_private(file, where=where, max_bytes=FILE_BYTES_MAX).decode("ascii").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{where}: {UNREADABLE}") from None


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in."""

    token: Token | None = None
    """None: everybody."""
    callers: Network | None = None
    """Only from there: a machine with several networks takes calls to any of its addresses from all of them."""


class Guard:
    """ASGI middleware: lets in whom `access` allows; the pages in `open_to_all` without the token."""

    def __init__(self, app: ASGIApp, access: Access, open_to_all: frozenset[str]) -> None:
        self._app = app
        self._access = access
        self._open_to_all = open_to_all

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token, callers = self._access.token, self._access.callers
        if callers is not None and not _comes_from(callers, scope):
            await _refuse(403, f"caller: is not of the network {callers}")(scope, receive, send)
        elif token is None or scope["path"] in self._open_to_all or token.opens(_authorization(scope)):
            await self._app(scope, receive, send)
        else:
            text = "Authorization: needs the token of this bench, as: Bearer TOKEN"
            await _refuse(401, text, {"WWW-Authenticate": "Bearer"})(scope, receive, send)


def _refuse(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status_code=status, headers=headers)


def _comes_from(network: Network, scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and ipaddress.ip_address(client[0]) in network


def _authorization(scope: Scope) -> bytes:
    """The header; empty without one, or with several."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return bytes(found[0]) if len(found) == 1 else b""
