"""Capture files, block by block: what Wireshark's format asks for."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import WireError
from emulator.wire.pcapng import (
    COMMENT_MAX_BYTES,
    FRAME_MAX_BYTES,
    SECRETS_MAX_BYTES,
    Direction,
    interface,
    packet,
    section_header,
    statistics,
    tls_secrets,
)
from tests.captures import Packet, blocks, options, read_capture


def test_a_section_begins_with_the_byte_order_and_says_who_wrote_it() -> None:
    ((kind, body),) = blocks(section_header("emulator", hardware="a charger", comment="for people"))
    assert kind == 0x0A0D0D0A
    assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(body[16:]) == {2: b"a charger", 4: b"emulator", 1: b"for people"}


def test_an_interface_is_ethernet_with_times_in_nanoseconds() -> None:
    ((kind, body),) = blocks(interface("ZPR000001", description="drawn", mac=bytes(6)))
    assert kind == 1
    assert struct.unpack_from("<HHI", body) == (1, 0, 0)
    assert options(body[8:]) == {2: b"ZPR000001", 3: b"drawn", 6: bytes(6), 9: b"\x09"}


def test_secrets_are_lines_of_a_tls_key_log() -> None:
    ((kind, body),) = blocks(tls_secrets(b"CLIENT_RANDOM 00 11\n"))
    assert (kind, body[:4]) == (10, b"KSLT"), "TLSK, the low byte first"
    assert read_capture(tls_secrets(b"CLIENT_RANDOM 00 11\n")).secrets == [(0, b"CLIENT_RANDOM 00 11\n")]


def test_statistics_tell_what_was_lost() -> None:
    assert read_capture(statistics(0, 1, received=10, dropped=3)).counts == [(10, 3)]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.binary(max_size=2000),
    st.sampled_from(Direction),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
)
def test_a_packet_comes_back_as_it_was(number: int, time_ns: int, frame: bytes, way: Direction, comment: str) -> None:
    written = packet(number, time_ns, frame, way, comment=comment)
    assert read_capture(written).packets == [Packet(number, time_ns, frame, way, comment)]


def test_what_is_too_large_for_a_reader_is_refused() -> None:
    packet(0, 0, bytes(FRAME_MAX_BYTES), Direction.INBOUND)
    with pytest.raises(WireError, match="at most"):
        packet(0, 0, bytes(FRAME_MAX_BYTES + 1), Direction.INBOUND)
    with pytest.raises(WireError, match="at once"):
        tls_secrets(bytes(SECRETS_MAX_BYTES + 1))


def test_a_long_comment_is_cut_between_two_characters() -> None:
    (read,) = read_capture(packet(0, 0, b"", Direction.INBOUND, comment="é" * COMMENT_MAX_BYTES)).packets
    assert read.comment == "é" * (COMMENT_MAX_BYTES // 2)
    (read,) = read_capture(packet(0, 0, b"", Direction.INBOUND, comment="." + "é" * COMMENT_MAX_BYTES)).packets
    assert read.comment == "." + "é" * (COMMENT_MAX_BYTES // 2 - 1)
