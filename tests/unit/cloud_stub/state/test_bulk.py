from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.state.bulk import ITEMS_MAX, BulkReply, ImportMode, bulk
from cloud_stub.state.database import State
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import DeviceStatus
from cloud_stub.state.registry import derived_keys

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def memory() -> Iterator[HubMemory]:
    memory = hub_memory(State(), derived_keys(b"s" * 32), lambda: NOON)
    yield memory
    memory.state.close()


def do(memory: HubMemory, *items: dict[str, Any]) -> BulkReply:
    return bulk(memory.registry, memory.twins, list(items))


def codes(reply: BulkReply) -> list[tuple[str, ErrorCode]]:
    return [(device_id, error.code) for device_id, error in reply.errors]


def test_one_item_that_fails_does_not_keep_the_others_from_being_done(memory: HubMemory) -> None:
    reply = do(
        memory,
        {"id": "a", "importMode": "create"},
        {"id": "b", "importMode": "update"},
        {"id": "c d", "importMode": "create"},
        {"id": "e", "importMode": "create", "status": "disabled"},
    )
    assert reply.status == 400 and not reply.to_json()["isSuccessful"]
    assert codes(reply) == [("b", ErrorCode.NOT_FOUND), ("c d", ErrorCode.BAD_ARGUMENT)]
    assert [device.device_id for device in memory.registry] == ["a", "e"]
    assert reply.to_json()["errors"][0] == {
        "deviceId": "b",
        "errorCode": "DeviceNotFound",
        "errorStatus": "device b does not exist",
    }
    assert do(memory, {"id": "f"}).to_json() == {"isSuccessful": True, "errors": [], "warnings": []}


def test_each_mode_does_what_it_says(memory: HubMemory) -> None:
    create, again = ({"id": "a", "importMode": "create"} for _ in range(2))
    assert do(memory, create).status == 200 and codes(do(memory, again)) == [("a", ErrorCode.ALREADY_EXISTS)]
    off = {"id": "a", "status": "disabled"}
    etag = memory.registry.require("a").etag
    assert do(memory, {**off, "importMode": "updateIfMatchETag", "eTag": etag}).status == 200
    for mode in ("updateIfMatchETag", "createOrUpdateIfMatchETag", "deleteIfMatchETag"):
        stale = do(memory, {"id": "a", "importMode": mode, "eTag": etag})
        assert codes(stale) == [("a", ErrorCode.ETAG_MISMATCH)]
        assert codes(do(memory, {"id": "a", "importMode": mode})) == [("a", ErrorCode.BAD_ARGUMENT)]
    assert memory.registry.require("a").status is DeviceStatus.DISABLED
    assert do(memory, {"id": "a", "importMode": "createOrUpdate"}, {"id": "b", "importMode": "CreateOrUpdate"})
    assert memory.registry.require("a").status is memory.registry.require("b").status is DeviceStatus.ENABLED
    assert do(memory, {"id": "c", "importMode": "createOrUpdateIfMatchETag"}).status == 200
    quoted = f'"{memory.registry.require("b").etag}"'
    deleted = do(
        memory, {"id": "a", "importMode": "delete"}, {"id": "b", "importMode": "deleteIfMatchETag", "eTag": quoted}
    )
    assert deleted.status == 200 and [device.device_id for device in memory.registry] == ["c"]


def test_twins_change_and_what_is_to_be_pushed_is_told(memory: HubMemory) -> None:
    made = do(memory, {"id": "a", "importMode": "create", "tags": {"site": "north"}})
    assert made.pushes == [] and memory.twins.get("a").tags == {"site": "north"}
    desired = {"properties": {"desired": {"amps": 16}}}
    reply = do(memory, {"id": "a", "importMode": "updateTwin", **desired})
    assert [(push.device_id, push.version, push.body) for push in reply.pushes] == [
        ("a", 2, b'{"amps":16,"$version":2}')
    ]
    twin = {"id": "a", "importMode": "updateTwinIfMatchETag", **desired}
    assert codes(do(memory, {**twin, "twinETag": "AAAAAAAAAAE="})) == [("a", ErrorCode.ETAG_MISMATCH)]
    assert do(memory, {**twin, "twinETag": memory.twins.get("a").etag}).pushes[0].version == 3


@pytest.mark.parametrize(
    "items",
    [None, {}, [], ["a"], [{}], [{"id": ""}], [{"id": 7}], [{"id": "a"}, {"id": "a"}], [{"id": "a"}] * (ITEMS_MAX + 1)],
)
def test_a_request_that_is_no_list_of_different_devices_does_nothing(memory: HubMemory, items: Any) -> None:
    with pytest.raises(HubError, match="body") as refused:
        bulk(memory.registry, memory.twins, items)
    assert refused.value.code is ErrorCode.BAD_ARGUMENT and len(memory.registry) == 0


def test_a_hundred_at_once_are_allowed(memory: HubMemory) -> None:
    assert do(memory, *({"id": f"d{number}"} for number in range(ITEMS_MAX))).status == 200
    assert len(memory.registry) == ITEMS_MAX


def test_modules_and_unknown_modes_are_refused(memory: HubMemory) -> None:
    memory.registry.produce("a")
    items = [{"id": "a", "moduleId": "m", "importMode": "delete"}, {"id": "b", "importMode": "explode"}]
    assert codes(do(memory, *items)) == [("a", ErrorCode.BAD_ARGUMENT), ("b", ErrorCode.BAD_ARGUMENT)]
    assert memory.registry.get("a") is not None


values = (
    st.none() | st.integers() | st.text(max_size=3) | st.dictionaries(st.sampled_from(["desired", "a.b"]), st.text())
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.text(max_size=3) | st.just("a")},
            optional={
                "importMode": st.sampled_from(ImportMode),
                **{name: values for name in ("tags", "properties", "eTag", "twinETag", "authentication", "status")},
            },
        )
    )
)
def test_garbage_gives_only_errors(items: list[dict[str, Any]]) -> None:
    memory = hub_memory(State(), derived_keys(b"s" * 32), lambda: NOON)
    try:
        reply = bulk(memory.registry, memory.twins, items)
        assert {error.status for _, error in reply.errors} <= {400, 404, 409, 412}
    except HubError as error:
        assert error.status == 400
    finally:
        memory.state.close()
