import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import ntplib  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.site.ntp import NtpServer
from cloud_stub.site.ntp_faults import Kiss, Offset, Silence, Slow, Spoofed
from emulator.clock import SimLoop
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.net.api import Interface
from emulator.net.sim import SimNet
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, SERVER, NtpPacket, decode, encode, measure, timestamp

TRUE = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHARGER = Address("192.168.40.100", 40000)
TABLE = {fault.kind: fault for fault in NtpServer.FAULTS}


def server(label: str = "a") -> NtpServer:
    return NtpServer(label=label, rng=Random(1), utc=lambda: TRUE, now=lambda: 0.0)


def offset_s(reply: NtpPacket, sent: datetime = TRUE) -> float:
    return measure(reply, sent, sent).offset_s


def ask(ntp: NtpServer, sent: int = timestamp(TRUE)) -> NtpPacket | None:
    replies = ntp.answer(encode(NtpPacket(mode=CLIENT, transmitted=sent)), CHARGER)
    assert all(reply.to == CHARGER for reply in replies)
    return decode(replies[0].data) if replies else None


def test_the_server_tells_the_time() -> None:
    reply = ask(server(), timestamp(TRUE - timedelta(days=400)))
    assert reply is not None
    assert (reply.mode, reply.leap, reply.version) == (SERVER, 0, 4)
    assert 1 <= reply.stratum <= 15
    assert max(reply.root_delay_s, reply.root_dispersion_s) < 1
    assert offset_s(reply, TRUE - timedelta(days=400)) == timedelta(days=400).total_seconds()


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
    assert (offset_s(wrong), offset_s(right)) == (-3600.5, 0.0)


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
    assert [(one.request, one.reply, one.data) for one in ntp.history] == [
        ("TIME v4", "silence", {"server": "a"}),
        ("TIME v4", "2026-06-01T12:00:00+00:00", {"server": "a"}),
    ]


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        ({"kind": "ntp.leap"}, {"leap": 3}),
        ({"kind": "ntp.stratum"}, {"stratum": 16}),
        ({"kind": "ntp.stratum", "stratum": 255}, {"stratum": 255}),
        ({"kind": "ntp.zero_time"}, {"transmitted": 0}),
        ({"kind": "ntp.backwards", "by_s": 60.0}, {"received": timestamp(TRUE + timedelta(seconds=60))}),
        ({"kind": "ntp.wrong_origin"}, {"origin": timestamp(TRUE - timedelta(seconds=1))}),
        ({"kind": "ntp.wrong_mode"}, {"mode": 5}),
        ({"kind": "ntp.wrong_mode", "mode": 3}, {"mode": 3}),
        ({"kind": "ntp.wrong_version"}, {"version": 3}),
        ({"kind": "ntp.absurd_root"}, {"root_delay_s": 0.0, "root_dispersion_s": 16.0}),
    ],
    ids=lambda value: value.get("kind"),
)
def test_each_distortion_changes_one_thing_and_can_be_taken_back(
    fault: dict[str, object], changed: dict[str, object]
) -> None:
    ntp = server()
    good = ask(ntp)
    undo = ntp.inject(fault_from(fault, TABLE))
    assert good is not None and ask(ntp) == replace(good, **changed)  # type: ignore[arg-type]
    undo()
    assert ask(ntp) == good
    word = str(fault["kind"]).partition(".")[2]
    assert [one.reply.endswith(word) for one in ntp.history] == [False, True, False]


def test_distortions_add_up() -> None:
    ntp = server()
    for data in ({"kind": "ntp.offset", "offset_s": 60.0}, {"kind": "ntp.leap"}, {"kind": "ntp.wrong_mode"}):
        ntp.inject(fault_from(data, TABLE))
    reply = ask(ntp)
    assert reply is not None and (reply.leap, reply.mode, offset_s(reply)) == (3, 5, 60.0)
    assert ntp.history[-1].reply == "2026-06-01T12:00:00+00:00 offset leap wrong_mode"


def test_garbage_is_no_packet() -> None:
    ntp = server()
    ntp.inject(fault_from({"kind": "ntp.garbage"}, TABLE))
    for _ in range(100):
        (reply,) = ntp.answer(encode(NtpPacket(mode=CLIENT, transmitted=1)), CHARGER)
        assert 1 <= len(reply.data) < 48


def test_a_slow_server_tells_the_time_of_the_request_late() -> None:
    ntp = server()
    ntp.inject(Slow(delay_s=3.0))
    (reply,) = ntp.answer(encode(NtpPacket(mode=CLIENT, transmitted=1)), CHARGER)
    assert (reply.delay_s, decode(reply.data).transmitted) == (3.0, timestamp(TRUE))


def test_a_fault_of_another_server_is_none_of_ours() -> None:
    ntp = server("b")
    ours = ntp.inject(Silence(server="b", count=1))
    theirs = ntp.inject(Silence(server="a"))
    assert (ours.active, theirs.active) == (True, False)
    assert ask(ntp) is None
    assert ask(ntp) is not None
    ntp.inject(Silence(server="*"))
    assert ask(ntp) is None


def test_a_forgery_comes_first_and_from_another_port() -> None:
    async def story() -> list[tuple[float, int]]:
        net, ntp = SimNet(Random(1)), server()
        ntp.inject(Spoofed(offset_s=3600.0))
        await ntp.start(net.host("ntp-a", "10.20.1.123", segment="internet"))
        charger = net.host("charger")
        charger.set_interface(Interface("10.20.16.1", 16, None))
        socket, got = await charger.udp(), list[tuple[float, int]]()
        socket.send(encode(NtpPacket(mode=CLIENT, transmitted=timestamp(TRUE))), Address("10.20.1.123", 123))
        for _ in range(2):
            data, sender = await socket.receive()
            got.append((offset_s(decode(data)), sender.port))
        socket.close()
        await ntp.stop()
        return got

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        forged, true = runner.run(story())
    assert (forged[0], true) == (3600.0, (0.0, 123))
    assert forged[1] != 123


@pytest.mark.parametrize("mode", [0, 1, 2, 4, 5, 6, 7])
def test_only_clients_are_answered(mode: int) -> None:
    ntp = server()
    assert ntp.answer(encode(NtpPacket(mode=mode, transmitted=1)), CHARGER) == []
    assert not ntp.history


def test_every_fault_of_the_table_can_be_read_from_data() -> None:
    assert sorted(TABLE) == [
        *("ntp.absurd_root", "ntp.backwards", "ntp.garbage", "ntp.kiss", "ntp.leap", "ntp.offset", "ntp.silence"),
        *("ntp.slow", "ntp.spoofed", "ntp.stratum", "ntp.wrong_mode", "ntp.wrong_origin", "ntp.wrong_version"),
        "ntp.zero_time",
    ]
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
        {"kind": "ntp.stratum", "stratum": 15},
        {"kind": "ntp.wrong_mode", "mode": 4},
        {"kind": "ntp.wrong_version", "version": 4},
        {"kind": "ntp.backwards", "by_s": 0},
        {"kind": "ntp.absurd_root", "dispersion_s": 1e9},
        {"kind": "ntp.slow"},
        {"kind": "ntp.slow", "delay_s": -1},
        {"kind": "ntp.silence", "server": "e"},
    ],
)
def test_a_fault_that_cannot_be_is_bad_usage(data: dict[str, object]) -> None:
    with pytest.raises(
        UsageError, match=r"fault: (offset_s|code|stratum|mode|version|by_s|dispersion_s|delay_s|server): "
    ):
        fault_from(data, TABLE)


@given(st.binary(max_size=100))
def test_garbage_gives_silence_or_a_reply_of_its_own(data: bytes) -> None:
    for reply in server().answer(data, CHARGER):
        assert decode(reply.data).origin == decode(data).transmitted
