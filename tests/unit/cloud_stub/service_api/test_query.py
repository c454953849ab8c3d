import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.service_api.query import ItemType, Pager, continuation_of, place_in
from cloud_stub.service_api.query_parser import NESTING_MAX, condition_of, parse_query
from cloud_stub.service_api.query_tokens import QUERY_CHARACTERS_MAX, QueryError

TWINS: list[dict[str, Any]] = [
    {
        "deviceId": "a1",
        "status": "enabled",
        "connectionState": "Connected",
        "tags": {"site": {"town": "Oslo", "floor": 2}, "in": 1, "odd name": True},
        "properties": {"desired": {"$version": 2, "amps": 16}, "reported": {"fw": "5.3", "hot": False, "card": None}},
    },
    {
        "deviceId": "a2",
        "status": "disabled",
        "connectionState": "Disconnected",
        "tags": {"site": {"town": "Bergen", "floor": 10}},
        "properties": {"desired": {"amps": 6.5}, "reported": {"fw": 5, "list": [1]}},
    },
    {"deviceId": "b1", "status": "enabled", "connectionState": "Disconnected", "properties": {}},
]


def found(condition: str) -> str:
    term = condition_of(condition)
    return " ".join(twin["deviceId"] for twin in TWINS if term.of(twin) is True)


def page(query: str, max_items: int = 100, token: str | None = None) -> tuple[list[dict[str, Any]], str | None]:
    after, given_before = place_in(query, token)
    pager = Pager(parse_query(query), max_items=max_items, given=given_before)
    for twin in TWINS:
        if twin["deviceId"] > after:
            pager.feed(twin["deviceId"], twin)
    return pager.rows, continuation_of(query, *pager.place) if pager.more else None


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("*", "a1 a2 b1"),
        ("", "a1 a2 b1"),
        ("deviceId = 'a1'", "a1"),
        ('deviceId = "a1"', "a1"),
        ("devices.deviceId = 'a1'", "a1"),
        ("deviceId != 'a1'", "a2 b1"),
        ("deviceId <> 'a1' and deviceId < 'b'", "a2"),
        ("'a1' = deviceId", "a1"),
        ("status='enabled' AND connectionState='Disconnected'", "b1"),
        ("tags.site.town = 'Oslo' OR tags.site.floor > 9", "a1 a2"),
        ("tags.site.floor >= 2 AND tags.site.floor <= 9.5", "a1"),
        ("tags.site.floor > -1", "a1 a2"),
        ("tags.in = 1", "a1"),
        ("tags.[[odd name]] = true", "a1"),
        ("tags.[[odd name]]", "a1"),
        ("tags.site = tags.site", ""),
        ("properties.desired.amps = 6.5e0", "a2"),
        ("properties.desired.$version = 2", "a1"),
        ("properties.reported.hot = false", "a1"),
        ("properties.reported.card = null", "a1"),
        ("properties.reported.hot < true", ""),
        ("deviceId IN ['a1', 'b1']", "a1 b1"),
        ("deviceId in ('a2')", "a2"),
        ("deviceId NOT IN ['a1']", "a2 b1"),
        ("tags.site.floor IN [1, 2]", "a1"),
        ("NOT tags.site.floor IN [1, 2]", "a2"),
        ("STARTSWITH(deviceId, 'a')", "a1 a2"),
        ("startswith(deviceId, 'a') = true", "a1 a2"),
        ("STARTSWITH(properties.reported.fw, '5')", "a1"),
        ("endswith(deviceId, '1') AND contains(deviceId, 'b')", "b1"),
        ("is_defined(tags.site)", "a1 a2"),
        ("NOT is_defined(tags)", "b1"),
        ("is_null(properties.reported.card)", "a1"),
        ("is_string(properties.reported.fw)", "a1"),
        ("is_number(properties.reported.fw)", "a2"),
        ("is_bool(properties.reported.hot)", "a1"),
        ("is_object(tags)", "a1 a2"),
        ("deviceId = 'a1' OR deviceId = 'a2' AND status = 'enabled'", "a1"),
        ("(deviceId = 'a1' OR deviceId = 'a2') AND status = 'disabled'", "a2"),
        ("NOT deviceId = 'a1' AND NOT NOT status = 'enabled'", "b1"),
        (r"deviceId = '\u0061\u0031' OR deviceId = 'it\'s'", "a1"),
    ],
)
def test_conditions(condition: str, ids: str) -> None:
    assert found(condition) == ids


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("tags.site.town != 'Oslo'", "a2"),
        ("NOT tags.site.town = 'Oslo'", "a2"),
        ("properties.reported.fw != '5.3'", ""),
        ("tags.site.town = 'Oslo' OR NOT tags.site.town = 'Oslo'", "a1 a2"),
        ("deviceId = 'b1' OR tags.site.town = 'x'", "b1"),
        ("deviceId = 5", ""),
        ("1 = true", ""),
    ],
)
def test_what_is_undefined_or_of_another_type_is_neither_equal_nor_different(condition: str, ids: str) -> None:
    assert found(condition) == ids


def test_an_asterisk_gives_twins_and_columns_give_rows_without_what_is_undefined() -> None:
    query = parse_query("SELECT * FROM devices WHERE deviceId = 'b1'")
    assert query.item_type is ItemType.TWIN and query.row(TWINS[2]) == TWINS[2]
    query = parse_query("select deviceId, c.tags.site.town AS town, properties.reported.fw from devices as c")
    assert query.item_type is ItemType.RAW
    assert [query.row(twin) for twin in TWINS] == [
        {"deviceId": "a1", "town": "Oslo", "fw": "5.3"},
        {"deviceId": "a2", "town": "Bergen", "fw": 5},
        {"deviceId": "b1"},
    ]


def test_an_alias_stands_before_names_and_only_there() -> None:
    assert parse_query("SELECT * FROM devices c WHERE c.deviceId = 'a1'").finds(TWINS[0])
    assert not parse_query("SELECT * FROM devices c WHERE devices.deviceId = 'a1'").finds(TWINS[0])


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT COUNT() FROM devices", [{"$1": 3}]),
        ("SELECT COUNT(*) AS n FROM devices WHERE status = 'enabled'", [{"n": 2}]),
        ("SELECT TOP 1 COUNT() AS n FROM devices", [{"n": 1}]),
        ("SELECT COUNT() AS n FROM devices WHERE status = 'lost'", [{"n": 0}]),
    ],
)
def test_counting(query: str, rows: list[dict[str, int]]) -> None:
    assert page(query, max_items=1) == (rows, None)


def test_pages_follow_each_other_and_the_last_one_says_so() -> None:
    query = "SELECT deviceId FROM devices"
    first, token = page(query, 2)
    assert first == [{"deviceId": "a1"}, {"deviceId": "a2"}] and token is not None
    assert page(query, 2, token) == ([{"deviceId": "b1"}], None)
    assert page(query, 3)[1] is None, "a full page without anything after it is the last"


def test_top_holds_over_pages() -> None:
    query = "SELECT TOP 2 deviceId FROM devices"
    first, token = page(query, 1)
    assert first == [{"deviceId": "a1"}]
    assert page(query, 1, token) == ([{"deviceId": "a2"}], None)
    assert page(query, 100)[1] is None


@pytest.mark.parametrize(
    "token", ["x", "é", "W10=", "WzEsMiwzXQ==", continuation_of("SELECT * FROM devices c", "a1", 1), "W1tbW1tb"]
)
def test_a_token_of_another_query_or_of_nobody_is_refused(token: str) -> None:
    with pytest.raises(QueryError):
        place_in("SELECT * FROM devices", token)


@pytest.mark.parametrize(
    ("query", "position", "says"),
    [
        ("", 1, "expected SELECT, found the end"),
        ("SELECT", 7, "expected FROM"),
        ("SELECT * devices", 17, "expected FROM, found the end"),
        ("SELECT *, deviceId FROM devices", 9, "expected FROM, found ','"),
        ("SELECT FROM devices", 8, "expected a name, found 'FROM'"),
        ("SELECT * FROM charger", 15, "only devices"),
        ("SELECT * FROM devices.modules", 15, "only devices"),
        ("SELECT * FROM devices GROUP BY status", 29, "expected the end, found 'BY'"),
        ("SELECT TOP x * FROM devices", 12, "TOP takes a whole number"),
        ("SELECT COUNT(, FROM devices", 14, "expected )"),
        ("SELECT * FROM devices WHERE", 28, "expected a name, found the end"),
        ("SELECT * FROM devices WHERE deviceId = ", 40, "expected a name"),
        ("SELECT * FROM devices WHERE deviceId ~ 1", 38, "'~' means nothing here"),
        ("SELECT * FROM devices WHERE deviceId = 'a", 40, "this text has no end"),
        (r"SELECT * FROM devices WHERE deviceId = 'ab\n'", 43, "no escape"),
        ("SELECT * FROM devices WHERE (deviceId = 'a'", 44, "expected ), found the end"),
        ("SELECT * FROM devices WHERE deviceId IN 'a'", 41, "expected '[', found"),
        ("SELECT * FROM devices WHERE deviceId IN ['a')", 45, "expected ], found ')'"),
        ("SELECT * FROM devices WHERE deviceId IN [status]", 42, "expected a constant"),
        ("SELECT * FROM devices WHERE lower(deviceId) = 'a'", 29, "no function 'lower'"),
        ("SELECT * FROM devices WHERE startswith(deviceId)", 29, "STARTSWITH takes 2 arguments, found 1"),
        ("SELECT * FROM devices WHERE a = " + "1" * 33, 33, "at most 32 characters"),
        ("SELECT * FROM devices WHERE " + "(" * NESTING_MAX + "a", 29 + NESTING_MAX, "nested deeper"),
        ("SELECT " + ",".join("a" * 70) + " FROM devices", 137, "more than 64 columns"),
        ("x" * (QUERY_CHARACTERS_MAX + 1), QUERY_CHARACTERS_MAX + 1, "at most 8192 characters"),
    ],
)
def test_errors_say_where_and_what(query: str, position: int, says: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query(query)
    assert says in str(caught.value) and caught.value.position == position, str(caught.value)


def test_a_condition_of_a_job_has_the_same_language() -> None:
    with pytest.raises(QueryError, match="position 15: expected the end"):
        condition_of("deviceId='a1' WHERE")


def test_many_negations_and_parts_do_not_exhaust_the_stack() -> None:
    assert found("NOT " * 2000 + "deviceId = 'a1'") == "a1"
    assert found(" OR ".join(["deviceId='a1'"] * 400)) == "a1"


@given(st.text(max_size=200) | st.text(alphabet="selctfromdvicwh '\"()[],.=<>!*1\\", max_size=200))
def test_any_text_is_a_query_or_a_query_error(text: str) -> None:
    for read in (parse_query, condition_of):
        try:
            read(text)
        except QueryError as error:
            assert 1 <= error.position <= len(text) + 1


NAMES = st.text(alphabet="abcdefghij", min_size=1, max_size=3).filter(lambda name: name not in ("in", "as", "or"))
TEXTS = st.text(max_size=8)
VALUES = TEXTS | st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.floats(allow_nan=False, width=32)


def literal(value: object) -> str:
    match value:
        case None | bool():
            return str(value).lower().replace("none", "null")
        case str():
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case float() if not math.isfinite(value):
            return "1e999" if value > 0 else "-1e999"
        case _:
            return repr(value)


@given(NAMES, VALUES)
def test_every_value_equals_its_literal(name: str, value: Any) -> None:
    twin = {"tags": {name: value}}
    assert condition_of(f"tags.{name} = {literal(value)}").of(twin) is True
    assert condition_of(f"tags.{name} IN [0, {literal(value)}]").of(twin) is True
    assert condition_of(f"tags.{name} != {literal(value)}").of(twin) is False


@given(st.recursive(st.sampled_from(["true", "false", "a.b"]), lambda inner: st.tuples(inner, inner), max_leaves=12))
def test_conditions_follow_three_valued_logic(tree: Any) -> None:
    """De Morgan holds, whatever is undefined."""

    def text(node: Any, word: str) -> str:
        return node if isinstance(node, str) else f"({text(node[0], word)} {word} {text(node[1], word)})"

    def negated(node: Any, word: str) -> str:
        return f"NOT {node}" if isinstance(node, str) else f"({negated(node[0], word)} {word} {negated(node[1], word)})"

    both = f"NOT {text(tree, 'AND')}", negated(tree, "OR")
    assert condition_of(both[0]).of({}) == condition_of(both[1]).of({})
