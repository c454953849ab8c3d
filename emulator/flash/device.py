"""Flash as a chip: sectors that are erased as a whole, and programmed once until they are erased again.

Like NOR flash: an erased byte is 0xFF and programming can only clear bits. `program`, of one sector or of several that
are blank, and `erase` are the only places where anything is ever written, so every moment at which the power may fail
can be counted (`faulty.CutDevice`).
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from emulator.errors import EmulatorError, UsageError
from emulator.flash.pool import SectorPool

SECTOR_BYTES = 4096
"""What common NOR chips erase at once."""

FILE_NAME = "flash.bin"
_NOTHING: Mapping[int, bytes] = {}
_INVERTED = bytes(0xFF - value for value in range(256))


class SectorError(EmulatorError):
    """The chip says that a sector did not take a program or an erase: it is bad. What it holds can still be read."""

    def __init__(self, sector: int) -> None:
        super().__init__(f"sector {sector} is bad")
        self.sector = sector


class FlashDevice(Protocol):
    """A chip of `sectors` sectors of `sector_bytes` each; an address counts bytes from the first."""

    sector_bytes: int
    sectors: int

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes, over any number of sectors. The range must be on the chip."""

    def programmed(self, sectors: int) -> list[int]:
        """Those of the first so many sectors that are not blank, in order."""

    def is_blank(self, address: int, size: int) -> bool:
        """Whether all of these bytes are 0xFF, over any number of sectors. The range must be on the chip."""

    def program(self, address: int, data: bytes) -> None:
        """Clear those bits that are 0 in `data`. It must not reach over the end of a sector. SectorError."""

    def program_blank(self, address: int, data: bytes) -> None:
        """Program bytes that are blank (`is_blank`), over any number of sectors: one write for each, in order.

        SectorError: so it was up to this sector.
        """

    def erase(self, sector: int) -> None:
        """Set every byte of a sector to 0xFF. SectorError."""

    def flush(self) -> None:
        """Return when everything so far is on the chip. Until then, writes to different sectors land in any order."""


def by_sector(address: int, data: bytes, sector_bytes: int) -> Iterator[tuple[int, bytes]]:
    """What of the data goes into each sector, and where."""
    at = 0
    while at < len(data):
        piece = data[at : at + sector_bytes - (address + at) % sector_bytes]
        yield address + at, piece
        at += len(piece)


class MemoryDevice:
    """A chip in memory, which only costs what is programmed: a sector up to its last byte, a blank one nothing.

    `shared` is what many chips left production with, by sector (`image` of a chip): each copies what it changes. With
    `pool`, a sector that was programmed as a whole costs nothing where another chip of that pool holds the same.
    """

    __slots__ = ("_own", "_pool", "_shared", "sector_bytes", "sectors")

    def __init__(
        self,
        sectors: int,
        *,
        sector_bytes: int = SECTOR_BYTES,
        shared: Mapping[int, bytes] | None = None,
        pool: SectorPool | None = None,
    ) -> None:
        self.sector_bytes = sector_bytes
        self.sectors = sectors
        self._shared = _NOTHING if shared is None else shared
        self._pool = pool
        self._own: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        sector, within = divmod(address, self.sector_bytes)
        if within + size <= self.sector_bytes:
            return self._piece(sector, within, size)
        last, end = divmod(address + size, self.sector_bytes)
        pieces = [self._piece(sector, within, self.sector_bytes - within)]
        pieces += [self._piece(number, 0, self.sector_bytes) for number in range(sector + 1, last)]
        if end:
            pieces.append(self._piece(last, 0, end))
        return b"".join(pieces)

    def programmed(self, sectors: int) -> list[int]:
        held = self._own.keys() | self._shared.keys()
        return sorted(sector for sector in held if sector < sectors and self._held(sector).strip(b"\xff"))

    def is_blank(self, address: int, size: int) -> bool:
        first, within = divmod(address, self.sector_bytes)
        last, end = divmod(address + size, self.sector_bytes)
        if first == last:
            return not self._held(first)[within:end].strip(b"\xff")
        ends = (self._held(first)[within:], self._held(last)[:end])
        return not any(held.strip(b"\xff") for held in (*ends, *map(self._held, range(first + 1, last))))

    def program(self, address: int, data: bytes) -> None:
        sector, within = divmod(address, self.sector_bytes)
        if within + len(data) > self.sector_bytes:
            raise ValueError(f"{len(data)} bytes at {within} reach over the end of sector {sector}")
        held, end = self._held(sector), within + len(data)
        if within < len(held):
            data = _and(held[within:end].ljust(len(data), b"\xff"), data)
        # no bytearray: it takes more than it holds, in thousands of chargers
        now = b"".join((held[:within].ljust(within, b"\xff"), data, held[end:]))
        self._own[sector] = now if self._pool is None or len(data) < self.sector_bytes else self._pool.one_of(now)

    def program_blank(self, address: int, data: bytes) -> None:
        for start, piece in by_sector(address, data, self.sector_bytes):
            self.program(start, piece)

    def erase(self, sector: int) -> None:
        if sector in self._shared:
            self._own[sector] = b""
        else:
            self._own.pop(sector, None)

    def flush(self) -> None:
        pass

    def image(self) -> dict[int, bytes]:
        """What is programmed, by sector, to be shared by other chips."""
        return {**self._shared, **self._own}

    def _held(self, sector: int) -> bytes:
        held = self._own.get(sector)
        return self._shared.get(sector, b"") if held is None else held

    def _piece(self, sector: int, within: int, size: int) -> bytes:
        return self._held(sector)[within : within + size].ljust(size, b"\xff")


class FileDevice:
    """A chip in ``flash.bin`` in a directory of its own, mode 600, for one process at a time.

    It survives the death of the process at any moment; it is not forced to disk, so a power cut of the *machine* may
    still lose or mix the last writes. The file holds the complement of every byte: where nothing is programmed, it
    has holes and takes no room.
    """

    __slots__ = ("_file", "sector_bytes", "sectors")

    def __init__(self, directory: Path, sectors: int, *, sector_bytes: int = SECTOR_BYTES) -> None:
        """Open the chip there, or make a blank one. UsageError: no place for it, in use, or not what we make."""
        self.sector_bytes = sector_bytes
        self.sectors = sectors
        try:
            self._file = _opened(directory, sectors * sector_bytes)
        except OSError as error:
            raise UsageError(f"{directory}: {error.strerror}") from None

    def close(self) -> None:
        """Let go of the file. Nothing can be read or written afterwards."""
        os.close(self._file)

    def read(self, address: int, size: int) -> bytes:
        return bytes(_complement(os.pread(self._file, size, address)))

    def programmed(self, sectors: int) -> list[int]:
        size = self.sector_bytes
        return [sector for sector in range(sectors) if not self.is_blank(sector * size, size)]

    def is_blank(self, address: int, size: int) -> bool:
        return self._is_hole(address, size) or os.pread(self._file, size, address) == bytes(size)

    def program(self, address: int, data: bytes) -> None:
        if address % self.sector_bytes + len(data) > self.sector_bytes:
            raise ValueError(f"{len(data)} bytes at {address} reach over the end of a sector")
        held = os.pread(self._file, len(data), address)
        if held == bytes(len(data)):
            self.program_blank(address, data)
        else:
            self._write(address, _or(held, _complement(data)))

    def program_blank(self, address: int, data: bytes) -> None:
        self._write(address, _complement(data))

    def erase(self, sector: int) -> None:
        self._write(sector * self.sector_bytes, bytes(self.sector_bytes))

    def flush(self) -> None:
        pass

    def _is_hole(self, address: int, size: int) -> bool:
        """Whether the file has nothing there. To read a hole would have the kernel fill memory with zeros first."""
        try:
            return os.lseek(self._file, address, os.SEEK_DATA) >= address + size
        except OSError as error:
            return error.errno == errno.ENXIO  # nor anything behind it

    def _write(self, address: int, data: bytes | bytearray) -> None:
        try:
            written = os.pwrite(self._file, data, address)
        except OSError:  # no room on the disk
            written = 0
        if written < len(data):
            raise SectorError((address + written) // self.sector_bytes)


def _opened(directory: Path, size: int) -> int:
    """The file of the chip, locked. UsageError: it is not ours, or another process has it. OSError as it comes."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    older = min(directory.glob("*.value"), default=None)
    if older is not None:
        raise UsageError(f"{older}, flash of an older version: name another folder, or empty this one")
    path = directory / FILE_NAME
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(file).st_size
        if found not in (0, size):
            raise UsageError(f"{path}: {found} bytes, but the flash of this charger has {size}")
        os.ftruncate(file, size)
    except BlockingIOError:
        os.close(file)
        raise UsageError(f"{path}: in use by another process") from None
    except (OSError, UsageError):
        os.close(file)
        raise
    return file


def _and(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "little") & int.from_bytes(other, "little")).to_bytes(len(one), "little")


def _complement(data: bytes) -> bytearray:
    return bytearray(data).translate(_INVERTED)  # with bytes it takes twice as long


def _or(one: bytes, other: bytes | bytearray) -> bytes:
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")
