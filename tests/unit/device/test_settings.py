"""Settings from the twin: what is taken over, what is ignored, and what survives."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.device.settings import SETTINGS, Settings, parse_desired
from emulator.flash import MemoryFlash
from emulator.profile import load_profile

GUID = "11111111-2222-3333-4444-555555555555"


def settings(flash: MemoryFlash | None = None) -> Settings:
    return Settings(flash or MemoryFlash(), load_profile())


def test_without_flash_the_profile_holds() -> None:
    made = settings()
    assert (made[510], made[523], made[801]) == ("32", "10", "default")
    assert {id_: made[id_] for id_ in SETTINGS}


def test_what_was_set_survives_a_reboot() -> None:
    flash = MemoryFlash()
    assert settings(flash).apply({"510": "16", "800": GUID}) == {510, 800}
    assert (settings(flash)[510], settings(flash)[800]) == ("16", GUID)
    assert settings(flash).apply({"510": "16"}) == frozenset()


def test_damaged_flash_means_the_profile() -> None:
    flash = MemoryFlash()
    flash.put("setting/510", b"\xff\xfe")
    flash.put("setting/120", b"7")
    flash.put("setting/nonsense", b"1")
    assert (settings(flash)[510], settings(flash)[120]) == ("32", "0")


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("510", "0", True),
        ("510", "31.5", True),
        ("510", "32.1", False),
        ("511", "-1", False),
        ("523", "nan", False),
        ("523", "six", False),
        ("510", 16, True),
        ("510", True, False),
        ("510", None, False),
        ("522", "1", True),
        ("522", "9", True),
        ("522", "0", False),
        ("522", "12", False),
        ("120", "1", True),
        ("120", "2", False),
        ("800", GUID, True),
        ("800", "not a guid", False),
        ("802", "x" * 36, True),
        ("802", "x" * 37, False),
        ("802", "\ud800", False),
        ("860", 2, True),
        ("860", "1", True),
        ("860", 3, False),
        ("861", "wss://ocpp.example/", True),
        ("861", "https://ocpp.example/", False),
        ("862", "x" * 32, True),
        ("862", "x" * 33, False),
        ("863", "x" * 16, True),
        ("863", "x" * 15, False),
        ("9999", "1", False),
        ("x", "1", False),
        ("²", "1", False),
        ("510", ["16"], False),
    ],
)
def test_every_value_is_judged(key: str, value: Any, accepted: bool) -> None:
    made = settings()
    assert bool(made.apply({key: value})) is accepted


def test_null_means_the_cloud_for_860_and_nothing_for_861() -> None:
    made = settings()
    made.apply({"860": "2", "861": "ws://ocpp.example/"})
    assert made.apply({"860": None, "861": None}) == {860, 861}
    assert (made[860], made[861]) == ("0", "")


def test_only_an_enabled_charger_of_an_installation_is_activated() -> None:
    made = settings()
    assert not made.activated
    made.apply({"800": GUID})
    assert made.activated
    made.apply({"711": "0"})
    assert not made.activated


def test_whole_twin_and_patch_keep_settings_in_different_places() -> None:
    patch = {"Settings": {"120": "1"}, "$version": 3}
    assert parse_desired(json.dumps(patch).encode(), whole=False) == {"120": "1"}
    assert parse_desired(json.dumps({"desired": patch, "reported": {}}).encode(), whole=True) == {"120": "1"}


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{", b'{"Settings":1}', b'{"desired":1}', b'{"a":' + b"[" * 100_000 + b"}", b"{\xff}"]
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_twin_is_ignored(payload: bytes, whole: bool) -> None:
    assert parse_desired(payload, whole=whole) == {}


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
keys = st.text(max_size=6) | st.sampled_from([str(id_) for id_ in SETTINGS])


@given(st.dictionaries(keys, values))
def test_no_patch_breaks_anything(desired: dict[str, Any]) -> None:
    made = settings()
    made.apply(desired)
    for id_, row in SETTINGS.items():
        assert row.accepts(made[id_])
