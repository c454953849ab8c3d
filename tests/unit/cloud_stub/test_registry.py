import subprocess
import sys

import pytest

from cloud_stub.registry import Registry, derived_keys, serials
from emulator.errors import UsageError

SECRET = bytes(range(32))


def test_production_gives_every_device_two_keys_of_its_own() -> None:
    registry = Registry(derived_keys(SECRET))
    first, second = registry.produce("ZPR000001"), registry.produce("ZPR000002")
    assert len({*first.keys, *second.keys}) == 4
    assert {len(key) for key in first.keys} == {32}
    assert registry.get("ZPR000001") is first and list(registry) == [first, second]


def test_keys_stay_out_of_repr() -> None:
    device = Registry(derived_keys(SECRET)).produce("ZPR000001")
    shown = repr(device)
    assert "ZPR000001" in shown and repr(device.primary_key)[2:-1] not in shown and "key" not in shown


def test_another_process_produces_the_same_fleet() -> None:
    registry = Registry(derived_keys(SECRET))
    fleet = [registry.produce(serial) for serial in serials("ZPR", 10_000)]
    assert len({device.primary_key for device in fleet}) == 10_000
    code = (
        "from cloud_stub.registry import Registry, derived_keys\n"
        "print(Registry(derived_keys(bytes(range(32)))).produce('ZPR010000').primary_key.hex())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == fleet[-1].primary_key.hex()


def test_another_secret_gives_other_keys() -> None:
    one, other = Registry(derived_keys(SECRET)), Registry(derived_keys(SECRET[::-1]))
    assert one.produce("ZPR000001").keys != other.produce("ZPR000001").keys


def test_a_short_production_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 32 bytes"):
        derived_keys(b"short")


@pytest.mark.parametrize("device_id", ["", "x" * 129, "a b", "a/b", "ø", "a\n"])
def test_ids_that_a_hub_cannot_have_are_refused(device_id: str) -> None:
    with pytest.raises(UsageError, match="device id"):
        Registry(derived_keys(SECRET)).produce(device_id)


def test_an_id_is_taken_once_and_is_case_sensitive() -> None:
    registry = Registry(derived_keys(SECRET))
    registry.produce("zpr000001")
    registry.produce("ZPR000001")
    with pytest.raises(UsageError, match="exists already"):
        registry.produce("ZPR000001")


def test_serials_are_three_letters_and_six_digits() -> None:
    assert serials("ZPR", 2) == ["ZPR000001", "ZPR000002"]
    for prefix, count in (("ZP", 1), ("ZP1", 1), ("ZPR", 0), ("ZPR", 1_000_000)):
        with pytest.raises(UsageError):
            serials(prefix, count)
