r"""The query language of the hub, as far as it is supported here. Pure (iothub-mqtt.md section 2.6).

::

    query     = SELECT [TOP n] columns FROM devices [[AS] alias] [WHERE condition]
    columns   = "*" | COUNT() [AS name] | path [AS name] {"," path [AS name]}
    condition = operand | operand sign operand | operand [NOT] IN "[" constants "]" | FUNCTION(...)
              | condition AND condition | condition OR condition | NOT condition | "(" condition ")"
    sign      = "=" "!=" "<>" "<" "<=" ">" ">="
    operand   = constant | path
    path      = name {"." name}                  a name of other characters stands in "[[" "]]"
    constant  = number | 'text' | "text" | true | false | null       with \' \" \\ \u0000 in texts

Keywords and functions may be written in any case, names not. There is no GROUP BY, no ORDER BY and no arithmetic.
"""

from cloud_stub.service_api.query import Column, Query
from cloud_stub.service_api.query_terms import (
    FUNCTIONS,
    SIGNS,
    All,
    Call,
    Comparison,
    Constant,
    Either,
    Membership,
    Not,
    Path,
    Term,
)
from cloud_stub.service_api.query_tokens import QueryError, Token, TokenKind, tokens_of

NESTING_MAX = 32
COLUMNS_MAX = 64
TOP_MAX = 1_000_000_000
EVERYTHING: Term = Constant(True)
SOURCE = "devices"

_KEYWORDS = frozenset({"SELECT", "TOP", "FROM", "WHERE", "AS", "AND", "OR", "NOT", "IN", "TRUE", "FALSE", "NULL"})
_CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}


def parse_query(text: str) -> Query:
    """Read a query. QueryError, which says where."""
    parser = _Parser(tokens_of(text))
    query = parser.query()
    parser.finish()
    return query


def condition_of(text: str) -> Term:
    """Read what stands after WHERE; an asterisk, or nothing, means every device. QueryError."""
    if text.strip() in ("", "*"):
        return EVERYTHING
    parser = _Parser(tokens_of(text))
    condition = parser.condition()
    parser.finish()
    return condition


class _Parser:
    """Recursive descent, one method per rule."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._alias = SOURCE

    def finish(self) -> None:
        """Nothing may be left."""
        if self._next.kind is not TokenKind.END:
            raise self._unexpected("the end")

    def query(self) -> Query:
        self._expect("SELECT")
        top = self._top()
        columns_at = self._at
        self._skip_to_from()
        self._source()
        after_source, self._at = self._at, columns_at
        count, columns = self._columns()
        if not self._next.says("FROM"):
            raise self._unexpected("FROM")
        self._at = after_source
        where = self.condition() if self._take("WHERE") else EVERYTHING
        return Query(columns, count, where, top)

    # Columns and source

    def _skip_to_from(self) -> None:
        """Columns can be read only when the alias is known."""
        while not self._next.says("FROM"):
            if self._next.kind is TokenKind.END:
                raise self._unexpected("FROM")
            self._at += 1
        self._at += 1

    def _top(self) -> int | None:
        if not self._take("TOP"):
            return None
        token = self._advance()
        if token.kind is not TokenKind.NUMBER or not token.text.isdigit() or not 0 < int(token.text) <= TOP_MAX:
            raise QueryError(token.position, f"TOP takes a whole number up to {TOP_MAX}, found {token}")
        return int(token.text)

    def _source(self) -> None:
        token = self._advance()
        if token.kind is not TokenKind.NAME or token.text.lower() != SOURCE or self._next.says("."):
            raise QueryError(token.position, f"only {SOURCE} can be asked, found {token}")
        named = self._take("AS")
        if named or self._is_name(self._next):
            self._alias = self._name()

    def _columns(self) -> tuple[str | None, tuple[Column, ...] | None]:
        if self._take("*"):
            return None, None
        if self._next.says("COUNT") and self._after_next.says("("):
            return self._count(), None
        columns = [self._column()]
        while self._take(","):
            columns.append(self._column())
            if len(columns) > COLUMNS_MAX:
                raise QueryError(self._next.position, f"more than {COLUMNS_MAX} columns")
        return None, tuple(columns)

    def _count(self) -> str:
        self._at += 2
        self._take("*")
        self._expect(")")
        return self._name() if self._take("AS") else "$1"

    def _column(self) -> Column:
        path = self._path()
        return Column(self._name() if self._take("AS") else path.names[-1], path)

    # Conditions, the loosest first

    def condition(self) -> Term:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise QueryError(self._next.position, f"nested deeper than {NESTING_MAX}")
        parts = [self._conjunction()]
        while self._take("OR"):
            parts.append(self._conjunction())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _conjunction(self) -> Term:
        parts = [self._negation()]
        while self._take("AND"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _negation(self) -> Term:
        negations = 0
        while self._take("NOT"):
            negations += 1
        term = self._comparison()
        return Not(term) if negations % 2 else Not(Not(term)) if negations else term

    def _comparison(self) -> Term:
        if self._take("("):
            inner = self.condition()
            self._expect(")")
            return inner
        left = self._call() if self._next.kind is TokenKind.NAME and self._after_next.says("(") else self._operand()
        token = self._next
        if token.kind is TokenKind.SIGN and token.text in SIGNS:
            self._at += 1
            return Comparison(token.text, left, self._operand())
        if token.says("NOT") and self._after_next.says("IN"):
            self._at += 2
            return Not(Membership(left, self._choices()))
        return Membership(left, self._choices()) if self._take("IN") else left

    def _choices(self) -> tuple[Term, ...]:
        token = self._advance()
        if not token.says("[", "("):
            raise QueryError(token.position, f"expected '[', found {token}")
        choices: list[Term] = [self._constant()]
        while self._take(","):
            choices.append(self._constant())
        self._expect("]" if token.text == "[" else ")")
        return tuple(choices)

    def _operand(self) -> Term:
        token = self._next
        if token.kind in (TokenKind.NUMBER, TokenKind.TEXT) or token.says(*_CONSTANTS):
            return self._constant()
        return self._path()

    def _call(self) -> Term:
        token = self._advance()
        name = token.text.upper()
        function = FUNCTIONS.get(name)
        if function is None:
            raise QueryError(token.position, f"there is no function {token}")
        self._expect("(")
        arguments = [self._operand()]
        while self._take(","):
            arguments.append(self._operand())
        self._expect(")")
        if len(arguments) != function.arity:
            raise QueryError(token.position, f"{name} takes {function.arity} arguments, found {len(arguments)}")
        return Call(name, tuple(arguments))

    def _constant(self) -> Constant:
        token = self._advance()
        if token.kind is TokenKind.TEXT:
            return Constant(token.text)
        if token.kind is TokenKind.NUMBER:
            return Constant(int(token.text) if token.text.lstrip("-").isdigit() else float(token.text))
        if token.says(*_CONSTANTS):
            return Constant(_CONSTANTS[token.text.upper()])
        raise QueryError(token.position, f"expected a constant, found {token}")

    def _path(self) -> Path:
        names = [self._name()]
        while self._take("."):
            names.append(self._name(after_point=True))
        return Path(tuple(names[1:] if len(names) > 1 and names[0] == self._alias else names))

    # Tokens

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    @property
    def _after_next(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _advance(self) -> Token:
        token = self._next
        self._at += token.kind is not TokenKind.END
        return token

    def _take(self, word: str) -> bool:
        taken = self._next.says(word)
        self._at += taken
        return taken

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected(word)

    def _name(self, *, after_point: bool = False) -> str:
        token = self._advance()
        if not (self._is_name(token) or (after_point and token.kind is TokenKind.NAME)):
            raise QueryError(token.position, f"expected a name, found {token}")
        return token.text

    @staticmethod
    def _is_name(token: Token) -> bool:
        plain = token.kind is TokenKind.NAME and token.text.upper() not in _KEYWORDS
        return plain or token.kind is TokenKind.QUOTED_NAME

    def _unexpected(self, wanted: str) -> QueryError:
        return QueryError(self._next.position, f"expected {wanted}, found {self._next}")
