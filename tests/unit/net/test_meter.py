"""Bytes on the wire, from what is written and read: headers, acknowledgements, TLS records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.net.meter import (
    RST_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENT_MAX_BYTES,
    SYN_BYTES,
    DataMeter,
    Purpose,
    TcpCount,
    Usage,
    ports_of,
)
from emulator.profile import load_profile

H = SEGMENT_HEADER_BYTES
LATER_S = 1.0


def record(kind: int, size_bytes: int) -> bytes:
    return bytes([kind, 3, 3, *size_bytes.to_bytes(2, "big")]) + bytes(size_bytes)


HELLO, FINISHED, ALERT, DATA = record(22, 200), record(22, 40), record(21, 2), record(23, 100)


def tcp(purpose: Purpose = Purpose.TELEMETRY, round_trip_s: float = 0.1) -> tuple[DataMeter, TcpCount]:
    meter = DataMeter()
    return meter, TcpCount(meter, purpose, round_trip_s)


def test_ports_tell_the_purpose() -> None:
    ports = ports_of(load_profile().network)
    assert {ports[port] for port in (67, 68)} == {Purpose.DHCP}
    assert [ports[port] for port in (53, 123, 8883, 443)] == ["dns", "ntp", "telemetry", "https"]


def test_opening_and_closing_cost_six_packets_and_belong_to_the_handshake() -> None:
    meter, count = tcp()
    count.knocked()
    count.opened()
    count.closed()
    assert meter.usage() == Usage({"handshake": SYN_BYTES + 3 * H}, {"handshake": SYN_BYTES + 2 * H})


def test_of_a_connection_without_tls_everything_is_of_one_purpose() -> None:
    meter, count = tcp(Purpose.DNS)
    count.knocked()
    count.refused()
    count.wrote(HELLO, 0.0)
    count.aborted()
    assert meter.usage() == Usage({"dns": SYN_BYTES + len(HELLO) + H + RST_BYTES}, {"dns": RST_BYTES})


def test_tls_records_are_told_apart() -> None:
    meter, count = tcp()
    count.wrote(HELLO, 0.0)
    count.read(FINISHED + DATA, 0.1)
    count.wrote(ALERT, 0.1)
    up, down = meter.usage().up, meter.usage().down
    assert up == {"handshake": len(HELLO) + H + len(ALERT) + H}
    assert down == {"handshake": len(FINISHED), "telemetry": len(DATA) + H}


@given(st.lists(st.sampled_from([HELLO, FINISHED, ALERT, DATA]), min_size=1, max_size=8), st.data())
def test_records_may_come_in_any_pieces(records: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(records)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    meter, count = tcp()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for piece in pieces:
        count.read(piece, 0.0)
    pure = sum(len(each) for each in records if each is DATA)
    headers = sum(-(-len(piece) // SEGMENT_MAX_BYTES) for piece in pieces) * H
    used = meter.usage().down
    assert sum(used.values()) == len(stream) + headers
    # of a header that is cut in two, the first part may have been counted as the record before
    assert pure - 5 * len(cuts) <= used.get("telemetry", 0) <= pure + 5 * len(cuts) + headers


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=10))
def test_garbage_is_counted_too(pieces: list[bytes]) -> None:
    meter, count = tcp(round_trip_s=0.0)
    for piece in pieces:
        count.read(piece, 0.0)
    assert meter.usage().down_bytes == sum(map(len, pieces)) + len(pieces) * H


@pytest.mark.parametrize(("size_bytes", "segments"), [(1, 1), (SEGMENT_MAX_BYTES, 1), (SEGMENT_MAX_BYTES + 1, 2)])
def test_what_is_larger_than_a_segment_takes_more_headers(size_bytes: int, segments: int) -> None:
    meter, count = tcp(Purpose.DNS)
    count.wrote(bytes(size_bytes), 0.0)
    assert meter.usage().up_bytes == size_bytes + segments * H


def test_every_second_segment_is_acknowledged_at_once() -> None:
    meter, count = tcp(Purpose.DNS)
    count.read(bytes(5 * SEGMENT_MAX_BYTES), 0.0)
    assert meter.usage().up_bytes == 2 * H
    count.read(bytes(10), 0.01)
    assert meter.usage().up_bytes == 3 * H


def test_an_answer_in_time_takes_the_acknowledgement_along() -> None:
    meter, count = tcp(Purpose.DNS, round_trip_s=0.1)
    count.wrote(b"question", 0.0)
    count.read(b"answer", 0.13)
    count.wrote(b"next", 0.15)
    assert meter.usage().up_bytes == 8 + 4 + 2 * H
    assert meter.usage().down_bytes == 6 + H


def test_one_that_comes_late_finds_it_sent() -> None:
    meter, count = tcp(Purpose.DNS, round_trip_s=0.1)
    count.wrote(b"question", 0.0)
    count.read(b"answer", LATER_S)
    count.wrote(b"next", 2 * LATER_S)
    assert meter.usage().up_bytes == 8 + 4 + 2 * H + H
    assert meter.usage().down_bytes == 6 + H + H


def test_usages_add_up_and_can_be_compared() -> None:
    one, more = Usage({"dns": 10}, {"ntp": 5}), Usage({"dns": 25, "ntp": 1}, {"ntp": 5})
    assert more.since(one) == Usage({"dns": 15, "ntp": 1}, {})
    assert one.plus(more) == Usage({"dns": 35, "ntp": 1}, {"ntp": 10})
    assert (more.up_bytes, more.down_bytes, more.total_bytes) == (26, 5, 31)
    assert one.as_json() == {
        "up": 10,
        "down": 5,
        "by_purpose": {"dns": {"up": 10, "down": 0}, "ntp": {"up": 0, "down": 5}},
    }


def test_what_was_read_off_does_not_change_afterwards() -> None:
    meter = DataMeter()
    before = meter.usage()
    meter.up(Purpose.DNS, 1)
    assert before == Usage()
