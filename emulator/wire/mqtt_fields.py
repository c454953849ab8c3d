"""What the packets of every MQTT version are made of: frames, and the fields in them.

Section numbers are those of MQTT 3.1.1, chapter 1.5 and 2.2.3; MQTT 5 has kept these forms.
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from emulator.wire.mqtt_packets import PACKET_ID_MAX, MqttError

PacketT = TypeVar("PacketT")

REMAINING_LENGTH_MAX = 268_435_455
FIELD_BYTES_MAX = 65_535


class Frames(Generic[PacketT]):
    """Packets out of a byte stream. Holds at most one unfinished packet of `max_packet_bytes`, header included.

    `decoders` maps a packet's first byte to what makes a packet of (that byte, the bytes behind the remaining length);
    other first bytes are refused. `feed` is for callers who take everything at once; `put` and `take` for those who
    may stop between two packets.
    """

    __slots__ = ("_at", "_data", "_decoders", "_failure", "max_packet_bytes")

    def __init__(self, max_packet_bytes: int, decoders: Mapping[int, Callable[[int, bytes], PacketT]]) -> None:
        self.max_packet_bytes = max_packet_bytes
        self._decoders = decoders
        self._data: bytes | bytearray = b""
        self._at = 0
        self._failure: str | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes that have been put in and not yet taken out as packets."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> list[PacketT]:
        """The packets that `data` completes. MqttError on bad bytes, then and ever after."""
        self.put(data)
        packets = []
        while (packet := self.take()) is not None:
            packets.append(packet)
        return packets

    def put(self, data: bytes) -> None:
        """Add bytes from the stream."""
        if self._failure is not None:
            return
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if not isinstance(self._data, bytearray):  # so that many small chunks of a large packet cost linear time
            self._data = bytearray(self._data)
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def take(self) -> PacketT | None:
        """The next whole packet, None while there is none. MqttError on bad bytes, then and ever after."""
        if self._failure is not None:
            raise MqttError(self._failure)
        try:
            return self._next()
        except MqttError as failure:
            self._failure, self._data, self._at = str(failure), b"", 0
            raise

    def _next(self) -> PacketT | None:
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        decode = self._decoders.get(data[at])
        if decode is None:
            raise MqttError("unknown packet type or wrong reserved flags")
        header = read_length(data, at + 1)
        if header is None:
            return None
        length, start = header
        end = start + length
        if end - at > self.max_packet_bytes:
            raise MqttError(f"packet of {end - at} bytes, at most {self.max_packet_bytes} are taken")
        if len(data) < end:
            return None
        packet = decode(data[at], bytes(data[start:end]))
        if end == len(data):
            self._data, self._at = b"", 0
        else:
            self._at = end
        return packet


def read_length(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """The length and the offset behind it; None while it is cut short."""
    length = 0
    for index, digit in enumerate(data[at : at + 4]):
        length |= (digit & 0x7F) << (7 * index)
        if digit < 0x80:
            if digit == 0 and index:
                raise MqttError("remaining length takes more bytes than it needs")
            return length, at + index + 1
    if len(data) - at >= 4:
        raise MqttError("remaining length of more than four bytes")
    return None


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """A UTF-8 string and the offset behind it (section 1.5.3). MqttError: cut short, not UTF-8, or with a NUL."""
    raw, end = read_binary(body, at)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MqttError("text that is not UTF-8") from None
    if "\0" in text:
        raise MqttError("NUL in a text")
    return text, end


def read_binary(body: bytes, at: int) -> tuple[bytes, int]:
    """Bytes behind a two-byte length, and the offset behind them. MqttError when they are cut short."""
    start = at + 2
    end = start + int.from_bytes(body[at:start])
    if start > len(body) or end > len(body):
        raise MqttError("packet ends inside a field")
    return body[start:end], end


def read_id(body: bytes, at: int) -> int:
    """A packet id, 1 to 65535 (section 2.3.1). MqttError when it is 0 or cut short."""
    if len(body) < at + 2:
        raise MqttError("packet ends before its id")
    packet_id = body[at] << 8 | body[at + 1]
    if not packet_id:
        raise MqttError("packet id 0")
    return packet_id


def frame(first: int, *parts: bytes) -> bytes:
    """A packet: first byte, remaining length, then `parts`. MqttError when they are too long."""
    length = sum(map(len, parts))
    return b"".join((first.to_bytes(1), pack_length(length), *parts))


def pack_length(length: int) -> bytes:
    """A variable byte integer, in as few bytes as possible (section 2.2.3). MqttError when it takes more than four."""
    if length < 128:
        return length.to_bytes(1)
    if length > REMAINING_LENGTH_MAX:
        raise MqttError(f"packet of {length} bytes")
    digits = bytearray()
    while length > 127:
        digits.append(0x80 | length & 0x7F)
        length >>= 7
    digits.append(length)
    return bytes(digits)


def pack_text(text: str) -> bytes:
    """A UTF-8 string (section 1.5.3). MqttError when MQTT cannot carry it."""
    if "\0" in text:
        raise MqttError("NUL in a text")
    try:
        return pack_binary(text.encode())
    except UnicodeEncodeError:
        raise MqttError("text that UTF-8 cannot carry") from None


def pack_binary(raw: bytes) -> bytes:
    """Bytes behind their two-byte length. MqttError when there are more than 65535."""
    if len(raw) > FIELD_BYTES_MAX:
        raise MqttError(f"field of {len(raw)} bytes")
    return len(raw).to_bytes(2) + raw


def pack_id(packet_id: int) -> bytes:
    """A packet id. MqttError unless it is 1 to 65535."""
    if not 0 < packet_id <= PACKET_ID_MAX:
        raise MqttError(f"packet id {packet_id}")
    return packet_id.to_bytes(2)
