"""A capture in front of a host: what a wire at the charger would show is in the file, and nothing is changed."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import pytest

from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.local import Mode
from emulator.net.api import Address, Carrier, Interface
from emulator.net.captured import PORTS_OF_NOBODY
from emulator.net.firewall import Block
from emulator.net.link_faults import Lossy, Rate
from emulator.net.meter import DataMeter, Purpose, ports_of
from emulator.net.metered import MeteredHost
from emulator.net.params import LAN, LinkParams
from emulator.net.reader import Reader
from emulator.net.route import Lan
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimHost
from emulator.net.site import Site as Network
from emulator.profile import load_profile
from emulator.wire.frame import TcpFlag
from tests.captures import CaptureRead, read_capture
from tests.unit.net.captured_wire import AWAY, GATEWAY, OWN, SERVER, Wire
from tests.unit.net.shaped_site import DNS, HUB
from tests.unit.net.virtual_time import serve

Story = Callable[[Wire], Awaitable[None]]
Play = Callable[..., CaptureRead]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def play(story: Story, params: LinkParams | None = None) -> CaptureRead:
        path = tmp_path / "x.pcapng"

        async def tell() -> None:
            wire = Wire(path, params)
            try:
                await story(wire)
            finally:
                wire.file.close()

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(tell())
        return read_capture(path.read_bytes())

    return play


ARP = ["> who has 10.20.0.1", "< 10.20.0.1 is here"]
OPENED = ["> SYN", "< SYN+ACK", "> ACK"]


async def closed(reader: Reader) -> None:
    assert await reader.read(1) == b""


def test_a_question_and_its_answer_have_true_addresses_and_ports(play: Play) -> None:
    async def story(wire: Wire) -> None:
        server, socket = await wire.server().udp(53), await wire.charger.udp()
        socket.send(b"question", Address(SERVER, 53))
        question, sender = await server.receive()
        server.send(question + b"!", sender)
        await socket.receive()

    read = play(story)
    assert read.told == [f"> who has {SERVER}", f"< {SERVER} is here", "> udp 8", "< udp 9"]
    asked, answered = (packet.ip for packet in read.packets[2:])
    assert (asked.source, asked.destination) == (answered.destination, answered.source) == (OWN, SERVER)
    assert [packet.time_ns for packet in read.packets] == [0, 0, 0, 1_000_000]


def test_before_it_has_an_address_a_charger_speaks_to_all_and_is_answered_as_one_of_all(play: Play) -> None:
    async def story(wire: Wire) -> None:
        wire.charger.set_interface(None)
        router = await wire.server(GATEWAY).udp(67, broadcast=True)
        socket = await wire.charger.udp(68, broadcast=True)
        socket.send(b"DISCOVER", Address("255.255.255.255", 67))
        _, sender = await router.receive()
        router.send(b"OFFER", Address("255.255.255.255", 68, sender.link))
        await socket.receive()

    read = play(story)
    assert read.told == ["> udp 8", "< udp 5"]
    assert [(packet.ip.source, packet.ip.destination) for packet in read.packets] == [
        ("0.0.0.0", "255.255.255.255"),
        (GATEWAY, "255.255.255.255"),
    ]
    assert all(packet.frame[:6] == b"\xff" * 6 for packet in read.packets)


def test_what_is_lost_on_the_way_out_is_there_and_what_is_lost_on_the_way_in_is_not(play: Play) -> None:
    async def story(wire: Wire) -> None:
        server, socket = await wire.site.dns.udp(53), await wire.charger.udp()
        socket.send(b"heard", DNS)
        _, sender = await server.receive()
        undo = wire.site.firewall.inject(Block(protocol="udp"))
        socket.send(b"blocked", DNS)
        undo()
        wire.site.strike(Lossy(loss=1.0))
        server.send(b"lost", sender)
        await asyncio.sleep(1)

    assert play(story, LAN).told[-2:] == ["> udp 5", "> udp 7"]


def test_a_large_datagram_goes_in_fragments_that_make_it_whole(play: Play) -> None:
    async def story(wire: Wire) -> None:
        (await wire.charger.udp()).send(bytes(4000), Address(SERVER, 53))

    packets = play(story).packets[2:]
    assert [str(packet) for packet in packets] == [f"> fragment at {offset}" for offset in (0, 1480, 2960)]
    assert sum(len(packet.ip.payload) for packet in packets) == 8 + 4000
    assert len({packet.ip.id for packet in packets}) == 1 and max(len(p.frame) for p in packets) == 1514


def test_what_no_packet_can_be_is_counted_as_missing(play: Play) -> None:
    async def story(wire: Wire) -> None:
        (await wire.charger.udp()).send(bytes(65_530), Address(SERVER, 53))

    read = play(story)
    assert read.told == [f"> who has {SERVER}", f"< {SERVER} is here"]
    assert read.counts == [(3, 1)]


def test_a_neighbour_is_looked_for_once_and_again_with_a_new_address(play: Play) -> None:
    async def story(wire: Wire) -> None:
        socket = await wire.charger.udp()
        for to in (SERVER, SERVER, "8.8.8.8", "1.1.1.1"):
            socket.send(b"x", Address(to, 53))
        wire.charger.set_interface(Interface(OWN, 16, GATEWAY))
        socket.send(b"renewed", Address("8.8.8.8", 53))
        wire.charger.set_interface(Interface("10.20.16.8", 16, GATEWAY))
        socket.send(b"moved", Address("8.8.8.8", 53))

    looked_for = [told for told in play(story).told if "who has" in told]
    assert looked_for == [f"> who has {who}" for who in (SERVER, GATEWAY, GATEWAY)]


def test_over_lte_there_is_nobody_to_look_for(play: Play) -> None:
    async def story(wire: Wire) -> None:
        modem = _Modem(wire.net, "modem", "02:00:00:00:00:09", "operator", first_port=50_000)
        host = wire.around(modem)
        await host.link_up(Mode.LTE)
        host.set_interface(Interface("100.64.0.9", 22, "100.64.0.1"))
        (await host.udp()).send(b"x", Address("8.8.8.8", 53))

    assert play(story).told == ["> udp 1"]


class _Modem(SimHost):
    @property
    def carrier(self) -> Carrier | None:
        return Carrier(Mode.LTE)


def test_an_address_is_asked_for_before_it_is_taken(play: Play) -> None:
    async def story(wire: Wire) -> None:
        wire.server()
        assert await wire.charger.address_in_use(SERVER)
        assert not await wire.charger.address_in_use("10.20.0.77")

    read = play(story)
    assert read.told == [f"> who has {SERVER}", f"< {SERVER} is here", "> who has 10.20.0.77"]
    assert read.packets[0].frame[28:32] == bytes(4), "a probe has no sender (RFC 5227)"


def test_a_connection_from_its_begin_to_its_end(play: Play) -> None:
    async def story(wire: Wire) -> None:
        ours, theirs = await wire.connected()
        ours.stream.write(b"question")
        assert await theirs.read(100) == b"question"
        theirs.stream.write(b"answer")
        assert await ours.read(100) == b"answer"
        ours.stream.close()
        await closed(theirs)
        await asyncio.sleep(1)

    read = play(story)
    end = ["> FIN+ACK", "< ACK", "< FIN+ACK", "> ACK"]
    assert read.told == [*ARP, *OPENED, "> ACK 8", "< ACK 6", *end]
    assert [packet.time_ns // 1000 for packet in read.packets[2:7]] == [0, 1000, 1000, 1000, 2000]


def test_the_port_of_a_connection_is_the_one_that_the_server_sees(play: Play) -> None:
    ports: list[int] = []

    async def story(wire: Wire) -> None:
        ours, theirs = await wire.connected()
        ports.extend((ours.stream.local.port, theirs.stream.peer.port))

    read = play(story)
    assert {read.packets[2].tcp.source_port, *ports} == {ports[0]}


def test_a_peer_that_ends_first(play: Play) -> None:
    async def story(wire: Wire) -> None:
        ours, theirs = await wire.connected()
        theirs.stream.close()
        await closed(ours)

    assert play(story).told[5:] == ["< FIN+ACK", "> ACK", "> FIN+ACK", "< ACK"]


@pytest.mark.parametrize("ours", [True, False])
def test_a_connection_that_is_broken_off_ends_with_one_reset(play: Play, ours: bool) -> None:
    async def story(wire: Wire) -> None:
        mine, theirs = await wire.connected()
        (mine if ours else theirs).stream.abort()
        await asyncio.sleep(1)

    assert play(story).told[5:] == ["> RST+ACK" if ours else "< RST+ACK"]


def test_a_link_or_an_address_that_goes_takes_its_connections_without_a_word(play: Play) -> None:
    async def story(wire: Wire) -> None:
        for end in (wire.charger.link_down, lambda: wire.charger.set_interface(None)):
            await wire.charger.link_up()
            wire.charger.set_interface(Interface(OWN, 16, GATEWAY))
            ours = Reader(await wire.charger.connect(AWAY, timeout_s=1))
            end()
            with pytest.raises(NetError):
                await ours.read(1)
            ours.stream.write(b"too late")
            with pytest.raises(NetError):
                await wire.charger.connect(AWAY, timeout_s=1)

    async def served(wire: Wire) -> None:
        await wire.server(AWAY.host).listen(AWAY.port, serve)
        await story(wire)

    assert play(served).told == [*ARP, *OPENED] * 2


def test_a_refused_connection_is_a_syn_and_a_reset(play: Play) -> None:
    async def story(wire: Wire) -> None:
        wire.server(AWAY.host)
        with pytest.raises(NetError) as caught:
            await wire.charger.connect(AWAY, timeout_s=1)
        assert caught.value.reason is NetReason.REFUSED

    read = play(story)
    assert read.told == [*ARP, "> SYN", "< RST+ACK"]
    assert read.packets[2].tcp.source_port in PORTS_OF_NOBODY
    assert read.packets[3].tcp.acknowledgment == read.packets[2].tcp.sequence + 1


def test_a_syn_that_nobody_answers_is_sent_again_after_one_second_two_and_four(play: Play) -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(NetError):
            await wire.charger.connect(AWAY, timeout_s=10)

    read = play(story)
    assert read.told == [*ARP, *["> SYN"] * 4]
    assert [packet.time_ns // 10**9 for packet in read.packets[2:]] == [0, 1, 3, 7]
    assert len({packet.tcp for packet in read.packets[2:]}) == 1


def test_the_syns_of_an_attempt_that_is_given_up_are_there(play: Play) -> None:
    async def story(wire: Wire) -> None:
        attempt = asyncio.ensure_future(wire.charger.connect(AWAY, timeout_s=10))
        await asyncio.sleep(2)
        attempt.cancel()
        await asyncio.wait([attempt])

    assert play(story).told == [*ARP, *["> SYN"] * 2]


def test_other_packets_wait_for_a_syn_until_its_port_is_known(play: Play) -> None:
    async def story(wire: Wire) -> None:
        attempt = asyncio.ensure_future(wire.charger.connect(AWAY, timeout_s=1.5))
        await asyncio.sleep(0.5)
        (await wire.charger.udp()).send(b"x", Address("8.8.8.8", 53))
        assert wire.seen.told == ARP
        await asyncio.wait([attempt])
        assert len(wire.seen.packets) == 5
        attempt.exception()

    assert play(story).told == [*ARP, "> SYN", "> udp 1", "> SYN"]


def test_a_packet_that_a_firewall_or_the_link_takes_is_sent_again(play: Play) -> None:
    async def story(wire: Wire) -> None:
        await wire.site.hub.listen(HUB.port, serve)
        undo = wire.site.firewall.inject(Block(protocol="tcp", for_s=2))
        stream = await wire.charger.connect(HUB, timeout_s=10)
        undo()
        wire.site.firewall.inject(Block(protocol="tcp", for_s=0.5))
        stream.write(b"telemetry")
        await asyncio.sleep(1)

    read = play(story, LAN)
    again = ["> ACK 9"] * 3
    assert read.told[2:] == ["> SYN"] * 3 + ["< SYN+ACK", "> ACK", *again, "< ACK"]
    sent = [packet for packet in read.packets if str(packet) == "> ACK 9"]
    assert [round((packet.time_ns - sent[0].time_ns) / 1e9, 3) for packet in sent] == [0.0, 0.2, 0.6]
    assert len({packet.tcp for packet in sent}) == 1
    assert read.packets[-1].tcp.acknowledgment == sent[0].tcp.sequence + 9


def test_on_a_slow_link_acknowledgments_come_when_the_bytes_have_arrived(play: Play) -> None:
    async def story(wire: Wire) -> None:
        await wire.site.hub.listen(HUB.port, serve)
        stream = await wire.charger.connect(HUB, timeout_s=10)
        wire.site.strike(Rate(rate_bps=15_000))  # 0.8 s for a full packet
        stream.write(bytes(2 * 1460))
        await asyncio.sleep(3)

    read = play(story, LinkParams(delay_s=0.1))
    assert read.told[5:] == ["> ACK 1460"] * 2 + ["< ACK"] * 2
    after_s = [(packet.time_ns - read.packets[5].time_ns) / 1e9 for packet in read.packets[7:]]
    assert after_s == pytest.approx([0.8 + 0.1 + 0.1 + 0.04, 1.6 + 0.1 + 0.1 + 0.04], abs=0.001)


def test_where_nobody_takes_what_is_sent_only_the_question_for_the_neighbour_is_seen(play: Play) -> None:
    async def story(wire: Wire) -> None:
        lan = Lan(IPv4Network("10.0.0.0/16"), "10.0.0.1")
        network = Network(Random(1), wire.loop.time, {}, lan=lan)
        host = wire.around(ShapedHost(wire.net.host("other"), site=network, link=wire.site.link))
        for gateway in ("10.0.0.9", None):
            host.set_interface(Interface("10.0.16.2", 16, gateway))
            (await host.udp()).send(b"x", Address("8.8.8.8", 53))
            with pytest.raises(NetError):
                await host.connect(AWAY, timeout_s=10)

    assert play(story, LAN).told == ["> who has 10.0.0.9"] * 2, "and without a gateway nothing at all"


def test_bytes_are_the_same_as_the_meter_counts_but_for_the_timestamps_that_it_assumes(play: Play) -> None:
    usage: list[int] = []

    async def story(wire: Wire) -> None:
        meter = DataMeter()
        host = MeteredHost(wire.charger, meter, ports_of(load_profile().network))
        await wire.server(AWAY.host).listen(AWAY.port, wire.accepted.append)
        ours = Reader(await host.connect(AWAY, timeout_s=1))
        theirs = Reader(wire.accepted[0])
        ours.stream.write(bytes(3000))
        await theirs.read(5000)
        await asyncio.sleep(0.01)
        theirs.stream.write(bytes(11_000))
        await ours.read(20_000)
        await asyncio.sleep(1)
        ours.stream.close()
        await closed(theirs)
        await asyncio.sleep(1)
        usage.append(sum(meter.totals()))

    packets = [packet for packet in play(story).packets if str(packet)[2:5] not in ("who", "10.")]
    shown = sum(len(packet.frame) - 14 for packet in packets)
    syns = sum(bool(packet.tcp.flags & TcpFlag.SYN) for packet in packets)
    assert shown + 8 * syns + 12 * (len(packets) - syns) == usage[0]


def test_a_meter_outside_still_hears_of_what_is_sent_again(play: Play) -> None:
    async def story(wire: Wire) -> None:
        meter = DataMeter()
        host = MeteredHost(wire.charger, meter, ports_of(load_profile().network))
        await wire.site.hub.listen(HUB.port, serve)
        wire.site.firewall.inject(Block(protocol="tcp", for_s=2))
        await host.connect(HUB, timeout_s=10)
        assert meter.usage().up[Purpose.RESENT] == 120

    play(story, LAN)
