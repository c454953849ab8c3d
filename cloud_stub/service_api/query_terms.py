"""What a query can say about one device, as values that look at its JSON. Pure (iothub-mqtt.md section 2.6).

A condition is true, false or `UNDEFINED`, and only what is true is found. Something is undefined if it is not there, or
if values of different types are compared; so ``NOT tags.x = 1`` does not find a device without ``tags.x`` (assumption).
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

Document = Mapping[str, Any]


class Undefined(Enum):
    """The type of `UNDEFINED`."""

    UNDEFINED = "undefined"


UNDEFINED = Undefined.UNDEFINED
"""What a path has that leads nowhere."""


class Term(Protocol):
    """A part of a query."""

    def of(self, document: Document) -> Any:
        """Its value for one document, or `UNDEFINED`."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: str | float | int | bool | None

    def of(self, document: Document) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class Path:
    """Names that lead into the document, such as ``properties``, ``reported``, ``fw``."""

    names: tuple[str, ...]

    def of(self, document: Document) -> Any:
        found: Any = document
        for name in self.names:
            found = found.get(name, UNDEFINED) if isinstance(found, Mapping) else UNDEFINED
        return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values of one type: texts and numbers have an order, truth values and null can only be equal."""

    sign: str
    left: Term
    right: Term

    def of(self, document: Document) -> bool | Undefined:
        return _compare(self.sign, self.left.of(document), self.right.of(document))


@dataclass(frozen=True, slots=True)
class Membership:
    """``IN [...]``."""

    item: Term
    choices: tuple[Term, ...]

    def of(self, document: Document) -> bool | Undefined:
        item: object = self.item.of(document)
        if item is UNDEFINED:
            return UNDEFINED
        return any(_compare("=", item, choice.of(document)) is True for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of `FUNCTIONS`, by its name in capitals."""

    name: str
    arguments: tuple[Term, ...]

    def of(self, document: Document) -> bool | Undefined:
        truth: bool | Undefined = FUNCTIONS[self.name].apply(*(argument.of(document) for argument in self.arguments))
        return truth


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; of what is undefined, undefined."""

    inner: Term

    def of(self, document: Document) -> bool | Undefined:
        truth = _truth(self.inner.of(document))
        return truth if truth is UNDEFINED else not truth


@dataclass(frozen=True, slots=True)
class All:
    """``AND``: one false part decides."""

    parts: tuple[Term, ...]

    def of(self, document: Document) -> bool | Undefined:
        return _decide(False, self.parts, document)


@dataclass(frozen=True, slots=True)
class Either:
    """``OR``: one true part decides."""

    parts: tuple[Term, ...]

    def of(self, document: Document) -> bool | Undefined:
        return _decide(True, self.parts, document)


def _decide(deciding: bool, parts: tuple[Term, ...], document: Document) -> bool | Undefined:
    truths = [_truth(part.of(document)) for part in parts]
    if deciding in truths:
        return deciding
    return UNDEFINED if UNDEFINED in truths else not deciding


def _truth(value: Any) -> bool | Undefined:
    return value if isinstance(value, bool) else UNDEFINED


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
SIGNS = frozenset(_ORDER)
_EQUALITY = frozenset({"=", "!=", "<>"})


def _compare(sign: str, left: Any, right: Any) -> bool | Undefined:
    kind = _kind(left)
    if kind is None or kind != _kind(right) or (kind in ("boolean", "null") and sign not in _EQUALITY):
        return UNDEFINED
    return _ORDER[sign](left, right)


def _kind(value: Any) -> str | None:
    """The type of a value that can be compared; None for objects, arrays and what is undefined."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Function:
    """A function and how many arguments it takes."""

    arity: int
    apply: Callable[..., bool | Undefined]


def _of_texts(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool | Undefined]:
    def apply(text: Any, part: Any) -> bool | Undefined:
        return test(text, part) if isinstance(text, str) and isinstance(part, str) else UNDEFINED

    return apply


FUNCTIONS: Mapping[str, Function] = {
    "STARTSWITH": Function(2, _of_texts(str.startswith)),
    "ENDSWITH": Function(2, _of_texts(str.endswith)),
    "CONTAINS": Function(2, _of_texts(str.__contains__)),
    "IS_DEFINED": Function(1, lambda value: value is not UNDEFINED),
    "IS_NULL": Function(1, lambda value: value is None),
    "IS_BOOL": Function(1, lambda value: isinstance(value, bool)),
    "IS_NUMBER": Function(1, lambda value: _kind(value) == "number"),
    "IS_STRING": Function(1, lambda value: isinstance(value, str)),
    "IS_OBJECT": Function(1, lambda value: isinstance(value, Mapping)),
}
"""By name in capitals; a query may write them in any case."""
