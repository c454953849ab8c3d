"""Captures of whole lives in virtual time: they change nothing, repeat themselves, and show what went wrong."""

from pathlib import Path

import pytest

from cloud_stub.worlds import SIM_EPOCH
from emulator.net.capture import NO_FILES, CaptureFiles
from emulator.player import play
from emulator.scenario import load_scenario
from emulator.wire.frame import IPV4_BYTES, LINK_BYTES
from tests.captures import CaptureRead, Packet, read_capture

SCENARIOS = ("demo-dns-silent", "hub-blocked", "nat-timeout", "lte-garage-door", "plc-two-gateways", "wrong-ca")


def captured(name: str, path: Path, *, seed: int = 1) -> CaptureRead:
    assert play(load_scenario(name), "sim", seed=seed, files=CaptureFiles(path)).ok
    return read_capture(path.read_bytes())


def but_for_tls(packet: Packet) -> tuple[object, ...]:
    """All of a packet that does not depend on the random numbers of TLS: of a segment, not what it carries."""
    frame = packet.frame
    if packet.is_tcp:
        records, checksum = len(frame) - len(packet.tcp.payload), LINK_BYTES + IPV4_BYTES + 16
        frame = frame[:checksum] + frame[checksum + 2 : records]
    return packet.time_ns, packet.direction, packet.comment, frame, len(packet.frame)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_story_is_the_same_whether_it_is_captured_or_not(name: str, tmp_path: Path) -> None:
    digests = {
        play(load_scenario(name), "sim", files=files).digest for files in (NO_FILES, CaptureFiles(tmp_path / "x"))
    }
    assert len(digests) == 1


def test_equal_seeds_give_equal_files_but_for_what_tls_has_encrypted(tmp_path: Path) -> None:
    first, again, other = (captured("nat-timeout", tmp_path / "x.pcapng", seed=seed) for seed in (1, 1, 2))
    assert [but_for_tls(packet) for packet in first.packets] == [but_for_tls(packet) for packet in again.packets]
    assert [packet.time_ns for packet in first.packets] != [packet.time_ns for packet in other.packets]


def test_a_story_without_tls_is_the_same_file_to_the_byte(tmp_path: Path) -> None:
    files = set()
    for _ in range(2):
        captured("hub-blocked", tmp_path / "x.pcapng")
        files.add((tmp_path / "x.pcapng").read_bytes())
    assert len(files) == 1


def test_times_are_those_of_the_simulation_and_in_order(tmp_path: Path) -> None:
    times_ns = [packet.time_ns for packet in captured("nat-timeout", tmp_path / "x.pcapng").packets]
    assert times_ns == sorted(times_ns)
    epoch_ns = round(SIM_EPOCH.timestamp()) * 10**9
    assert epoch_ns <= times_ns[0] < epoch_ns + 5 * 10**9


def test_a_blocked_port_shows_as_syns_that_nobody_answers(tmp_path: Path) -> None:
    read = captured("hub-blocked", tmp_path / "x.pcapng")
    segments = [packet for packet in read.packets if packet.is_tcp]
    assert {str(packet) for packet in segments} == {"> SYN"}
    assert {packet.tcp.destination_port for packet in segments} == {8883}
    first = segments[0].time_ns
    assert [round((packet.time_ns - first) / 1e9) for packet in segments[:4]] == [0, 1, 3, 7]


def test_a_mapping_that_was_forgotten_shows_as_the_same_bytes_again_and_again(tmp_path: Path) -> None:
    read = captured("nat-timeout", tmp_path / "x.pcapng")
    carrying = [p.frame for p in read.packets if str(p).startswith("> ACK ")]
    assert max(carrying.count(frame) for frame in carrying) == 1, "each packet has an id of its own"
    numbers = [packet.tcp.sequence for packet in read.packets if str(packet).startswith("> ACK ")]
    assert max(numbers.count(number) for number in numbers) == 5


def test_what_became_of_each_stage_is_a_comment_in_its_place(tmp_path: Path) -> None:
    read = captured("demo-dns-silent", tmp_path / "x.pcapng")
    comments = [line.partition(": ")[2] for packet in read.packets for line in packet.comment.splitlines()]
    assert comments == [
        "device: power on",
        "boot: link passed",
        "boot: address passed",
        "boot: names degraded (fallback_dns)",
        "boot: time passed",
        "boot: trust passed",
        "boot: hub passed",
        "boot: firmware passed",
    ], "and online it is after its last packet"
