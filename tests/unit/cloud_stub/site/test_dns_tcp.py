"""Name servers over TCP and over sockets, in simulated time: what they answer, and when they end a connection."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from cloud_stub.site import dns_tcp
from cloud_stub.site.dns import DnsServer
from cloud_stub.site.dns_tcp import CONNECTIONS_MAX, IDLE_LIMIT_S, QUERIES_MAX, QUERY_MAX_BYTES
from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.faults import fault_from
from emulator.net.api import Address, Host
from emulator.net.reader import Reader
from emulator.net.sim import SimNet
from emulator.wire.dns import Messages, Query, Question, Reply, decode_reply, encode_query, with_length

HUB, MANY = Question("zapcloud.azure-devices.net"), Question("many.example")
SERVER = Address("10.0.0.53", 53)
ZONE = {HUB.name: ("10.0.0.2",), MANY.name: tuple(f"10.1.0.{number}" for number in range(1, 101))}


class Lab:
    """One name server, and a machine to ask it from."""

    def __init__(self) -> None:
        loop, utc = asyncio.get_running_loop(), datetime(2026, 1, 1, tzinfo=UTC)
        self.net = SimNet(Random(1))
        self.server = DnsServer(label="primary", zone=ZONE, rng=Random(1), utc=lambda: utc, now=loop.time)
        self.host: Host = self.net.host("charger", "10.0.0.7")

    def inject(self, kind: str, **fields: Any) -> None:
        table = {fault.kind: fault for fault in DnsServer.FAULTS}
        self.server.inject(fault_from({"kind": kind} | fields, table))

    async def connect(self) -> Reader:
        return Reader(await self.host.connect(SERVER, timeout_s=1))

    def ended(self) -> list[str]:
        """Why the server has ended connections."""
        return [exchange.reply for exchange in self.server.history if exchange.request == "TCP"]


def query(number: int = 1, question: Question = HUB) -> bytes:
    return with_length(encode_query(Query(number, question)))


async def replies(reader: Reader, count: int) -> list[Reply]:
    """The next replies on a connection."""
    messages, found = Messages(65_535), list[Reply]()
    while len(found) < count:
        found += [decode_reply(message) for message in messages.feed(await reader.read(65_536, 60))]
    return found


async def end(reader: Reader) -> NetReason | None:
    """How the server ends a connection on which it says nothing."""
    try:
        assert await reader.read(1, 60) == b""
    except NetError as error:
        return error.reason
    return None


def play(story: Callable[[Lab], Awaitable[None]]) -> None:
    async def told() -> None:
        lab = Lab()
        await lab.server.start(lab.net.host("dns", SERVER.host))
        try:
            await story(lab)
        finally:
            await lab.server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(told())


def test_a_connection_carries_many_questions_cut_anywhere_and_no_answer_is_too_long_for_it() -> None:
    async def story(lab: Lab) -> None:
        reader = await lab.connect()
        stream = query(1) + query(2, MANY) + query(3, Question("nowhere.example"))
        for position in range(0, len(stream), 7):
            reader.stream.write(stream[position : position + 7])
            await asyncio.sleep(0.01)
        first, second, third = await replies(reader, 3)
        assert (first.query_id, first.addresses) == (1, ("10.0.0.2",))
        assert (second.query_id, len(second.addresses), second.truncated) == (2, 100, False)
        assert (third.query_id, third.rcode) == (3, "nxdomain")
        assert {exchange.data["transport"] for exchange in lab.server.history} == {"tcp"}

    play(story)


def test_what_does_not_fit_into_a_datagram_is_cut_there() -> None:
    async def story(lab: Lab) -> None:
        socket = await lab.host.udp()
        socket.send(encode_query(Query(1, MANY)), SERVER)
        data, _ = await socket.receive()
        assert decode_reply(data).truncated
        assert lab.server.history[-1].reply == "truncated"

    play(story)


def test_faults_strike_over_tcp_as_well() -> None:
    async def story(lab: Lab) -> None:
        lab.inject("dns.slow", delay_s=3.0)
        lab.inject("dns.servfail", transport="tcp", count=1)
        loop, reader = asyncio.get_running_loop(), await lab.connect()
        began = loop.time()
        reader.stream.write(query(1) + query(2))
        first, second = await replies(reader, 2)
        assert (first.rcode, second.rcode) == ("servfail", "noerror")
        assert loop.time() - began == pytest.approx(3.0, abs=0.01)
        assert lab.server.history[0].data["faults"] == ["dns.slow", "dns.servfail"]

    play(story)


def test_a_server_that_is_silent_leaves_the_connection_open_until_it_is_idle_for_too_long() -> None:
    async def story(lab: Lab) -> None:
        lab.inject("dns.silence")
        loop, reader = asyncio.get_running_loop(), await lab.connect()
        await asyncio.sleep(5)
        asked = loop.time()
        reader.stream.write(query())
        assert await end(reader) is NetReason.RESET
        assert loop.time() - asked == pytest.approx(IDLE_LIMIT_S, abs=0.01)
        assert lab.ended() == [dns_tcp.TcpEnd.IDLE]

    play(story)


def test_a_query_that_is_announced_as_too_long_ends_the_connection() -> None:
    async def story(lab: Lab) -> None:
        reader = await lab.connect()
        reader.stream.write((QUERY_MAX_BYTES + 1).to_bytes(2, "big"))
        assert await end(reader) is NetReason.RESET
        assert lab.ended() == [dns_tcp.TcpEnd.TOO_LONG]

    play(story)


def test_a_connection_may_not_ask_for_ever() -> None:
    async def story(lab: Lab) -> None:
        reader = await lab.connect()
        for number in range(QUERIES_MAX):
            reader.stream.write(query(number))
            await replies(reader, 1)
        reader.stream.write(query())
        assert await end(reader) is NetReason.RESET
        assert lab.ended() == [dns_tcp.TcpEnd.TOO_MUCH]

    play(story)


def test_who_does_not_read_is_left() -> None:
    async def story(lab: Lab) -> None:
        lab.server._zone = {MANY.name: tuple(f"10.{n // 250}.1.{n % 250}" for n in range(3900))}
        reader = await lab.connect()
        reader.stream.pause_reading()
        for number in range(20):
            reader.stream.write(query(number, MANY))
            await asyncio.sleep(0.01)
        assert lab.ended() == [dns_tcp.TcpEnd.UNREAD]

    play(story)


def test_connections_have_a_limit_and_a_place_that_is_left_is_free_again() -> None:
    async def story(lab: Lab) -> None:
        readers = [await lab.connect() for _ in range(CONNECTIONS_MAX)]
        refused = await lab.connect()
        assert await end(refused) is NetReason.RESET
        assert lab.ended() == [dns_tcp.TcpEnd.TOO_MANY]
        readers.pop().stream.close()
        await asyncio.sleep(0.01)
        assert lab.server._listener.connections == CONNECTIONS_MAX - 1
        served = await lab.connect()
        served.stream.write(query())
        assert (await replies(served, 1))[0].addresses == ("10.0.0.2",)

    play(story)


def test_garbage_is_answered_with_silence() -> None:
    async def story(lab: Lab) -> None:
        reader = await lab.connect()
        reader.stream.write(with_length(b"") + with_length(b"garbage") + query(9))
        (reply,) = await replies(reader, 1)
        assert reply.query_id == 9

    play(story)


def test_a_server_that_is_stopped_ends_its_connections_and_can_be_started_again() -> None:
    async def story(lab: Lab) -> None:
        reader = await lab.connect()
        await lab.server.stop()
        assert await end(reader) is NetReason.RESET
        with pytest.raises(NetError, match="refused"):
            await lab.connect()
        assert lab.ended() == []
        await lab.server.start(lab.net.host_at(SERVER.host))  # type: ignore[arg-type]
        again = await lab.connect()
        again.stream.write(query())
        assert len(await replies(again, 1)) == 1

    play(story)


def test_a_port_that_is_taken_leaves_nothing_behind() -> None:
    async def story(lab: Lab) -> None:
        host = lab.net.host("other", "10.0.0.54")
        held = await host.listen(53, lambda stream: stream.abort())
        other = DnsServer(label="google", zone=ZONE, rng=Random(1), utc=lab.server.utc, now=lab.server.now)
        with pytest.raises(NetError, match="TCP port 53"):
            await other.start(host)
        held.close()
        await other.start(host)
        await other.stop()

    play(story)


def test_a_forger_without_the_server_s_port_is_heard_from_another_and_before_it() -> None:
    async def story(lab: Lab) -> None:
        lab.inject("dns.spoofed", by="port", answers=2, address="6.6.6.6")
        socket = await lab.host.udp()
        socket.send(encode_query(Query(7, HUB)), SERVER)
        heard = [await socket.receive() for _ in range(3)]
        assert [decode_reply(data).addresses for data, _ in heard] == [("6.6.6.6",), ("6.6.6.6",), ("10.0.0.2",)]
        assert {decode_reply(data).query_id for data, _ in heard} == {7}
        assert [sender.host for _, sender in heard] == [SERVER.host] * 3
        assert [sender.port == SERVER.port for _, sender in heard] == [False, False, True]

    play(story)
