"""The sectors under the log: which one takes the next record, which are free, how worn each is, and which are bad."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from emulator.flash.api import FlashError, FlashReason
from emulator.flash.device import FlashDevice, SectorError
from emulator.flash.records import DEAD, RECORD, SECTOR, encode_sector, record_bytes

RESERVE_SECTORS = 2
"""Kept free for copying: one to copy into, and one in case that one goes bad."""

SLACK_SECTORS = 3
WEAR_SPREAD_MAX = 8
"""No good sector is erased so many times less often than another without being put to use."""


@dataclass(slots=True)
class _Sector:
    """What is known of a sector that is not blank."""

    erases: int
    used: int
    """Bytes from its start that take no more programs."""
    live: int = 0
    """Bytes of the records that count."""


class Sectors:
    """The first `count` sectors of a chip. `device` may be exchanged for another view of the same chip."""

    __slots__ = ("_bad", "_floor", "_head", "_table", "count", "device", "live")

    def __init__(self, device: FlashDevice, count: int) -> None:
        self.device = device
        self.count = count
        self.take_stock({})

    def take_stock(self, found: Mapping[int, tuple[int | None, int]]) -> None:
        """Start anew with what was found: by sector, how often it was erased (None: its header is lost) and `used`.

        What has no header was erased at least so often, or levelling would have put it to use.
        """
        known = [erases for erases, _ in found.values() if erases is not None]
        self._floor = max(max(known, default=0) - WEAR_SPREAD_MAX, 0)
        self._table = {
            number: _Sector(self._floor if erases is None else erases, used) for number, (erases, used) in found.items()
        }
        self._bad: frozenset[int] = frozenset()
        open_ones = (n for n, sector in self._table.items() if SECTOR.size < sector.used < self.device.sector_bytes)
        self._head = min(open_ones, key=lambda number: self._table[number].used, default=None)
        self.live = 0
        """Bytes of the records that count."""

    @property
    def capacity(self) -> int:
        """Bytes of records in a sector."""
        return self.device.sector_bytes - SECTOR.size

    @property
    def record_max(self) -> int:
        """Bytes of the longest record: a sector that cannot take the next one is at least three quarters full."""
        return self.capacity // 4

    @property
    def filled(self) -> int:
        """Bytes of records that surely fit into a sector."""
        return self.capacity - self.record_max

    @property
    def bad(self) -> frozenset[int]:
        """Sectors that have refused a write since `take_stock`."""
        return self._bad

    def erases(self, number: int) -> int:
        """How often a sector was erased."""
        sector = self._table.get(number)
        return self._floor if sector is None else sector.erases

    def size_at(self, address: int) -> int:
        """Length of the record at an address."""
        return record_bytes(self.device.read(address, RECORD.size))

    def count_in(self, addresses: Iterable[int]) -> None:
        """The records at these addresses count."""
        for address in addresses:
            self._count(address, self.size_at(address))

    def append(self, data: bytes) -> int:
        """Program a record behind the last one; where it is. FlashError: no sector takes it."""
        while True:
            while self.head_room() < len(data):
                self._open()
            assert self._head is not None  # noqa: S101 - it has room
            head = self._table[self._head]
            address = self._head * self.device.sector_bytes + head.used
            try:
                self.device.program(address, data)
            except SectorError:
                self._retire(self._head)
                continue
            head.used += len(data)
            self._count(address, len(data))
            return address

    def close(self) -> None:
        """Let nothing more into the sector in use."""
        if self._head is not None:
            self.device.program((self._head + 1) * self.device.sector_bytes - 1, bytes((DEAD,)))
            self._table[self._head].used = self.device.sector_bytes
            self._head = None

    def kill(self, address: int) -> bool:
        """Mark a record as dead. False: its sector does not take the mark, so the next mount will see it again."""
        self._count(address, -self.size_at(address))
        try:
            self.device.program(address, bytes((DEAD,)))
        except SectorError:
            self._retire(address // self.device.sector_bytes)
            return False
        return True

    def reclaim(self) -> None:
        """Erase every sector in which nothing counts."""
        for number, sector in list(self._table.items()):
            if number != self._head and number not in self._bad and sector.live == 0 and sector.used > SECTOR.size:
                self.erase(number)

    def erase(self, number: int) -> None:
        """Make a sector blank, but for its header. One that refuses is retired."""
        self._table[number] = _Sector(self.erases(number) + 1, self.device.sector_bytes)
        try:
            self.device.erase(number)
        except SectorError:
            self._retire(number)
        else:
            self._begin(number)

    def head_room(self) -> int:
        """Bytes that fit into the sector in use."""
        return 0 if self._head is None else self.device.sector_bytes - self._table[self._head].used

    def free(self) -> int:
        """How many sectors can be put to use before something has to be copied."""
        occupied = sum(self._is_occupied(number) and number not in self._bad for number in self._table)
        return self.count - len(self._bad) - occupied

    def sparse(self) -> int | None:
        """The sector whose records are best copied on, if there is more garbage than what counts, and `SLACK_SECTORS`.

        So a chip in memory stays small, and an erase is not put off until the room is needed.
        """
        movable = len(self._movable())
        return self.emptiest() if (movable - SLACK_SECTORS) * self.capacity > 2 * self.live else None

    def emptiest(self) -> int | None:
        """The sector whose records are best copied on; None: that gains nothing anywhere."""
        sectors = {number: self._table[number] for number in self._movable()}
        best = min(sectors, key=lambda number: (sectors[number].live, sectors[number].erases), default=None)
        return best if best is not None and sectors[best].live < self.filled else None

    def lagging(self) -> int | None:
        """The least worn sector, if it is not put to use for `WEAR_SPREAD_MAX` erases of another."""
        coldest = min(self._movable(), key=self.erases, default=None)
        if coldest is None:
            return None
        most = max(self._table[number].erases for number in self._table if number not in self._bad)
        return coldest if most - self.erases(coldest) >= WEAR_SPREAD_MAX else None

    def _movable(self) -> list[int]:
        return [n for n, sector in self._table.items() if sector.live and n != self._head and n not in self._bad]

    def _is_occupied(self, number: int) -> bool:
        return number == self._head or self._table[number].live > 0

    def _open(self) -> None:
        """Go on in the free sector that is the least worn. FlashError: there is none."""
        number = self._least_worn()
        if number is None:
            raise FlashError(FlashReason.WORN if self._bad else FlashReason.FULL, "no sector is free")
        sector = self._table.get(number)
        if sector is None:
            self._begin(number)
        elif sector.used > SECTOR.size:
            self.erase(number)
        if number not in self._bad:
            self._head = number

    def _least_worn(self) -> int | None:
        """The free sector to use next; None: there is none."""
        if not self._floor:  # as on most chips: none is worn less than one that was never used
            unused = next((number for number in range(self.count) if number not in self._table), None)
            if unused is not None:
                return unused
        free = (
            number
            for number in range(self.count)
            if number not in self._bad and not (number in self._table and self._is_occupied(number))
        )
        return min(free, key=self.erases, default=None)

    def _begin(self, number: int) -> None:
        """Program the header of a blank sector."""
        erases = self.erases(number)
        self._table[number] = _Sector(erases, self.device.sector_bytes)
        try:
            self.device.program(number * self.device.sector_bytes, encode_sector(erases))
        except SectorError:
            self._retire(number)
        else:
            self._table[number].used = SECTOR.size

    def _retire(self, number: int) -> None:
        self._bad |= {number}
        self._table[number].used = self.device.sector_bytes
        if self._head == number:
            self._head = None

    def _count(self, address: int, size: int) -> None:
        self._table[address // self.device.sector_bytes].live += size
        self.live += size
