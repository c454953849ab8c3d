"""Frames around messages: our bytes are those of the Linux kernel, and garbage is an error of ours."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from emulator.wire.frame import (
    BROADCAST_LINK,
    NOBODY_LINK,
    Arp,
    ArpOperation,
    Ethernet,
    EtherType,
    FrameError,
    Ipv4,
    Protocol,
    Tcp,
    TcpFlag,
    Udp,
    checksum,
)

ONE, TWO = "02:00:00:00:00:01", "02:00:00:00:00:02"
CLIENT, SERVER = "192.0.2.1", "192.0.2.2"

BY_LINUX = {
    "who has": "ffffffffffff02000000000108060001080006040001020000000001c0000201000000000000c0000202",
    "is at": "02000000000102000000000208060001080006040002020000000002c0000202020000000001c0000201",
    "datagram": (
        "0200000000020200000000010800450000246041400040115684c0000201c00002029c400035001024947175657374696f6e"
    ),
    "SYN": (
        "02000000000202000000000108004500003cc08140004006f636c0000201c0000202"
        "9c4122b34133b79700000000a002faf070da0000020405b40402080a3a8465ea000000000103030a"
    ),
    "hello": (
        "020000000002020000000001080045000039c08340004006f637c0000201c0000202"
        "9c4122b34133b798f2bd92288018003fb4b900000101080a3a8465ea8c39909268656c6c6f"
    ),
}
"""What a kernel sent over a cable when a client asked who a server is, and spoke to it over UDP and TCP."""

links = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
addresses = st.ip_addresses(v=4).map(str)
ports = st.integers(0, 0xFFFF)
payloads = st.binary(max_size=200)
numbers = st.integers(0, 0xFFFF_FFFF)

ethernets = st.builds(Ethernet, links, links, ports, payloads)
arps = st.builds(Arp, st.sampled_from(ArpOperation), links, addresses, links, addresses)
packets = st.builds(
    Ipv4,
    addresses,
    addresses,
    st.integers(0, 255),
    payloads,
    id=ports,
    ttl=st.integers(0, 255),
    service=st.integers(0, 255),
    dont_fragment=st.booleans(),
    more_fragments=st.booleans(),
    offset_bytes=st.integers(0, 0x1FFF).map(lambda units: 8 * units),
)
datagrams = st.builds(Udp, ports, ports, payloads)
options = st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))
segments = st.builds(
    Tcp, ports, ports, numbers, numbers, st.integers(0, 255).map(TcpFlag), ports, options=options, payload=payloads
)


def by_linux(name: str) -> tuple[Ethernet, Ipv4]:
    """A frame of the kernel's, and the packet in it."""
    frame = Ethernet.decode(bytes.fromhex(BY_LINUX[name]))
    return frame, Ipv4.decode(frame.payload)


@pytest.mark.parametrize(
    ("name", "arp"),
    [
        ("who has", Arp(ArpOperation.REQUEST, ONE, CLIENT, NOBODY_LINK, SERVER)),
        ("is at", Arp(ArpOperation.REPLY, TWO, SERVER, ONE, CLIENT)),
    ],
)
def test_arp_is_as_the_kernel_writes_it(name: str, arp: Arp) -> None:
    frame = bytes.fromhex(BY_LINUX[name])
    opened = Ethernet.decode(frame)
    assert Arp.decode(opened.payload) == arp
    destination = BROADCAST_LINK if arp.operation == ArpOperation.REQUEST else ONE
    assert Ethernet(destination, arp.sender_link, EtherType.ARP, arp.encode()).encode() == frame


def test_udp_is_as_the_kernel_writes_it() -> None:
    frame, packet = by_linux("datagram")
    datagram = Udp.decode(packet.payload, packet.source, packet.destination)
    assert (datagram, packet.protocol) == (Udp(40000, 53, b"question"), Protocol.UDP)
    ours = Ipv4(CLIENT, SERVER, Protocol.UDP, datagram.encode(CLIENT, SERVER), id=0x6041, dont_fragment=True)
    assert Ethernet(TWO, ONE, EtherType.IPV4, ours.encode()).encode().hex() == BY_LINUX["datagram"]
    assert (packet, frame.source) == (ours, ONE)


@pytest.mark.parametrize(
    ("name", "flags", "payload"), [("SYN", TcpFlag.SYN, b""), ("hello", TcpFlag.PSH | TcpFlag.ACK, b"hello")]
)
def test_tcp_is_as_the_kernel_writes_it(name: str, flags: TcpFlag, payload: bytes) -> None:
    _, packet = by_linux(name)
    segment = Tcp.decode(packet.payload, packet.source, packet.destination)
    assert (segment.source_port, segment.destination_port) == (40001, 8883)
    assert (segment.flags, segment.payload) == (flags, payload)
    assert segment.encode(CLIENT, SERVER) == packet.payload


@given(ethernets)
def test_ethernet_comes_back(frame: Ethernet) -> None:
    assert Ethernet.decode(frame.encode()) == frame


@given(arps, st.binary(max_size=18))
def test_arp_comes_back_with_padding_too(arp: Arp, padding: bytes) -> None:
    assert Arp.decode(arp.encode() + padding) == arp


@given(packets, st.binary(max_size=40))
def test_ipv4_comes_back_with_padding_too(packet: Ipv4, padding: bytes) -> None:
    assert Ipv4.decode(packet.encode() + padding) == packet
    assert packet.is_fragment == (packet.more_fragments or packet.offset_bytes > 0)


@given(datagrams, addresses, addresses)
def test_udp_comes_back_between_the_same_addresses(datagram: Udp, source: str, destination: str) -> None:
    made = datagram.encode(source, destination)
    assert Udp.decode(made, source, destination) == datagram
    assert made[6:8] != b"\0\0", "that would mean that there is no checksum"


@given(segments, addresses, addresses)
def test_tcp_comes_back_between_the_same_addresses(segment: Tcp, source: str, destination: str) -> None:
    assert Tcp.decode(segment.encode(source, destination), source, destination) == segment


@given(datagrams, st.integers(0, 7), st.integers(0))
def test_one_bit_that_has_turned_is_noticed(datagram: Udp, bit: int, where: int) -> None:
    made = bytearray(datagram.encode(CLIENT, SERVER))
    places = [place for place in range(len(made)) if place not in (4, 5)]  # another length is another checksum
    made[places[where % len(places)]] ^= 1 << bit
    turned = bytes(made)
    assume(turned[6:8] != b"\0\0")  # that says that there is none
    with pytest.raises(FrameError):
        Udp.decode(turned, CLIENT, SERVER)


@pytest.mark.parametrize("kind", [Udp, Tcp])
def test_a_checksum_that_the_hardware_is_to_make_is_not_looked_at(kind: type[Udp | Tcp]) -> None:
    made = Udp(1, 2, b"x" * 20) if kind is Udp else Tcp(1, 2, 3, 4, TcpFlag.ACK)
    wrong = bytearray(made.encode(CLIENT, SERVER))
    wrong[6 if kind is Udp else 16] ^= 0xFF
    with pytest.raises(FrameError, match="checksum"):
        kind.decode(bytes(wrong), CLIENT, SERVER)
    assert kind.decode(bytes(wrong), CLIENT, SERVER, verify=False) == made


def test_a_datagram_without_a_checksum_is_taken() -> None:
    made = bytearray(Udp(68, 67, b"discover").encode(CLIENT, SERVER))
    made[6:8] = b"\0\0"
    assert Udp.decode(bytes(made), "10.0.0.1", SERVER).payload == b"discover"


@given(st.binary(max_size=80))
def test_garbage_gives_frame_errors_only(data: bytes) -> None:
    for opened in (
        Ethernet.decode,
        Arp.decode,
        Ipv4.decode,
        lambda garbage: Udp.decode(garbage, CLIENT, SERVER),
        lambda garbage: Tcp.decode(garbage, CLIENT, SERVER),
    ):
        try:
            opened(data)
        except FrameError:
            continue


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Ethernet("02:00", ONE, 0x0800, b"").encode(),
        lambda: Ethernet("zz:00:00:00:00:00", ONE, 0x0800, b"").encode(),
        lambda: Ethernet(TWO, ONE, 0x1_0000, b"").encode(),
        lambda: Arp(1, ONE, "192.0.2", TWO, SERVER).encode(),
        lambda: Ipv4(CLIENT, SERVER, 17, bytes(65_516)).encode(),
        lambda: Ipv4(CLIENT, SERVER, 17, b"", ttl=256).encode(),
        lambda: Ipv4(CLIENT, SERVER, 17, b"", offset_bytes=7).encode(),
        lambda: Udp(1, 65_536, b"").encode(CLIENT, SERVER),
        lambda: Udp(1, 2, bytes(65_528)).encode(CLIENT, SERVER),
        lambda: Tcp(1, 2, -1, 0, TcpFlag.ACK).encode(CLIENT, SERVER),
        lambda: Tcp(1, 2, 0, 0, TcpFlag.ACK, options=b"\1").encode(CLIENT, SERVER),
        lambda: Tcp(1, 2, 0, 0, TcpFlag.ACK, options=bytes(44)).encode(CLIENT, SERVER),
    ],
)
def test_what_does_not_fit_is_refused(wrong) -> None:
    with pytest.raises(FrameError):
        wrong()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xFFFF),
        (bytes(4), 0xFFFF),
        (b"\xff\xff", 0),
        (bytes.fromhex("0001f203f4f5f6f7"), 0x220D),
        (b"\x01", 0xFEFF),
    ],
)
def test_the_checksum_is_that_of_rfc_1071(data: bytes, expected: int) -> None:
    assert checksum(data) == expected


@given(st.binary(max_size=300))
def test_a_checksum_over_what_carries_it_is_zero(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    assert checksum(padded + checksum(padded).to_bytes(2, "big")) == 0
