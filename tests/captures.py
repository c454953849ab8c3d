"""Reads capture files, for tests: what is in them, and what tshark makes of it."""

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emulator.wire.frame import UDP_BYTES, Arp, ArpOperation, Ethernet, EtherType, Ipv4, Protocol, Tcp, TcpFlag
from emulator.wire.pcapng import Direction
from tests.requirements import program

SECTION, INTERFACE, STATISTICS, PACKET, SECRETS = 0x0A0D0D0A, 1, 5, 6, 10
Options = dict[int, bytes]


@dataclass(frozen=True)
class Packet:
    """One packet of a file."""

    interface: int
    time_ns: int
    frame: bytes
    direction: Direction
    comment: str

    @property
    def is_tcp(self) -> bool:
        """It carries a TCP segment."""
        return Ethernet.decode(self.frame).type == EtherType.IPV4 and self.ip.protocol == Protocol.TCP

    @property
    def ip(self) -> Ipv4:
        """What it carries, if that is IP."""
        return Ipv4.decode(Ethernet.decode(self.frame).payload)

    @property
    def tcp(self) -> Tcp:
        """What it carries, if that is TCP; its checksum is right."""
        return Tcp.decode(self.ip.payload, self.ip.source, self.ip.destination)

    def __str__(self) -> str:
        """As one would read it out: ``> SYN`` or ``< udp 12``, outbound and inbound."""
        return f"{'>' if self.direction is Direction.OUTBOUND else '<'} {self._what()}"

    def _what(self) -> str:
        ethernet = Ethernet.decode(self.frame)
        if ethernet.type == EtherType.ARP:
            arp = Arp.decode(ethernet.payload)
            return f"who has {arp.target}" if arp.operation == ArpOperation.REQUEST else f"{arp.sender} is here"
        if self.ip.protocol == Protocol.UDP:
            if self.ip.is_fragment:
                return f"fragment at {self.ip.offset_bytes}"
            return f"udp {len(self.ip.payload) - UDP_BYTES}"
        if not self.is_tcp:
            return f"protocol {self.ip.protocol}"
        flags = "+".join(flag.name or "" for flag in TcpFlag if flag in self.tcp.flags and flag is not TcpFlag.PSH)
        return f"{flags} {len(self.tcp.payload)}" if self.tcp.payload else flags


@dataclass
class CaptureRead:
    """A whole file."""

    interfaces: list[str] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    secrets: list[tuple[int, bytes]] = field(default_factory=list)
    """Each with the number of packets before it."""
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Received and dropped, per interface."""

    @property
    def told(self) -> list[str]:
        """Every packet in words."""
        return [str(packet) for packet in self.packets]


def read_capture(data: bytes) -> CaptureRead:
    """Take a file apart. Every length in it is checked."""
    read = CaptureRead()
    for kind, body in blocks(data):
        match kind:
            case 1:
                read.interfaces.append(options(body[8:])[2].decode())
            case 6:
                read.packets.append(_packet(body))
            case 10:
                length = int.from_bytes(body[4:8], "little")
                read.secrets.append((len(read.packets), body[8 : 8 + length]))
            case 5:
                found = options(body[12:])
                read.counts.append((int.from_bytes(found[4], "little"), int.from_bytes(found[5], "little")))
    return read


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of every block."""
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from("<II", data, position)
        assert length % 4 == 0 and length >= 12
        assert struct.unpack_from("<I", data, position + length - 4) == (length,)
        yield kind, data[position + 8 : position + length - 4]
        position += length
    assert position == len(data)


def options(data: bytes) -> Options:
    """Code to value."""
    found: Options = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            assert data == bytes(4)
            break
        found[code] = data[4 : 4 + length]
        data = data[4 + length + -length % 4 :]
    return found


def _packet(body: bytes) -> Packet:
    interface, high, low, kept, original = struct.unpack_from("<IIIII", body)
    assert kept == original
    found = options(body[20 + kept + -kept % 4 :])
    direction = Direction(int.from_bytes(found[2], "little"))
    return Packet(interface, high << 32 | low, body[20 : 20 + kept], direction, found.get(1, b"").decode())


CHECKED = ("ip", "udp", "tcp")
FIELDS = (
    "frame.protocols",
    *(f"{name}.checksum.status" for name in CHECKED),
    "tcp.analysis.flags",
    "tcp.analysis.retransmission",
    "ip.dst",
    "tcp.srcport",
    "tcp.flags.syn",
    "tcp.len",
    "mqtt.clientid",
    "http.response.code",
    "dhcp.option.dhcp",
)
BAD, RELEASE = "0", "7"
"""A checksum that is wrong, and the DHCP message."""


@dataclass(frozen=True)
class Dissected:
    """What tshark makes of a file, with nothing but the file: one row of `FIELDS` for each packet."""

    rows: list[dict[str, str]]

    @property
    def protocols(self) -> set[str]:
        """All that were found in it."""
        return {name for row in self.rows for name in row["frame.protocols"].split(":")}

    @property
    def malformed(self) -> list[dict[str, str]]:
        """Packets that are no valid ones of their protocol."""
        return [row for row in self.rows if "_ws.malformed" in row["frame.protocols"]]

    @property
    def wrong(self) -> list[dict[str, str]]:
        """Packets with any fault: malformed, a wrong checksum, a TCP that has lost or repeats something."""
        checked = [row for row in self.rows if BAD in (row[f"{name}.checksum.status"] for name in CHECKED)]
        return [*self.malformed, *checked, *(row for row in self.rows if row["tcp.analysis.flags"])]

    def where(self, protocol: str, **fields: str) -> list[dict[str, str]]:
        """The packets of a protocol. Names of fields have ``_`` for a dot."""
        wanted = {name.replace("_", "."): value for name, value in fields.items()}
        return [
            row for row in self.rows if protocol in row["frame.protocols"].split(":") and wanted.items() <= row.items()
        ]


def dissected(file: Path) -> Dissected:
    """Have tshark look at a file."""
    fields = [word for name in FIELDS for word in ("-e", name)]
    checks = [word for name in CHECKED for word in ("-o", f"{name}.check_checksum:TRUE")]
    command = [program("tshark"), "-n", "-r", str(file), *checks, "-T", "fields", *fields]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return Dissected([dict(zip(FIELDS, line.split("\t"), strict=True)) for line in result.stdout.splitlines()])
