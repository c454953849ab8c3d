import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.store import Twin
from cloud_stub.twin import BYTES_MAX, TwinError, desire, report, twin_body

TWIN = Twin(desired={"Settings": {"711": "1", "511": "6"}}, reported={"a": {"b": 1, "c": 2}})

keys = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
patches = st.dictionaries(keys, values, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def test_a_get_gives_both_sections_with_versions_and_nothing_else() -> None:
    assert json.loads(twin_body(TWIN)) == {
        "desired": {"Settings": {"711": "1", "511": "6"}, "$version": 1},
        "reported": {"a": {"b": 1, "c": 2}, "$version": 1},
    }


def test_a_patch_merges_null_deletes_and_arrays_replace() -> None:
    twin = report(report(TWIN, b'{"a":{"b":null,"d":[1,2]},"e":"x"}'), b'{"a":{"d":[3]},"e":null}')
    assert twin.reported == {"a": {"c": 2, "d": [3]}}
    assert (twin.reported_version, twin.desired_version) == (3, 1)


def test_a_change_of_desired_properties_is_pushed_as_a_patch_with_its_version() -> None:
    twin, pushed = desire(TWIN, b'{"Settings":{"511":"10"}}')
    assert twin.desired == {"Settings": {"711": "1", "511": "10"}} and twin.desired_version == 2
    assert json.loads(pushed) == {"Settings": {"511": "10"}, "$version": 2}


@given(patches)
def test_a_patch_onto_nothing_is_the_patch_without_nulls(patch: dict[str, Any]) -> None:
    assert report(Twin(), json.dumps(patch).encode()).reported == without_nulls(patch)


@given(patches, patches)
def test_the_same_patch_twice_changes_nothing_more_than_the_version(
    first: dict[str, Any], patch: dict[str, Any]
) -> None:
    text = json.dumps(patch).encode()
    once = report(report(Twin(), json.dumps(first).encode()), text)
    twice = report(once, text)
    assert twice.reported == once.reported and twice.reported_version == once.reported_version + 1


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a.b":1}', "point"),
        (b'{"$version":1}', "dollar"),
        (b'{"a b":1}', "space"),
        (b'{"":1}', "empty"),
        (json.dumps({"k" * 1025: 1}).encode(), "1024 bytes"),
        (json.dumps({"k": "v" * 4097}).encode(), "4096 bytes"),
        (b'{"a":4503599627370496}', "range"),
        (b'{"a":1e999}', "finite"),
        (b'{"a":NaN}', "finite"),
        (b'{"a":' * 11 + b"1" + b"}" * 11, "deeper than 10"),
        (json.dumps({f"k{n}": "v" * 4000 for n in range(9)}).encode(), f"over {BYTES_MAX} bytes"),
    ],
)
def test_a_patch_that_breaks_a_rule_changes_nothing(patch: bytes, message: str) -> None:
    with pytest.raises(TwinError, match=message):
        report(TWIN, patch)


@given(st.binary())
def test_garbage_gives_only_a_twin_error(garbage: bytes) -> None:
    with suppress(TwinError):
        desire(TWIN, garbage)
