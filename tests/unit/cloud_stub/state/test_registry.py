import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_stub.state.database import State
from cloud_stub.state.errors import BodyShape, ErrorCode, HubError
from cloud_stub.state.identity import CaSigned, DeviceSpec, DeviceStatus, SasAuth, SelfSigned
from cloud_stub.state.registry import Registry, derived_keys, serials
from emulator.errors import UsageError

SECRET = bytes(range(32))
SERIAL = "ZPR000001"


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.at = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def state() -> Iterator[State]:
    state = State()
    yield state
    state.close()


@pytest.fixture
def registry(state: State) -> Registry:
    return Registry(state, derived_keys(SECRET), Clock())


def code_of(failed: "pytest.ExceptionInfo[HubError]") -> ErrorCode:
    return failed.value.code


def test_production_gives_every_device_two_keys_of_its_own(registry: Registry) -> None:
    first, second = registry.produce("ZPR000001"), registry.produce("ZPR000002")
    assert len({*first.keys, *second.keys}) == 4
    assert {len(key) for key in first.keys} == {32}
    assert registry.get("ZPR000001") == first and list(registry) == [first, second] and len(registry) == 2


def test_keys_stay_out_of_repr(registry: Registry) -> None:
    device = registry.produce(SERIAL)
    shown = repr(device)
    assert SERIAL in shown and repr(device.primary_key)[2:-1] not in shown and "key" not in shown


def test_another_process_produces_the_same_fleet(registry: Registry) -> None:
    fleet = registry.produce_all(serials("ZPR", 10_000))
    assert len({device.primary_key for device in fleet}) == 10_000
    assert registry.produce_all(["ZPR010000", "ZPR000001"]) == [fleet[-1], fleet[0]] and len(registry) == 10_000
    code = (
        "from cloud_stub.state.registry import derived_keys\n"
        "print(derived_keys(bytes(range(32)))('ZPR010000')[0].hex())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == fleet[-1].primary_key.hex()


def test_another_secret_gives_other_keys() -> None:
    assert derived_keys(SECRET)(SERIAL) != derived_keys(SECRET[::-1])(SERIAL)
    with pytest.raises(UsageError, match="at least 32 bytes"):
        derived_keys(b"short")


@pytest.mark.parametrize("device_id", ["", "x" * 129, "a b", "a/b", "ø", "a\n"])
def test_ids_that_a_hub_cannot_have_are_refused(registry: Registry, device_id: str) -> None:
    with pytest.raises(UsageError, match="device id"):
        registry.produce_all([SERIAL, device_id])
    with pytest.raises(HubError, match="device id") as refused:
        registry.create(device_id, DeviceSpec())
    assert code_of(refused) is ErrorCode.BAD_ARGUMENT and len(registry) == 0


def test_ids_may_have_what_is_special_in_topics_and_urls(registry: Registry) -> None:
    strange = "-.+%_#*?!(),=@$':;"
    registry.create(strange, DeviceSpec())
    registry.create("x" * 128, DeviceSpec())
    assert registry.require(strange).device_id == strange


def test_an_id_is_taken_once_and_is_case_sensitive(registry: Registry) -> None:
    registry.produce("zpr000001")
    registry.produce("ZPR000001")
    with pytest.raises(UsageError, match="exists already"):
        registry.produce("ZPR000001")
    with pytest.raises(HubError) as taken:
        registry.create("zpr000001", DeviceSpec())
    assert code_of(taken) is ErrorCode.ALREADY_EXISTS and taken.value.status == 409
    assert taken.value.shape is BodyShape.OLD and taken.value.code.label == "DeviceAlreadyExists"


def test_serials_are_three_letters_and_six_digits() -> None:
    assert serials("ZPR", 2) == ["ZPR000001", "ZPR000002"]
    for prefix, count in (("ZP", 1), ("ZP1", 1), ("ZPR", 0), ("ZPR", 1_000_000)):
        with pytest.raises(UsageError):
            serials(prefix, count)


def test_the_hub_makes_the_keys_that_a_service_leaves_out(registry: Registry) -> None:
    device = registry.create("sdk", DeviceSpec(SasAuth(primary_key=b"p" * 32)))
    assert device.primary_key == b"p" * 32 and len(device.keys[1]) == 32
    assert registry.create("other", DeviceSpec()).keys != derived_keys(SECRET)("other")
    kept = registry.update("sdk", DeviceSpec(SasAuth(secondary_key=b"s" * 16)))
    assert kept.keys == (b"p" * 32, b"s" * 16)


def test_certificates_take_the_place_of_keys_and_back(registry: Registry) -> None:
    registry.create("sdk", DeviceSpec(SelfSigned("AB" * 20)))
    device = registry.require("sdk")
    assert device.auth == SelfSigned("AB" * 20) and device.keys == () and device.primary_key == b""
    assert SelfSigned("AB" * 20).admits("cd" * 32, "ab" * 20) and not SelfSigned("AB" * 20).admits("cd" * 20, "")
    assert registry.update("sdk", DeviceSpec(CaSigned()), "*").auth == registry.require("sdk").auth == CaSigned()
    assert len(registry.update("sdk", DeviceSpec(), "*").keys) == 2


def test_each_update_changes_the_etag_and_only_the_newest_one_matches(registry: Registry) -> None:
    first = registry.put("sdk", DeviceSpec(), None)
    second = registry.put("sdk", DeviceSpec(status=DeviceStatus.DISABLED, status_reason="sold"), f'"{first.etag}"')
    assert second.etag != first.etag and second.generation_id == first.generation_id
    assert (second.status, second.status_reason) == (DeviceStatus.DISABLED, "sold") and registry.disabled_count() == 1
    with pytest.raises(HubError) as stale:
        registry.put("sdk", DeviceSpec(), first.etag)
    assert code_of(stale) is ErrorCode.ETAG_MISMATCH and registry.get("sdk") == second
    for any_etag in ("*", '"*"'):
        assert registry.put("sdk", DeviceSpec(), any_etag).status is DeviceStatus.ENABLED
    for empty in (None, "", '""'):
        with pytest.raises(HubError, match="exists already"):
            registry.put("sdk", DeviceSpec(), empty)


def test_what_does_not_exist_cannot_be_changed(registry: Registry) -> None:
    for ask in (
        lambda: registry.update("sdk", DeviceSpec(), "*"),
        lambda: registry.delete("sdk", "*"),
        lambda: registry.require("sdk"),
    ):
        with pytest.raises(HubError) as missing:
            ask()
        assert code_of(missing) is ErrorCode.NOT_FOUND


def test_a_device_that_is_made_again_has_another_generation_and_other_keys(registry: Registry) -> None:
    first = registry.create("sdk", DeviceSpec())
    with pytest.raises(HubError):
        registry.delete("sdk", '"stale"')
    registry.delete("sdk", first.etag)
    assert registry.get("sdk") is None and len(registry) == 0
    second = registry.create("sdk", DeviceSpec())
    assert int(second.generation_id) > int(first.generation_id) and second.etag != first.etag
    assert len(second.generation_id) == 18 and second.keys != first.keys


def test_the_time_of_a_status_is_that_of_its_last_change(state: State) -> None:
    clock = Clock()
    registry = Registry(state, derived_keys(SECRET), clock)
    assert registry.create("sdk", DeviceSpec()).status_updated == "0001-01-01T00:00:00Z"
    off = registry.update("sdk", DeviceSpec(status=DeviceStatus.DISABLED))
    clock.at += timedelta(hours=1)
    assert registry.update("sdk", DeviceSpec(status=DeviceStatus.DISABLED)).status_updated == off.status_updated
    assert off.status_updated == "2026-06-01T12:00:00.000000Z"


def test_whoever_asked_hears_of_changes_that_are_kept(registry: Registry) -> None:
    heard: list[str] = []
    registry.changed.append(heard.append)
    registry.create("sdk", DeviceSpec())
    with pytest.raises(HubError):
        registry.update("sdk", DeviceSpec(), "stale")
    assert heard == []
    registry.update("sdk", DeviceSpec())
    registry.delete("sdk")
    assert heard == ["sdk", "sdk"]


def test_devices_come_in_pages_in_the_order_of_their_ids(registry: Registry) -> None:
    registry.produce_all(list(reversed(serials("ZPR", 2_500))))
    assert [device.device_id for device in registry] == serials("ZPR", 2_500)
    assert len(registry.find()) == len(registry.find(5_000)) == 1_000
    assert [device.device_id for device in registry.find(2, after="ZPR000007")] == ["ZPR000008", "ZPR000009"]
    assert registry.find(0) == registry.find(-1) == []


def test_other_processes_see_a_change_at_once(tmp_path: Path) -> None:
    states = [State(tmp_path / "hub.sqlite") for _ in range(2)]
    one, other = (Registry(state, derived_keys(SECRET), Clock()) for state in states)
    one.produce(SERIAL)
    assert other.require(SERIAL) == one.require(SERIAL)
    other.update(SERIAL, DeviceSpec(status=DeviceStatus.DISABLED))
    assert one.require(SERIAL).status is DeviceStatus.DISABLED
    one.delete(SERIAL)
    assert other.get(SERIAL) is None
    for state in states:
        state.close()
