"""A chip in memory and a chip in a file: what they let through, and what the file is to the rest of the machine."""

import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.flash.device import FILE_NAME, FileDevice, FlashDevice, MemoryDevice, SectorError
from emulator.flash.store import Layout, file_flash

SECTORS, SECTOR_BYTES = 5, 64
SMALL = Layout(log_sectors=16, slot_bytes=4096)


@pytest.fixture(params=["memory", "shared", "file"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FlashDevice]:
    match request.param:
        case "memory":
            yield MemoryDevice(SECTORS, sector_bytes=SECTOR_BYTES)
        case "shared":
            made = MemoryDevice(SECTORS, sector_bytes=SECTOR_BYTES, shared={1: b"left by production", 3: b""})
            made.erase(1)
            yield made
        case _:
            file = FileDevice(tmp_path, SECTORS, sector_bytes=SECTOR_BYTES)
            yield file
            file.close()


writes = st.one_of(
    st.tuples(st.integers(0, SECTORS - 1), st.integers(0, SECTOR_BYTES), st.binary(max_size=SECTOR_BYTES)),
    st.integers(0, SECTORS - 1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(writes, max_size=20), st.integers(0, SECTORS * SECTOR_BYTES), st.integers(0, SECTORS * SECTOR_BYTES))
def test_programs_clear_bits_and_only_an_erase_sets_them(
    device: FlashDevice, story: list[tuple[int, int, bytes] | int], first: int, last: int
) -> None:
    for sector in range(SECTORS):
        device.erase(sector)
    chip = bytearray(b"\xff" * SECTORS * SECTOR_BYTES)
    for write in story:
        if isinstance(write, int):
            device.erase(write)
            chip[write * SECTOR_BYTES : (write + 1) * SECTOR_BYTES] = b"\xff" * SECTOR_BYTES
            continue
        sector, within, data = write
        data = data[: SECTOR_BYTES - within]
        device.program(address := sector * SECTOR_BYTES + within, data)
        for at, value in enumerate(data, address):
            chip[at] &= value
    device.flush()
    assert device.read(0, len(chip)) == chip
    assert device.read(min(first, last), abs(last - first)) == chip[min(first, last) : max(first, last)]
    held = [chip[start : start + SECTOR_BYTES] for start in range(0, len(chip), SECTOR_BYTES)]
    programmed = [sector for sector, image in enumerate(held) if set(image) != {0xFF}]
    assert device.programmed(SECTORS) == programmed
    assert device.programmed(2) == [sector for sector in programmed if sector < 2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(writes, max_size=6), st.integers(0, SECTORS * SECTOR_BYTES), st.binary(max_size=SECTORS * SECTOR_BYTES))
def test_what_is_blank_is_programmed_over_any_number_of_sectors(
    device: FlashDevice, story: list[tuple[int, int, bytes] | int], first: int, data: bytes
) -> None:
    for sector in range(SECTORS):
        device.erase(sector)
    for write in story:
        if isinstance(write, int):
            device.erase(write)
        else:
            sector, within, piece = write
            device.program(sector * SECTOR_BYTES + within, piece[: SECTOR_BYTES - within])
    chip = bytearray(device.read(0, SECTORS * SECTOR_BYTES))
    data = data[: len(chip) - first]
    blank = set(chip[first : first + len(data)]) <= {0xFF}
    assert device.is_blank(first, len(data)) == blank
    if blank:
        device.program_blank(first, data)
        chip[first : first + len(data)] = data
    assert device.read(0, len(chip)) == chip


def test_what_was_programmed_with_nothing_is_blank(device: FlashDevice) -> None:
    device.program(SECTOR_BYTES, b"\xff" * SECTOR_BYTES)
    assert device.is_blank(0, SECTORS * SECTOR_BYTES)
    device.program(2 * SECTOR_BYTES, b"\xfe")
    assert not device.is_blank(0, SECTORS * SECTOR_BYTES)
    device.erase(2)
    assert device.is_blank(0, SECTORS * SECTOR_BYTES)


def test_a_disk_that_is_full_is_a_sector_that_takes_no_more(tmp_path: Path) -> None:
    with closing(FileDevice(tmp_path, SECTORS, sector_bytes=SECTOR_BYTES)) as device:
        with files_of(2 * SECTOR_BYTES + 10), pytest.raises(SectorError) as full:
            device.program_blank(0, bytes(4 * SECTOR_BYTES))
        assert full.value.sector == 2
        assert device.read(0, 3 * SECTOR_BYTES) == bytes(2 * SECTOR_BYTES + 10) + b"\xff" * (SECTOR_BYTES - 10)
        with files_of(3 * SECTOR_BYTES), pytest.raises(SectorError) as full:
            device.program(3 * SECTOR_BYTES, b"a")
        assert full.value.sector == 3


@contextmanager
def files_of(size_max: int) -> Iterator[None]:
    """The system lets no file grow beyond so many bytes, as if there were no room on the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_program_stays_within_its_sector(device: FlashDevice) -> None:
    with pytest.raises(ValueError, match="over the end"):
        device.program(SECTOR_BYTES - 1, b"ab")


def test_the_file_is_for_its_owner_and_takes_no_room_where_it_is_blank(tmp_path: Path) -> None:
    with file_flash(tmp_path / "flash") as flash:
        flash.put("wifi", b"secret")
    file = tmp_path / "flash" / FILE_NAME
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    assert file.stat().st_size > 200_000_000
    assert file.stat().st_blocks * 512 < 100_000


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with file_flash(tmp_path, SMALL), pytest.raises(UsageError, match=rf"{FILE_NAME}: in use by another process"):
        FileDevice(tmp_path, SMALL.sectors)
    with file_flash(tmp_path, SMALL) as flash:
        assert flash.keys() == []


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: "):
        FileDevice(tmp_path / "file", 1)
    with file_flash(tmp_path / "flash", SMALL):
        pass
    with pytest.raises(UsageError, match=r"flash\.bin: 77824 bytes, but the flash of this charger has 4096"):
        FileDevice(tmp_path / "flash", 1)


def test_flash_of_an_older_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "session.count.value").write_bytes(b"7")
    with pytest.raises(UsageError, match=r"session\.count\.value, flash of an older version"):
        FileDevice(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["session.count.value"]


WRITER = """
import sys
from pathlib import Path
from emulator.flash.store import Layout, file_flash

with file_flash(Path(sys.argv[1]), Layout(log_sectors=16, slot_bytes=4096)) as flash:
    number = int(flash.get("done") or b"0")
    while True:
        number += 1
        flash.put("long", b"%d," % number * 500)
        flash.put("done", b"%d" % number)
        print(number, flush=True)
"""


def test_a_process_that_is_killed_leaves_what_it_has_put(tmp_path: Path) -> None:
    done = 0
    for killed_after in (1, 40, 77):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(killed_after)][-1]
            writer.kill()
        assert told > done
        with file_flash(tmp_path, SMALL) as flash:
            done, long = int(flash.get("done") or b"0"), flash.get("long") or b""
        assert done >= told
        assert long in (b"%d," % done * 500, b"%d," % (done + 1) * 500)
