"""The capture file while it is written: the order of its packets, who may read it, and what happens when it is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emulator.errors import UsageError
from emulator.net import capture_file
from emulator.net.capture_file import CaptureFile
from emulator.net.keylog import KeylogReader
from emulator.wire.pcapng import FRAME_MAX_BYTES, Direction
from tests.captures import CaptureRead, read_capture

IN = Direction.INBOUND


def read(path: Path) -> CaptureRead:
    return read_capture(path.read_bytes())


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    """The kernel refuses to write more, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_every_packet_is_on_the_disk_at_once_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    for count in range(1, 4):
        file.put(number, count, b"frame", IN)
        assert len(read(path).packets) == count
    file.close()
    file.close()
    assert read(path).counts == [(3, 0)]


def test_only_its_owner_may_read_it_even_where_somebody_else_may_read_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_text("old")
    path.chmod(0o666)
    with path.open() as old:
        CaptureFile(path).close()
        assert path.stat().st_mode & 0o777 == 0o600
        assert old.read() == "old", "who has it open reads nothing of the new one"


def test_what_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    target.write_text("precious")
    link.symlink_to(target)
    for path in (link, tmp_path, Path("/dev/null")):
        with pytest.raises(UsageError, match=f"--pcap {path}: not a regular file"):
            CaptureFile(path)
    with pytest.raises(UsageError, match="No such file or directory"):
        CaptureFile(tmp_path / "nowhere" / "x.pcapng")
    assert target.read_text() == "precious"


def test_packets_wait_for_one_that_is_known_later_than_it_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    file.put(number, 1, b"before", IN)
    hold = file.hold(2)
    for time_ns in (2, 3, 3, 5):
        file.put(number, time_ns, f"{time_ns}".encode(), IN)
    file.put(number, 1, b"belated", IN)
    assert [packet.frame for packet in read(path).packets] == [b"before", b"belated"]
    file.put(number, 2, b"SYN", IN)
    file.put(number, 4, b"SYN again", IN)
    file.release(hold)
    file.release(hold)
    assert [packet.frame for packet in read(path).packets[2:]] == [b"2", b"SYN", b"3", b"3", b"SYN again", b"5"]
    file.close()


def test_of_several_holds_the_earliest_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    early, late = file.hold(10), file.hold(20)
    for time_ns in (5, 15, 25):
        file.put(number, time_ns, b"", IN)
    assert [packet.time_ns for packet in read(path).packets] == [5]
    file.move(early, 22)
    assert [packet.time_ns for packet in read(path).packets] == [5, 15]
    file.release(late)
    assert len(read(path).packets) == 2
    file.close()
    assert len(read(path).packets) == 3, "what waits in the end is written"


def test_too_many_packets_do_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    file.hold(0)
    for time_ns in range(capture_file.HELD_MAX + 2):
        file.put(number, time_ns, b"", IN)
    assert [packet.time_ns for packet in read(path).packets] == [0, 1]
    file.close()


def test_a_file_that_is_full_says_so_once_and_counts_on(tmp_path: Path) -> None:
    path, told = tmp_path / "x.pcapng", list[str]()
    file = CaptureFile(path, told=told.append, max_bytes=400)
    number = file.add_interface("ZPR000001")
    for _ in range(10):
        file.put(number, 0, bytes(60), IN)
    file.close()
    (line,) = told
    assert line.startswith(f"--pcap {path}: it has ") and line.endswith("at most 400; the capture ends here")
    kept = len(read(path).packets)
    assert 0 < kept < 10
    assert read(path).counts == [(10, 10 - kept)]


def test_a_full_disk_ends_the_capture_and_nothing_else(tmp_path: Path) -> None:
    path, told = tmp_path / "x.pcapng", list[str]()
    file = CaptureFile(path, told=told.append)
    number = file.add_interface("ZPR000001")
    with no_file_larger_than(500):
        for _ in range(10):
            file.put(number, 0, bytes(60), IN)
        file.close()
    assert len(told) == 1 and told[0].startswith(f"--pcap {path}: ")
    assert len(read(path).packets) == 3, "what is there can be read"


def test_a_packet_that_no_reader_takes_is_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    file.put(number, 0, bytes(FRAME_MAX_BYTES + 1), IN)
    file.missed(number, 2)
    file.close()
    assert (read(path).packets, read(path).counts) == ([], [(3, 3)])


def test_secrets_stand_before_the_packets_that_need_them(tmp_path: Path) -> None:
    path, keys = tmp_path / "x.pcapng", tmp_path / "x.keys"
    keys.write_bytes(b"# comment\n")
    file = CaptureFile(path, secrets=KeylogReader(keys))
    number = file.add_interface("ZPR000001")
    file.put(number, 0, b"ClientHello", IN)
    with keys.open("ab") as log:
        log.write(b"CLIENT_RANDOM 00 11\nCLIENT_RAN")
        log.flush()
        file.put(number, 1, b"Finished", IN)
        log.write(b"DOM 22 33\n")
    file.put(number, 2, b"data", IN)
    file.close()
    assert read(path).secrets == [
        (0, b"# comment\n"),
        (1, b"CLIENT_RANDOM 00 11\n"),
        (2, b"CLIENT_RANDOM 22 33\n"),
    ]


def test_a_note_is_the_comment_of_the_next_packet(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    number = file.add_interface("ZPR000001")
    file.note(5, "first")
    file.note(5, "second")
    for time_ns in (4, 6, 7):
        file.put(number, time_ns, b"", IN)
    file.close()
    assert [packet.comment for packet in read(path).packets] == ["", "first\nsecond", ""]


def test_of_too_many_notes_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = CaptureFile(path)
    for number in range(capture_file.NOTES_MAX + 1):
        file.note(0, f"{number}")
    file.put(file.add_interface("ZPR000001"), 0, b"", IN)
    file.close()
    assert read(path).packets[0].comment.split("\n") == [str(n) for n in range(1, capture_file.NOTES_MAX + 1)]
