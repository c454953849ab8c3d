import json
from datetime import timedelta
from pathlib import Path

import pytest

from cloud_stub.hub.memory import HubMemory
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import DeviceSpec
from cloud_stub.state.twin import TwinChange, TwinError
from tests.unit.cloud_stub.state.charger_memory import NOON, SERIAL, memory_of


def test_a_charger_begins_with_its_settings_and_any_other_device_with_nothing(memory: HubMemory) -> None:
    memory.registry.create("sdk", DeviceSpec())
    assert memory.twins.get(SERIAL).desired.data == {"Settings": {"711": "1"}}
    twin = memory.twins.get("sdk")
    assert (twin.desired.data, twin.desired.version, twin.version, twin.etag) == ({}, 1, 2, "AAAAAAAAAAE=")
    assert twin.desired.metadata == {"$lastUpdated": "2026-06-01T12:00:00.000000Z"}


def test_reports_and_changes_are_kept_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    memory = memory_of(path)
    memory.registry.produce(SERIAL)
    assert [memory.twins.report(SERIAL, b'{"fw":"5.3"}') for _ in range(2)] == [2, 3]
    twin, pushed = memory.twins.desire(SERIAL, {"Settings": {"711": None}})
    assert json.loads(pushed) == {"Settings": {"711": None}, "$version": 2}
    tagged = memory.twins.update_tags(SERIAL, {"site": {"floor": 2}})
    memory.twins.set_model(SERIAL, "dtmi:zap:pro;1")
    memory.state.close()
    again = memory_of(path, NOON + timedelta(days=1))
    kept = again.twins.get(SERIAL)
    assert kept.reported.data == {"fw": "5.3"} and kept.desired == twin.desired and kept.tags == tagged.tags
    assert (kept.version, kept.etag, kept.model_id) == (6, "AAAAAAAAAAM=", "dtmi:zap:pro;1")
    assert json.loads(again.twins.device_view(SERIAL)) == {
        "desired": {"Settings": {}, "$version": 2},
        "reported": {"fw": "5.3", "$version": 3},
    }
    again.state.close()


def test_two_processes_change_one_twin_and_lose_nothing(tmp_path: Path) -> None:
    one, other = (memory_of(tmp_path / "hub.sqlite") for _ in range(2))
    one.registry.produce(SERIAL)
    for number in range(5):
        one.twins.report(SERIAL, f'{{"one{number}":1}}'.encode())
        other.twins.report(SERIAL, f'{{"other{number}":1}}'.encode())
        other.twins.desire(SERIAL, {f"other{number}": 1})
    twin = one.twins.get(SERIAL)
    assert len(twin.reported.data) == 10 and twin.reported.version == 11 and twin.desired.version == 6
    assert other.twins.get(SERIAL) == twin
    one.state.close()
    other.state.close()


def test_a_stale_etag_changes_nothing(memory: HubMemory) -> None:
    first = memory.twins.get(SERIAL).etag
    assert memory.twins.desire(SERIAL, {"a": 1}, f'"{first}"')[0].desired.version == 2
    for stale in (first, f'"{first}"'):
        with pytest.raises(HubError) as failed:
            memory.twins.desire(SERIAL, {"a": 2}, stale)
        assert failed.value.code is ErrorCode.ETAG_MISMATCH and failed.value.status == 412
    memory.twins.report(SERIAL, b"{}")  # the device's own changes leave the etag as it is
    assert memory.twins.update_tags(SERIAL, {"a": 2}, "AAAAAAAAAAI=").tags == {"a": 2}
    assert memory.twins.change(SERIAL, TwinChange({"a": 3}, {"a": 3}), "*")[0].version == 6


def test_a_part_that_breaks_a_rule_keeps_the_whole_change_from_being_made(memory: HubMemory) -> None:
    before = memory.twins.get(SERIAL)
    with pytest.raises(TwinError):
        memory.twins.change(SERIAL, TwinChange(desired={"a.b": 1}, tags={"site": "north"}))
    with pytest.raises(TwinError):
        memory.twins.report(SERIAL, b'{"a":1}x')
    assert memory.twins.get(SERIAL) == before


def test_a_twin_lives_and_dies_with_its_device(memory: HubMemory) -> None:
    memory.twins.report(SERIAL, b'{"fw":"5.3"}')
    memory.registry.delete(SERIAL)
    for ask in (
        lambda: memory.twins.get(SERIAL),
        lambda: memory.twins.report(SERIAL, b"{}"),
        lambda: memory.twins.desire(SERIAL, {}),
    ):
        with pytest.raises(HubError) as missing:
            ask()
        assert missing.value.code is ErrorCode.NOT_FOUND
    memory.registry.create(SERIAL, DeviceSpec())
    assert memory.twins.get(SERIAL).reported.data == memory.twins.get(SERIAL).desired.data == {}


def test_text_that_only_json_can_carry_comes_back(memory: HubMemory) -> None:
    memory.twins.report(SERIAL, rb'{"half":"\ud800","nul":"\u0000"}')
    assert memory.twins.get(SERIAL).reported.data == {"half": "\ud800", "nul": "\0"}
    assert rb"\ud800" in memory.twins.device_view(SERIAL)
