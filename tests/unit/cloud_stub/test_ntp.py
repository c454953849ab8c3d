from datetime import UTC, datetime, timedelta
from random import Random

import ntplib  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.ntp import Kiss, NtpServer, Offset, Silence
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, SERVER, NtpPacket, decode, encode, measure, timestamp

TRUE = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHARGER = Address("192.168.40.100", 40000)
TABLE = {fault.kind: fault for fault in NtpServer.FAULTS}


def server() -> NtpServer:
    return NtpServer(rng=Random(1), utc=lambda: TRUE, now=lambda: 0.0)


def ask(ntp: NtpServer, sent: int = timestamp(TRUE)) -> NtpPacket | None:
    replies = ntp.answer(encode(NtpPacket(mode=CLIENT, transmitted=sent)), CHARGER)
    assert all(reply.to == CHARGER for reply in replies)
    return decode(replies[0].data) if replies else None


def test_the_server_tells_the_time() -> None:
    reply = ask(server(), timestamp(TRUE - timedelta(days=400)))
    assert reply is not None
    assert (reply.mode, reply.leap, reply.version) == (SERVER, 0, 4)
    assert 1 <= reply.stratum <= 15
    assert measure(reply, reply.origin).offset_s == timedelta(days=400).total_seconds()


def test_the_timestamp_of_the_client_comes_back_to_the_last_bit() -> None:
    reply = ask(server(), 0xE9F1A2B3C4D5E6F7)
    assert reply is not None
    assert reply.origin == 0xE9F1A2B3C4D5E6F7


def test_an_independent_client_reads_the_time() -> None:
    ours = ntplib.system_to_ntp_time(TRUE.timestamp() - 60)
    (reply,) = server().answer(ntplib.NTPPacket(version=3, mode=3, tx_timestamp=ours).to_data(), CHARGER)
    stats = ntplib.NTPStats()
    stats.from_data(reply.data)
    stats.dest_timestamp = ours
    assert (stats.version, stats.mode, stats.offset) == (3, 4, 60.0)


def test_a_wrong_server_clock_is_a_fault() -> None:
    ntp = server()
    undo = ntp.inject(Offset(offset_s=-3600.5))
    wrong = ask(ntp)
    undo()
    right = ask(ntp)
    assert wrong is not None and right is not None
    assert measure(wrong, wrong.origin).offset_s == -3600.5
    assert measure(right, right.origin).offset_s == 0.0


def test_a_kiss_code_refuses() -> None:
    ntp = server()
    ntp.inject(Kiss(code="DENY"))
    kiss = ask(ntp)
    assert kiss is not None
    assert (kiss.stratum, kiss.kiss_code, kiss.origin) == (0, "DENY", timestamp(TRUE))


def test_silence_is_recorded() -> None:
    ntp = server()
    ntp.inject(Silence(count=1))
    assert ask(ntp) is None
    assert ask(ntp) is not None
    assert [(one.request, one.reply) for one in ntp.history] == [
        ("TIME v4", "silence"),
        ("TIME v4", "2026-06-01T12:00:00+00:00"),
    ]


@pytest.mark.parametrize("mode", [0, 1, 2, 4, 5, 6, 7])
def test_only_clients_are_answered(mode: int) -> None:
    ntp = server()
    assert ntp.answer(encode(NtpPacket(mode=mode, transmitted=1)), CHARGER) == []
    assert not ntp.history


def test_every_fault_of_the_table_can_be_read_from_data() -> None:
    assert sorted(TABLE) == ["ntp.kiss", "ntp.offset", "ntp.silence"]
    assert fault_from({"kind": "ntp.offset", "offset_s": 5}, TABLE) == Offset(offset_s=5)
    assert fault_from({"kind": "ntp.kiss", "code": "RSTR"}, TABLE) == Kiss(code="RSTR")


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "ntp.offset"},
        {"kind": "ntp.offset", "offset_s": float("inf")},
        {"kind": "ntp.offset", "offset_s": float("nan")},
        {"kind": "ntp.offset", "offset_s": "x"},
        {"kind": "ntp.kiss", "code": "no"},
    ],
)
def test_a_fault_that_cannot_be_is_bad_usage(data: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"offset_s|code"):
        fault_from(data, TABLE)


@given(st.binary(max_size=100))
def test_garbage_gives_silence_or_a_reply_of_its_own(data: bytes) -> None:
    for reply in server().answer(data, CHARGER):
        assert decode(reply.data).origin == decode(data).transmitted
