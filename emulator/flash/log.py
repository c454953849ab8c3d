"""Values by key in a log over some sectors of a chip: nothing is overwritten, so a power cut spoils nothing.

A `put` programs the new value behind everything else, and then marks the old one as dead. Sectors in which everything
is dead are erased. When room gets short, what counts in the emptiest sector is copied on and that one is erased too; so
is the least worn one when it lags behind the others.
"""

from collections.abc import Iterable, Iterator

from emulator.flash.api import FlashError, FlashReason
from emulator.flash.device import FlashDevice
from emulator.flash.mounting import find
from emulator.flash.records import (
    Kind,
    Record,
    RecordError,
    decode_record,
    encode_record,
    overhead_bytes,
)
from emulator.flash.sectors import RESERVE_SECTORS, Sectors


class Log:
    """The values. FlashError of any method that writes: there is no room; what was there is there still."""

    __slots__ = ("_graves", "_index", "_sequence", "_stuck", "reserved", "sectors")

    def __init__(self, device: FlashDevice, count: int) -> None:
        """Use the first `count` sectors of a chip, and find out what they hold."""
        self.sectors = Sectors(device, count)
        self.reserved = 0
        """Bytes of the room that something else takes."""
        self.mount()

    def mount(self) -> None:
        """Read the whole log, and mark as dead what a power cut has left undone."""
        found = find(self.sectors.device, self.sectors.count)
        self.sectors.take_stock(found.sectors)
        self._index = found.values
        self._graves = found.graves
        self._sequence = found.sequence
        self._stuck: frozenset[str] = frozenset()
        """Keys with records that should be dead, in sectors that do not take the mark."""
        for addresses in (*found.values.values(), *found.graves.values()):
            self.sectors.count_in(addresses)
        self._drop_leftovers(found.leftovers)

    @property
    def room(self) -> int:
        """Bytes that all values together may take, with `overhead_bytes` for every part."""
        sectors = self.sectors.count - len(self.sectors.bad) - RESERVE_SECTORS - 1
        return max(sectors * self.sectors.filled - self.reserved, 0)

    def __iter__(self) -> Iterator[str]:
        """Every key, in no order."""
        return iter(self._index)

    def get(self, key: str) -> bytes | None:
        """The value; None: there is none, or it is damaged."""
        addresses = self._index.get(key)
        if addresses is None:
            return None
        try:
            return b"".join([self._record(address).data for address in addresses])
        except RecordError:
            return None

    def put(self, key: str, value: bytes) -> None:
        """Store a value, whole or not at all."""
        size = self.sectors.record_max - overhead_bytes(key)
        parts = [value[at : at + size] for at in range(0, len(value), size)] or [b""]
        written = self._write(key, parts)
        before = (*self._index.get(key, ()), *self._graves.pop(key, ()))
        self._index[key] = written
        self._kill(key, before)

    def delete(self, key: str) -> None:
        """Forget a value, whole or not at all. It takes no room, but where a sector has gone bad."""
        if key not in self._index:
            return
        buried = key in self._stuck
        if buried:
            self._bury(key)
        self._kill(key, self._index.pop(key))
        if key in self._stuck and not buried:
            self._bury(key)

    def _bury(self, key: str) -> None:
        """Say that there is no value, because records that should be dead will be seen again."""
        self._graves[key] = self._append(Kind.GONE, key, [b""])

    def _write(self, key: str, parts: list[bytes]) -> tuple[int, ...]:
        """Program a value that does not count yet; where its parts are."""
        self._make_room(sum(overhead_bytes(key) + len(part) for part in parts))
        return self._append(Kind.VALUE, key, parts)

    def _append(self, kind: Kind, key: str, parts: list[bytes]) -> tuple[int, ...]:
        sequence, written = self._sequence, list[int]()
        self._sequence += 1
        try:
            for number, part in enumerate(parts):
                record = Record(kind, key, sequence, number, len(parts), part)
                written.append(self.sectors.append(encode_record(record)))
        except FlashError:
            self._kill(key, written)
            raise
        self.sectors.device.flush()
        return tuple(written)

    def _kill(self, key: str, addresses: Iterable[int]) -> None:
        """Mark records as dead."""
        for address in addresses:
            if not self.sectors.kill(address):
                self._stuck |= {key}
        self.sectors.device.flush()

    def _drop_leftovers(self, leftovers: Iterable[tuple[str, int]]) -> None:
        for key, address in leftovers:
            self.sectors.count_in((address,))
            self._kill(key, (address,))
        for key in self._graves.keys() - self._stuck:
            self._kill(key, self._graves.pop(key))

    def _make_room(self, size: int) -> None:
        """Erase and copy until `size` bytes of records fit behind the rest."""
        sectors = self.sectors
        if sectors.live + size > self.room:
            raise self._no_room(size)
        if sectors.head_room() >= size:
            return
        sectors.reclaim()
        for number in (sectors.lagging(), sectors.sparse()):
            if number is not None:
                self._move(number)
        for _ in range(2 * sectors.count):
            if sectors.head_room() >= size or (sectors.free() - RESERVE_SECTORS) * sectors.filled >= size:
                return
            emptiest = sectors.emptiest()
            if emptiest is None:
                break
            self._move(emptiest)
        raise self._no_room(size)

    def _move(self, number: int) -> None:
        """Copy what counts in a sector to the end of the log, and erase it."""
        for names in (self._index, self._graves):
            for key, addresses in list(names.items()):
                for part, address in enumerate(addresses):
                    if address // self.sectors.device.sector_bytes == number:
                        self._copy(names, key, part, address)
        self.sectors.reclaim()

    def _copy(self, names: dict[str, tuple[int, ...]], key: str, part: int, address: int) -> None:
        try:
            record = self._record(address)
        except RecordError:  # a bit has flipped: the value is lost, and must not be in the way for ever
            self._kill(key, names.pop(key, ()))
            return
        copy = self.sectors.append(encode_record(record))
        self.sectors.device.flush()
        names[key] = (*names[key][:part], copy, *names[key][part + 1 :])
        self._kill(key, (address,))

    def _record(self, address: int) -> Record:
        device = self.sectors.device
        rest = device.sector_bytes - address % device.sector_bytes
        return decode_record(device.read(address, min(rest, self.sectors.record_max)))

    def _no_room(self, size: int) -> FlashError:
        without_bad = self.room + len(self.sectors.bad) * self.sectors.filled
        reason = FlashReason.FULL if self.sectors.live + size > without_bad else FlashReason.WORN
        return FlashError(reason, f"{size} bytes more; {max(self.room - self.sectors.live, 0)} fit")
