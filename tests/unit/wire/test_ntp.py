from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.ntp import (
    CLIENT,
    SECOND,
    SERVER,
    UNSYNCHRONISED,
    NtpError,
    NtpPacket,
    decode,
    elapsed_s,
    encode,
    measure,
    shifted,
    timestamp,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "ntp"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


stamps = st.integers(0, (1 << 64) - 1)
packets = st.builds(
    NtpPacket,
    mode=st.integers(0, 7),
    leap=st.integers(0, 3),
    version=st.integers(0, 7),
    stratum=st.integers(0, 255),
    poll=st.integers(0, 255),
    precision=st.integers(-128, 127),
    root_delay_s=st.integers(0, 0xFFFFFFFF).map(lambda units: units / 65536),
    root_dispersion_s=st.integers(0, 0xFFFFFFFF).map(lambda units: units / 65536),
    reference_id=st.binary(min_size=4, max_size=4),
    reference=stamps,
    origin=stamps,
    received=stamps,
    transmitted=stamps,
)


@given(packets)
def test_every_packet_survives_the_wire_to_the_last_bit(packet: NtpPacket) -> None:
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=47))
def test_short_garbage_is_an_ntp_error(data: bytes) -> None:
    with pytest.raises(NtpError):
        decode(data)


@given(st.binary(min_size=48, max_size=100))
def test_every_48_bytes_are_a_packet(data: bytes) -> None:
    assert encode(decode(data)) == data[:48]


def test_our_request_is_what_ntplib_writes() -> None:
    request = NtpPacket(mode=CLIENT, transmitted=timestamp(NEW_YEAR + timedelta(seconds=0.5)))
    assert encode(request) == vector("query_ntplib")


def test_a_reply_of_chrony_returns_our_timestamp_to_the_last_bit() -> None:
    reply = decode(vector("reply_chrony"))
    assert (reply.mode, reply.leap, reply.stratum, reply.precision) == (SERVER, 0, 3, -26)
    assert reply.origin == 0xE9F1A2B3C4D5E6F7
    assert 0 < reply.transmitted - reply.received < (1 << 32) // 1000


def test_a_reply_of_ntplib_is_measured() -> None:
    reply = decode(vector("reply_ntplib"))
    assert (reply.stratum, reply.root_delay_s, reply.root_dispersion_s) == (2, 0.25, 0.5)
    sent, arrived = (NEW_YEAR + timedelta(seconds=seconds) for seconds in (0.5, 0.75))
    assert reply.origin == timestamp(sent)
    measured = measure(reply, sent, arrived)
    assert measured.offset_s == pytest.approx(10.0625)
    assert measured.delay_s == pytest.approx(0.125)


def test_a_kiss_code_is_readable() -> None:
    kiss = decode(vector("kiss_rate_ntplib"))
    assert (kiss.stratum, kiss.leap, kiss.kiss_code) == (0, UNSYNCHRONISED, "RATE")


def test_a_short_packet_is_refused() -> None:
    with pytest.raises(NtpError, match="47 bytes"):
        decode(vector("malformed_short"))


moments = st.datetimes(datetime(1968, 2, 1), datetime(2103, 12, 1)).map(lambda local: local.replace(tzinfo=UTC))  # noqa: DTZ001
any_year = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1)).map(lambda local: local.replace(tzinfo=UTC))  # noqa: DTZ001
times = st.floats(0, 8)


@given(ours=any_year, theirs=moments, there_s=times, work_s=times, back_s=times)
def test_any_clock_learns_its_offset_from_a_server_of_either_era(
    ours: datetime, theirs: datetime, there_s: float, work_s: float, back_s: float
) -> None:
    received, transmitted = theirs, theirs + timedelta(seconds=work_s)
    reply = NtpPacket(mode=SERVER, received=timestamp(received), transmitted=timestamp(transmitted))
    measured = measure(reply, ours, ours + timedelta(seconds=there_s + work_s + back_s))
    truth_s = (theirs - ours).total_seconds() - there_s
    assert measured.offset_s == pytest.approx(truth_s + (there_s - back_s) / 2, abs=1e-4)
    assert measured.delay_s == pytest.approx(there_s + back_s, abs=1e-4)


def test_over_the_change_of_era_in_2036_no_second_is_lost() -> None:
    change = datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC)
    before, after = change - timedelta(seconds=0.5), change + timedelta(seconds=0.5)
    assert timestamp(after) < timestamp(before)
    assert elapsed_s(timestamp(before), timestamp(after)) == pytest.approx(1.0)
    reply = NtpPacket(mode=SERVER, received=timestamp(before), transmitted=timestamp(after))
    measured = measure(reply, change - timedelta(seconds=10), change - timedelta(seconds=8))
    assert measured.offset_s == pytest.approx(9.0)
    assert measured.delay_s == pytest.approx(1.0)


@given(st.integers(1, (1 << 64) - 1), st.integers(-(1 << 30), 1 << 30))
def test_a_shifted_timestamp_is_as_far_away_as_it_was_shifted(stamp: int, by_s: int) -> None:
    assert elapsed_s(stamp, shifted(stamp, by_s)) == by_s
    assert 0 <= shifted(stamp, by_s) < SECOND**2


def test_what_is_not_set_is_not_shifted() -> None:
    assert shifted(0, 5.0) == 0


def test_the_timestamp_of_the_second_era_begins_at_zero_again() -> None:
    assert timestamp(datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC)) == 0
    assert timestamp(datetime(1900, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1 << 32


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": 8},
        {"leap": 4},
        {"version": 8},
        {"stratum": 256},
        {"precision": -129},
        {"root_delay_s": float("nan")},
        {"root_delay_s": 1e9},
        {"reference_id": b"GPS"},
        {"transmitted": -1},
        {"origin": 1 << 64},
    ],
)
def test_what_does_not_fit_is_not_encoded(changes: dict[str, object]) -> None:
    with pytest.raises(NtpError):
        encode(replace(NtpPacket(mode=CLIENT), **changes))  # type: ignore[arg-type]
