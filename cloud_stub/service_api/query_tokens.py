"""The words of a query, with their places, so that errors can say where. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from emulator.errors import WireError

QUERY_CHARACTERS_MAX = 8_192
NUMBER_CHARACTERS_MAX = 32


class QueryError(WireError):
    """A query that cannot be understood. `position` counts characters from 1."""

    def __init__(self, position: int, text: str) -> None:
        super().__init__(f"position {position}: {text}")
        self.position = position


class TokenKind(StrEnum):
    """What a token is."""

    NAME = "name"
    QUOTED_NAME = "quoted_name"
    NUMBER = "number"
    TEXT = "text"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written, but for texts and quoted names, where it is what they mean."""

    kind: TokenKind
    text: str
    position: int

    def says(self, *words: str) -> bool:
        """Whether it is one of these keywords or signs; `words` in capitals."""
        return self.kind in (TokenKind.NAME, TokenKind.SIGN) and self.text.upper() in words

    def __str__(self) -> str:
        return "the end" if self.kind is TokenKind.END else repr(self.text)


_TOKEN = re.compile(
    r"""(?P<quoted_name>\[\[[^\[\]]*\]\])
      | (?P<name>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<sign><=|>=|!=|<>|[=<>()\[\],.*])
      | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


def tokens_of(text: str) -> list[Token]:
    """All tokens, and `END` last. QueryError."""
    if len(text) > QUERY_CHARACTERS_MAX:
        raise QueryError(QUERY_CHARACTERS_MAX + 1, f"a query has at most {QUERY_CHARACTERS_MAX} characters")
    return [*_scan(text), Token(TokenKind.END, "", len(text) + 1)]


def _scan(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            unclosed = text[at] in "'\""
            raise QueryError(at + 1, "this text has no end" if unclosed else f"{text[at]!r} means nothing here")
        if match.lastgroup == "number" and len(match[0]) > NUMBER_CHARACTERS_MAX:
            raise QueryError(at + 1, f"a number has at most {NUMBER_CHARACTERS_MAX} characters")
        if match.lastgroup != "space":
            yield _token(TokenKind(match.lastgroup or ""), match[0], at + 1)
        at = match.end()


def _token(kind: TokenKind, raw: str, position: int) -> Token:
    match kind:
        case TokenKind.TEXT:
            return Token(kind, _ESCAPE.sub(lambda escape: _unescaped(escape, position), raw[1:-1]), position)
        case TokenKind.QUOTED_NAME:
            return Token(kind, raw[2:-2], position)
        case _:
            return Token(kind, raw, position)


def _unescaped(escape: re.Match[str], position: int) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    if escape[2] not in "'\"\\":
        raise QueryError(position + 1 + escape.start(), f"{escape[0]!r} is no escape")
    return escape[2]
