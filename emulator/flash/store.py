"""The charger's whole flash on one chip: a log for the values, and a partition for each firmware image."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulator.flash.api import FlashError, FlashReason
from emulator.flash.device import SECTOR_BYTES, FileDevice, FlashDevice, MemoryDevice, SectorError, by_sector
from emulator.flash.log import Log
from emulator.flash.pool import SectorPool

PARTITIONS = ("firmware.a", "firmware.b", "firmware.factory")
LOG_SECTORS = 256  # invented; with 4 KiB each about four times what a charger ever keeps at once
SLOT_BYTES = 67_108_864  # as in the profile
_SIZE_PREFIX = "\0"
"""Where the log keeps the size of a blob, before its name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which sectors hold what: the log comes first, then the partitions, of equal size, in order."""

    sector_bytes: int = SECTOR_BYTES
    log_sectors: int = LOG_SECTORS
    slot_bytes: int = SLOT_BYTES
    partitions: tuple[str, ...] = PARTITIONS

    @property
    def sectors(self) -> int:
        """Sectors of the whole chip."""
        return self.log_sectors + len(self.partitions) * self._slot_sectors

    def start(self, partition: str) -> int:
        """Address of a partition. KeyError: there is none of that name."""
        if partition not in self.partitions:
            raise KeyError(partition)
        first = self.log_sectors + self.partitions.index(partition) * self._slot_sectors
        return first * self.sector_bytes

    @property
    def _slot_sectors(self) -> int:
        return -(-self.slot_bytes // self.sector_bytes)


STANDARD = Layout()


class FlashStore:
    """Implements `api.Flash` on a chip."""

    __slots__ = ("_exchanged", "_log", "_sized", "layout")

    def __init__(self, device: FlashDevice, layout: Layout = STANDARD) -> None:
        """Take what is on the chip; a blank one is empty flash."""
        self.layout = layout
        self._exchanged = False
        self._log = Log(device, layout.log_sectors)
        self._sized: tuple[str, int] | None = None
        """The blob whose size was read or written last, and that size."""

    @property
    def device(self) -> FlashDevice:
        """The chip. It may be exchanged for another view of it, as faults do; `mount` comes next then."""
        return self._log.sectors.device

    @device.setter
    def device(self, device: FlashDevice) -> None:
        self._log.sectors.device = device
        self._sized = None
        self._exchanged = True

    @property
    def log(self) -> Log:
        """Where the values are: its room, and how worn its sectors are."""
        return self._log

    def mount(self) -> None:
        if self._exchanged:
            self._log.mount()
            self._exchanged = False

    def get(self, key: str) -> bytes | None:
        return self._log.get(key)

    def put(self, key: str, value: bytes) -> None:
        if key.startswith(_SIZE_PREFIX):
            raise ValueError(f"{key!r}: a key does not begin with NUL")
        self._log.put(key, value)

    def delete(self, key: str) -> None:
        self._log.delete(key)

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._log if key.startswith(prefix) and not key.startswith(_SIZE_PREFIX))

    def blob_size(self, name: str) -> int:
        self.layout.start(name)
        if self._sized is None or self._sized[0] != name:
            self._sized = name, int.from_bytes(self._log.get(_SIZE_PREFIX + name) or b"", "little")
        return self._sized[1]

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        there = max(min(size, self.blob_size(name) - offset), 0)
        return self.device.read(self.layout.start(name) + offset, there) if there else b""

    def blob_erase(self, name: str) -> None:
        self.layout.start(name)
        self._sized = None
        self._log.delete(_SIZE_PREFIX + name)

    def blob_write(self, name: str, offset: int, data: bytes) -> None:
        end, size = offset + len(data), self.blob_size(name)
        if end > self.layout.slot_bytes:
            raise FlashError(FlashReason.FULL, f"{name}: {end} bytes; {self.layout.slot_bytes} fit")
        for gap in range(size, offset, self.layout.sector_bytes):
            self._lay(name, gap, bytes(min(offset - gap, self.layout.sector_bytes)), size)
        self._lay(name, offset, data, size)
        self.device.flush()
        if end > size:
            self._log.put(_SIZE_PREFIX + name, end.to_bytes(8, "little"))
            self._sized = name, end

    def _lay(self, name: str, offset: int, data: bytes, size: int) -> None:
        """Program a piece of a blob of `size` bytes, sector by sector."""
        start, device = self.layout.start(name), self.device
        try:
            if device.is_blank(start + offset, len(data)):
                device.program_blank(start + offset, data)
                return
            for address, piece in by_sector(start + offset, data, device.sector_bytes):
                device.program_blank(*self._with_room(address, piece, start + size))
        except SectorError as error:
            raise FlashError(FlashReason.WORN, f"{name}: {error}") from None

    def _with_room(self, address: int, data: bytes, end: int) -> tuple[int, bytes]:
        """What to program where, so that the data is in its sector and what lies before the address `end` stays.

        The sector is erased if it is not blank there.
        """
        device = self.device
        if device.is_blank(address, len(data)):
            return address, data
        sector, within = divmod(address, device.sector_bytes)
        start, after = address - within, address + len(data)
        if len(data) < device.sector_bytes:
            behind = device.read(after, max(min(end, start + device.sector_bytes) - after, 0))
            data = device.read(start, within) + data + behind
        device.erase(sector)
        return start, data


class MemoryFlash(FlashStore):
    """Flash in memory. It outlives the charger's reboots as long as somebody holds it."""

    __slots__ = ("_chip",)

    def __init__(
        self,
        layout: Layout = STANDARD,
        *,
        shared: Mapping[int, bytes] | None = None,
        pool: SectorPool | None = None,
    ) -> None:
        """`shared`: what it has left production with (`MemoryDevice.image`), kept once for many chargers.

        `pool` keeps once what many are updated to.
        """
        self._chip = MemoryDevice(layout.sectors, sector_bytes=layout.sector_bytes, shared=shared, pool=pool)
        super().__init__(self._chip, layout)

    def image(self) -> dict[int, bytes]:
        """What the chip holds, for the `shared` of others. They begin a sector of their own, and copy none of it."""
        self.log.sectors.close()
        return self._chip.image()


@contextmanager
def file_flash(directory: Path, layout: Layout = STANDARD) -> Iterator[FlashStore]:
    """Flash in a directory, which survives the death of the process. UsageError as `FileDevice`."""
    with closing(FileDevice(directory, layout.sectors, sector_bytes=layout.sector_bytes)) as device:
        yield FlashStore(device, layout)
