"""Both kinds of flash keep the same promises."""

import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.flash import FileFlash, Flash, MemoryFlash

MakeFlash = Callable[[], Flash]


@pytest.fixture(params=["memory", "file"])
def make_flash(request: pytest.FixtureRequest, tmp_path: Path) -> MakeFlash:
    """Opens the same storage each time, as a reboot does."""
    if request.param == "file":
        return lambda: FileFlash(tmp_path / "flash")
    memory = MemoryFlash()
    return lambda: memory


def test_values_survive_a_reboot(make_flash: MakeFlash) -> None:
    make_flash().put("outbox/1", b"one")
    make_flash().put("outbox/2", b"two")
    make_flash().put("other", b"")
    make_flash().put("outbox/1", b"uno")
    flash = make_flash()
    assert flash.get("outbox/1") == b"uno"
    assert flash.get("other") == b""
    assert flash.keys("outbox/") == ["outbox/1", "outbox/2"]
    assert flash.keys() == ["other", "outbox/1", "outbox/2"]
    flash.delete("outbox/1")
    flash.delete("outbox/1")
    assert make_flash().get("outbox/1") is None
    assert make_flash().keys("outbox") == ["outbox/2"]


def test_a_blob_is_written_piece_by_piece(make_flash: MakeFlash) -> None:
    flash = make_flash()
    assert (flash.blob_size("slot"), flash.blob_read("slot", 0, 10)) == (0, b"")
    flash.blob_write("slot", 0, b"0123456789")
    flash.blob_write("slot", 4, b"xy")
    flash.blob_write("slot", 12, b"end")
    assert make_flash().blob_read("slot", 0, 100) == b"0123xy6789\0\0end"
    assert make_flash().blob_read("slot", 10, 3) == b"\0\0e"
    assert make_flash().blob_read("slot", 99, 3) == b""
    assert make_flash().blob_size("slot") == 15
    flash.blob_erase("slot")
    flash.blob_erase("slot")
    assert make_flash().blob_size("slot") == 0


def test_values_and_blobs_do_not_share_names(make_flash: MakeFlash) -> None:
    flash = make_flash()
    flash.put("a", b"value")
    flash.blob_write("a", 0, b"blob")
    assert (flash.get("a"), flash.blob_read("a", 0, 9)) == (b"value", b"blob")
    assert flash.keys() == ["a"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.dictionaries(st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs"])), st.binary(max_size=9)))
def test_any_text_is_a_key(make_flash: MakeFlash, values: dict[str, bytes]) -> None:
    flash = make_flash()
    for key in flash.keys(""):
        flash.delete(key)
    for key, value in values.items():
        flash.put(key, value)
    assert {key: flash.get(key) for key in flash.keys("")} == values


def test_strange_keys_stay_inside_the_directory(tmp_path: Path) -> None:
    flash = FileFlash(tmp_path / "flash")
    for key in ("../evil", "..", ".", "", "/etc/passwd", "a.new"):
        flash.put(key, b"x")
        flash.blob_write(key, 0, b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["flash"]
    assert len(list((tmp_path / "flash").iterdir())) == 12


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    flash = FileFlash(tmp_path / "flash")
    flash.put("key", b"secret")
    flash.blob_write("slot", 0, b"image")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "flash").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "flash").stat().st_mode) == 0o700


def test_a_put_that_was_cut_leaves_the_old_value(tmp_path: Path) -> None:
    flash = FileFlash(tmp_path)
    flash.put("key", b"old")
    (tmp_path / "key.new").write_bytes(b"ne")
    assert FileFlash(tmp_path).get("key") == b"old"
    assert FileFlash(tmp_path).keys() == ["key"]
    flash.put("key", b"new")
    assert flash.get("key") == b"new"


def test_a_place_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        FileFlash(tmp_path / "file")


def test_an_empty_memory_flash_costs_next_to_nothing() -> None:
    tracemalloc.start()
    fleet = [MemoryFlash() for _ in range(1000)]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(fleet) < 512
