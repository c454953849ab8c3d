"""The bytes of the log: a header at the start of each sector, then records, each programmed in one write.

A value is one record or several parts, which share a sequence number; it counts when all parts are there. The first
byte of a record is not covered by its checksum: clearing it marks the record as dead, without an erase. All numbers are
little-endian.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from emulator.errors import WireError

SECTOR = struct.Struct("<4sII")
"""Magic, how often the sector was erased, CRC-32 of both."""

MAGIC = b"ZFL2"
RECORD = struct.Struct("<BBBHHHIQ")
"""0xFF while it lives, kind, bytes of the key, bytes of data, part (from 0), parts, CRC-32 of the rest, sequence."""

ALIVE, DEAD = 0xFF, 0x00
KEY_MAX_BYTES = 255
COUNTED_MAX = 0xFFFFFFFF
_CRC = slice(9, 13)


class Kind(IntEnum):
    """What a record says of its key."""

    VALUE = 1
    GONE = 2
    """There is none, whatever older records say: for keys with records in sectors that take no more writes."""


class RecordError(WireError):
    """Bytes that are no record: blank, cut short, or damaged."""


@dataclass(frozen=True, slots=True)
class Record:
    """One part of a value, as it lies in a sector."""

    kind: Kind
    key: str
    sequence: int
    part: int
    parts: int
    data: bytes
    alive: bool = True

    @property
    def size(self) -> int:
        """Bytes in the sector."""
        return overhead_bytes(self.key) + len(self.data)


def overhead_bytes(key: str) -> int:
    """What a record takes beside its data. ValueError: the key is too long."""
    size = len(key.encode())
    if size > KEY_MAX_BYTES:
        raise ValueError(f"a key of {size} bytes; {KEY_MAX_BYTES} fit")
    return RECORD.size + size


def encode_sector(erases: int) -> bytes:
    """The header of a sector that was erased so often."""
    counted = MAGIC + min(erases, COUNTED_MAX).to_bytes(4, "little")
    return counted + zlib.crc32(counted).to_bytes(4, "little")


def decode_sector(data: bytes) -> int:
    """How often the sector was erased. RecordError: this is no header."""
    magic, erases, crc = SECTOR.unpack(data)
    if magic != MAGIC or crc != zlib.crc32(data[:8]):
        raise RecordError("no header of a sector")
    return int(erases)


def encode_record(record: Record) -> bytes:
    """The bytes of a record that lives."""
    key = record.key.encode()
    fields = (record.kind, len(key), len(record.data), record.part, record.parts)
    without = RECORD.pack(ALIVE, *fields, 0, record.sequence) + key + record.data
    return without[: _CRC.start] + _crc(without) + without[_CRC.stop :]


def record_bytes(header: bytes, at: int = 0) -> int:
    """How many bytes the record takes whose first `RECORD.size` bytes lie at `at`; nonsense if there is none."""
    _, _, key_bytes, data_bytes, *_ = RECORD.unpack_from(header, at)
    return int(RECORD.size + key_bytes + data_bytes)


def decode_record(data: bytes, at: int = 0) -> Record:
    """The record that begins at `at`. RecordError: there is none, or a damaged one."""
    if len(data) < at + RECORD.size:
        raise RecordError("cut short")
    mark, kind, key_bytes, data_bytes, part, parts, _, sequence = RECORD.unpack_from(data, at)
    whole = data[at : at + RECORD.size + key_bytes + data_bytes]
    if len(whole) < RECORD.size + key_bytes + data_bytes or whole[_CRC] != _crc(whole):
        raise RecordError("damaged")
    end_of_key = RECORD.size + key_bytes
    try:
        key = whole[RECORD.size : end_of_key].decode()
        return Record(Kind(kind), key, sequence, part, parts, whole[end_of_key:], alive=mark == ALIVE)
    except ValueError as error:
        raise RecordError(str(error)) from None


def _crc(record: bytes) -> bytes:
    return zlib.crc32(record[_CRC.stop :], zlib.crc32(record[1 : _CRC.start])).to_bytes(4, "little")
