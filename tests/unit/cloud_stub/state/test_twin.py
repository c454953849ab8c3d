import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.twin import (
    SECTION_BYTES_MAX,
    TAGS_BYTES_MAX,
    Section,
    Twin,
    TwinChange,
    TwinError,
    change,
    device_view,
    new_twin,
    parse_patch,
    report,
    service_view,
    size_of,
)

T0, T1, T2 = (f"2026-06-01T12:00:0{n}.000000Z" for n in range(3))
TWIN = new_twin({"Settings": {"711": "1", "511": "6"}}, T0)

keys = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)
patches = st.dictionaries(keys, values, max_size=4)


def oracle(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7396 section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            if name in result:
                del result[name]
        else:
            result[name] = oracle(result.get(name), value)
    return result


def nesting(data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of objects within objects; None for everything else."""
    return {key: nesting(value) if isinstance(value, Mapping) else {} for key, value in data.items()}


def unstamped(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: unstamped(value) for key, value in metadata.items() if not key.startswith("$")}


def test_a_get_gives_both_sections_with_versions_and_nothing_else() -> None:
    twin, _ = change(report(TWIN, {"fw": "5.3"}, T1), TwinChange(tags={"site": "north"}), T1)
    assert json.loads(device_view(twin)) == {
        "desired": {"Settings": {"711": "1", "511": "6"}, "$version": 1},
        "reported": {"fw": "5.3", "$version": 2},
    }


def test_a_new_twin_has_the_vendors_first_version_and_etag() -> None:
    twin = new_twin({}, T0)
    assert (twin.version, twin.etag, twin.tags) == (2, "AAAAAAAAAAE=", {})
    assert (
        service_view(twin.desired)
        == service_view(twin.reported)
        == {
            "$metadata": {"$lastUpdated": T0},
            "$version": 1,
        }
    )
    changed, _ = change(twin, TwinChange(desired={"a": 1}), T1)
    assert (changed.version, changed.etag, changed.desired.version) == (3, "AAAAAAAAAAI=", 2)


def test_a_report_counts_in_the_version_but_not_in_the_etag() -> None:
    twin = report(TWIN, {}, T1)
    assert (twin.version, twin.etag, twin.reported.version, twin.desired.version) == (3, TWIN.etag, 2, 1)


def test_a_patch_merges_null_deletes_and_arrays_replace() -> None:
    twin = report(report(TWIN, {"a": {"b": 1, "c": 2}, "d": [1, 2]}, T0), {"a": {"b": None, "d": [3]}, "d": [4]}, T1)
    assert twin.reported.data == {"a": {"c": 2, "d": [3]}, "d": [4]}
    assert (twin.reported.version, twin.desired.version) == (3, 1)


def test_metadata_says_when_each_value_and_all_around_it_was_last_written() -> None:
    twin, _ = change(new_twin({}, T0), TwinChange(desired={"a": {"b": 1, "c": 2}, "d": 3}), T1)
    twin, _ = change(twin, TwinChange(desired={"a": {"b": 5}, "d": None}), T2)
    new, old = {"$lastUpdated": T2, "$lastUpdatedVersion": 3}, {"$lastUpdated": T1, "$lastUpdatedVersion": 2}
    assert twin.desired.metadata == {**new, "a": {**new, "b": new, "c": old}}
    assert report(twin, {"e": {"f": 1}}, T2).reported.metadata == {
        "$lastUpdated": T2,
        "e": {"$lastUpdated": T2, "f": {"$lastUpdated": T2}},
    }


def test_what_is_pushed_is_the_patch_with_its_version() -> None:
    twin, pushed = change(TWIN, TwinChange(desired={"Settings": {"511": "10", "711": None}}), T1)
    assert twin.desired.data == {"Settings": {"511": "10"}} and twin.desired.version == 2
    assert json.loads(pushed or b"") == {"Settings": {"511": "10", "711": None}, "$version": 2}


def test_a_replacement_leaves_nothing_and_tells_the_device_what_is_gone() -> None:
    twin, _ = change(TWIN, TwinChange(tags={"site": "north"}), T1)
    twin, pushed = change(twin, TwinChange(desired={"new": 1, "no": None}, tags={}, replacing=True), T2)
    assert twin.desired.data == {"new": 1} and twin.tags == {}
    assert json.loads(pushed or b"") == {"Settings": None, "new": 1, "no": None, "$version": 2}
    assert TWIN.reported.data == twin.reported.data


def test_tags_alone_push_nothing_and_change_the_etag() -> None:
    twin, pushed = change(TWIN, TwinChange(tags={"a": {"b": 1, "c": 2}}), T1)
    twin, _ = change(twin, TwinChange(tags={"a": {"b": None}}), T1)
    assert pushed is None and twin.tags == {"a": {"c": 2}}
    assert (twin.version, twin.etag_number, twin.desired.version) == (4, 3, 1)


def test_what_a_client_read_can_be_sent_back() -> None:
    twin, pushed = change(TWIN, TwinChange(desired=service_view(TWIN.desired)), T1)
    assert twin.desired.data == TWIN.desired.data and b"$metadata" not in (pushed or b"")


@given(patches, patches)
def test_a_patch_does_what_the_rfc_says_and_metadata_has_the_nesting_of_the_data(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    twin = report(report(Twin(), first, T0), second, T1)
    assert twin.reported.data == oracle(oracle({}, first), second)
    assert unstamped(twin.reported.metadata) == nesting(twin.reported.data)


@given(patches, patches)
def test_the_same_patch_twice_changes_nothing_more_than_versions(first: dict[str, Any], patch: dict[str, Any]) -> None:
    once, _ = change(change(Twin(), TwinChange(desired=first), T0)[0], TwinChange(desired=patch), T1)
    twice, _ = change(once, TwinChange(desired=patch), T1)
    assert twice.desired.data == once.desired.data and twice.desired.version == once.desired.version + 1


@given(patches, patches)
def test_a_device_that_merges_what_is_pushed_has_what_the_hub_has(first: dict[str, Any], patch: dict[str, Any]) -> None:
    held: Any = {}
    twin = new_twin({}, T0)
    for wanted in (TwinChange(first), TwinChange(patch), TwinChange(first, replacing=True)):
        twin, pushed = change(twin, wanted, T1)
        held = oracle(held, json.loads(pushed or b""))
        assert held.pop("$version") == twin.desired.version
    assert {key: held[key] for key in twin.desired.data} == held
    assert held.keys() == twin.desired.data.keys()


def test_sizes_count_texts_numbers_and_booleans_and_nothing_else() -> None:
    assert size_of({"key": "value"}) == 8
    assert size_of({"ø": "€"}) == 5
    assert size_of({"n": 1, "f": -1.5e300, "b": True, "z": None}) == 4 + 8 + 8 + 4
    assert size_of({"a": [1, "xy", {"k": False}], "o": {}}) == 1 + 8 + 2 + 1 + 4 + 1


def filled(size: int) -> dict[str, Any]:
    """Data of exactly this size."""
    data = {f"{number:04}": "v" * 4_092 for number in range(size // 4_096)}
    rest = size - size_of(data)
    return {**data, **({"r": "v" * (rest - 1)} if rest else {})}


def test_a_section_may_be_as_large_as_the_limit_and_no_larger() -> None:
    full = report(TWIN, filled(SECTION_BYTES_MAX), T1)
    assert size_of(full.reported.data) == SECTION_BYTES_MAX
    with pytest.raises(TwinError, match=f"over {SECTION_BYTES_MAX} bytes"):
        report(full, {"x": None, "y": ""}, T1)
    assert change(TWIN, TwinChange(tags=filled(TAGS_BYTES_MAX)), T1)
    with pytest.raises(TwinError, match=f"over {TAGS_BYTES_MAX} bytes"):
        change(TWIN, TwinChange(tags=filled(TAGS_BYTES_MAX + 1)), T1)
    assert change(full, TwinChange(desired=filled(SECTION_BYTES_MAX), replacing=True), T1)


def nested(levels: int, leaf: Any = 1) -> Any:
    return {"a": nested(levels - 1, leaf)} if levels else leaf


def test_ten_objects_may_be_inside_one_another_in_a_section() -> None:
    assert report(TWIN, {"top": nested(10)}, T1)
    for too_deep in ({"top": nested(11)}, {"top": nested(10, [1])}, {"top": nested(11, None)}):
        with pytest.raises(TwinError, match="deeper than 10"):
            report(TWIN, too_deep, T1)


def test_what_is_just_allowed() -> None:
    edge = {"k" * 1024: 1, "v": "v" * 4096, "min": -4503599627370496, "max": 4503599627370495, "-_~\u00a0": [None]}
    assert report(TWIN, edge, T1).reported.data == edge


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a.b":1}', "point"),
        (b'{"$version":1}', "dollar"),
        (b'{"a":{"$b":null}}', "dollar"),
        (b'{"a b":1}', "space"),
        (b'{"a\\u0007":1}', "control"),
        (b'{"a\\u0085":1}', "control"),
        (b'{"":1}', "empty"),
        (json.dumps({"k" * 1025: 1}).encode(), "1024 bytes"),
        (json.dumps({"k": "v" * 4097}).encode(), "4096 bytes"),
        (json.dumps({"k": "ø" * 2049}).encode(), "4096 bytes"),
        (b'{"a":4503599627370496}', "range"),
        (b'{"a":-4503599627370497}', "range"),
        (b'{"a":[4503599627370496]}', "range"),
        (b'{"a":1e999}', "finite"),
        (b'{"a":NaN}', "finite"),
    ],
)
def test_a_patch_that_breaks_a_rule_is_refused(patch: bytes, message: str) -> None:
    with pytest.raises(TwinError, match=message) as refused:
        report(TWIN, parse_patch(patch), T1)
    assert refused.value.code is ErrorCode.BAD_ARGUMENT


@given(st.binary() | st.text().map(lambda text: json.dumps({text: text}).encode()))
def test_garbage_gives_only_a_twin_error(garbage: bytes) -> None:
    with suppress(TwinError):
        report(Twin(reported=Section({"a": 1})), parse_patch(garbage), T1)
