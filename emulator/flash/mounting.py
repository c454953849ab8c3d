"""What a log holds, found by reading all of it: the newest whole value of each key, and what is left over.

A power cut leaves values of which parts are missing, records that were about to be marked as dead, and copies of
records whose sector was about to be erased. None of these counts.
"""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

from emulator.flash.device import FlashDevice
from emulator.flash.records import RECORD, SECTOR, Kind, Record, RecordError, decode_record, decode_sector, record_bytes


@dataclass(slots=True)
class Found:
    """What is on the chip. An address is that of a record; a value has one for each of its parts, in order."""

    sectors: dict[int, tuple[int | None, int]] = field(default_factory=dict)
    """By sector that is not blank: how often it was erased (None: nobody knows), and the bytes that are used up."""
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    graves: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Keys of which a record says that there is no value."""
    leftovers: list[tuple[str, int]] = field(default_factory=list)
    """Records that are not marked as dead and do not count."""
    sequence: int = 0
    """Higher than that of any record."""


def find(device: FlashDevice, count: int) -> Found:
    """Read the first `count` sectors of a chip."""
    found = Found()
    alive: dict[str, list[tuple[Record, int]]] = defaultdict(list)
    for number in device.programmed(count):
        start = number * device.sector_bytes
        erases, used, records = _understand(device.read(start, device.sector_bytes))
        found.sectors[number] = (erases, used)
        for record, at in records:
            found.sequence = max(found.sequence, record.sequence + 1)
            if record.alive:
                alive[record.key].append((record, start + at))
    for key, of_key in alive.items():
        _judge(found, key, of_key)
    return found


def _understand(image: bytes) -> tuple[int | None, int, list[tuple[Record, int]]]:
    """A sector: how often it was erased, how many of its bytes are used up, and its records, dead ones too.

    A damaged record is passed over, as long as it says how long it is.
    """
    try:
        erases = decode_sector(image[: SECTOR.size])
    except RecordError:
        return None, len(image), []
    records, at = [], SECTOR.size
    while at + RECORD.size <= len(image) and at + record_bytes(image, at) <= len(image):
        with suppress(RecordError):
            records.append((decode_record(image, at), at))
        at += record_bytes(image, at)
    return erases, len(image) if image[at:].strip(b"\xff") else at, records


def _judge(found: Found, key: str, records: list[tuple[Record, int]]) -> None:
    """Which of the records of a key count: those of the newest value that is whole, each part once."""
    values: dict[int, dict[int, tuple[Record, int]]] = defaultdict(dict)
    for record, address in records:
        values[record.sequence].setdefault(record.part, (record, address))
    counting: tuple[int, ...] = ()
    for sequence in sorted(values, reverse=True):
        parts = values[sequence]
        newest, _ = next(iter(parts.values()))
        if len(parts) == newest.parts:
            counting = tuple(parts[part][1] for part in range(newest.parts))
            (found.values if newest.kind is Kind.VALUE else found.graves)[key] = counting
            break
    found.leftovers += [(key, address) for _, address in records if address not in counting]
