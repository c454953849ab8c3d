"""What goes wrong with flash: the power fails in the middle of a write, and sectors wear out."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from emulator.flash.device import FlashDevice, SectorError, by_sector


class PowerCut(BaseException):
    """The power is gone. No error of the charger, so nothing in it handles it: whoever is at work is dead.

    `Charger` catches it where calls come in, and boots again from what flash holds.
    """


@contextmanager
def until_cut() -> Iterator[None]:
    """Do what is in it until the power fails in the middle of a write; what comes after that write is not done."""
    try:
        yield
    except* PowerCut:
        pass


@dataclass(frozen=True, slots=True)
class Cut:
    """When the power fails, and what the chip is left with."""

    at_write: int
    """The program or erase that is cut, from 1."""
    landed: float = 0.0
    """How much of it happens, from 0.0 (nothing) to 1.0 (all): the first bytes of what is programmed or erased."""
    order: Random | None = None
    """Draws which of the writes since the last `flush` have happened before it; None: all of them.

    Writes to one sector keep their order.
    """


class CutDevice:
    """A chip whose power fails once, as `cut` says; without one it only counts.

    `on_cut` is called when the chip is as the cut leaves it, just before PowerCut is raised. From then on every access
    raises PowerCut; what is left is read through `device`, the chip itself. Under a charger, `on_cut` is `cut_power`,
    and its flash gets that chip back before `restore_power`: see ``device.power_cut_at_write``.
    """

    __slots__ = ("_before", "_cut", "_on_cut", "_unflushed", "dead", "device", "sector_bytes", "sectors", "writes")

    def __init__(self, device: FlashDevice, cut: Cut | None = None, on_cut: Callable[[], None] = lambda: None) -> None:
        self.device = device
        self.sector_bytes = device.sector_bytes
        self.sectors = device.sectors
        self.writes = 0
        """Programs and erases so far, the one that was cut included."""
        self._cut = cut
        self._on_cut = on_cut
        self.dead = False
        """The power has failed."""
        self._unflushed: list[tuple[int, Callable[[], None]]] = []
        self._before: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        self._require_power()
        return self.device.read(address, size)

    def programmed(self, sectors: int) -> list[int]:
        self._require_power()
        return self.device.programmed(sectors)

    def is_blank(self, address: int, size: int) -> bool:
        self._require_power()
        return self.device.is_blank(address, size)

    def program(self, address: int, data: bytes) -> None:
        def land(share: float) -> None:
            self.device.program(address, data[: round(len(data) * share)])

        self._write(address // self.sector_bytes, land)

    def program_blank(self, address: int, data: bytes) -> None:
        for start, piece in by_sector(address, data, self.sector_bytes):
            self.program(start, piece)

    def erase(self, sector: int) -> None:
        def land(share: float) -> None:
            erased = round(self.sector_bytes * share)
            rest = self.device.read(sector * self.sector_bytes + erased, self.sector_bytes - erased)
            self.device.erase(sector)
            _program(self.device, sector * self.sector_bytes + erased, rest)

        self._write(sector, land)

    def flush(self) -> None:
        self._require_power()
        self._unflushed.clear()
        self._before.clear()
        self.device.flush()

    def _write(self, sector: int, land: Callable[[float], None]) -> None:
        self._require_power()
        self.writes += 1
        cut = self._cut
        if cut is not None and cut.order is not None:
            start = sector * self.sector_bytes
            self._before.setdefault(sector, self.device.read(start, self.sector_bytes))
        if cut is None or self.writes < cut.at_write:
            land(1.0)
            self._unflushed.append((sector, lambda: land(1.0)))
            return
        self.dead = True
        self._unflushed.append((sector, lambda: land(cut.landed)))
        self._lose(cut)
        self._on_cut()
        raise PowerCut

    def _lose(self, cut: Cut) -> None:
        """Leave the chip as the cut does: with all writes since the last flush, or some of them."""
        if cut.order is None:
            self._unflushed[-1][1]()
            return
        for sector, held in self._before.items():
            self.device.erase(sector)
            _program(self.device, sector * self.sector_bytes, held)
        lost: set[int] = set()
        for sector, land in self._unflushed:
            if sector not in lost and cut.order.random() < 0.5:
                lost.add(sector)
            if sector not in lost:
                land()

    def _require_power(self) -> None:
        if self.dead:
            raise PowerCut


class WearingDevice:
    """A chip that counts erases, and whose sectors go bad: those of `bad`, and each after `endurance` erases.

    A bad sector keeps what it holds and refuses every write.
    """

    __slots__ = ("bad", "device", "endurance", "erases", "sector_bytes", "sectors")

    def __init__(self, device: FlashDevice, *, endurance: int | None = None, bad: Collection[int] = ()) -> None:
        self.device = device
        self.sector_bytes = device.sector_bytes
        self.sectors = device.sectors
        self.endurance = endurance
        self.bad = bad
        self.erases: Counter[int] = Counter()
        """Erases that went well, by sector."""

    def read(self, address: int, size: int) -> bytes:
        return self.device.read(address, size)

    def programmed(self, sectors: int) -> list[int]:
        return self.device.programmed(sectors)

    def is_blank(self, address: int, size: int) -> bool:
        return self.device.is_blank(address, size)

    def program(self, address: int, data: bytes) -> None:
        self._require_good(address // self.sector_bytes)
        self.device.program(address, data)

    def program_blank(self, address: int, data: bytes) -> None:
        for start, piece in by_sector(address, data, self.sector_bytes):
            self.program(start, piece)

    def erase(self, sector: int) -> None:
        self._require_good(sector)
        if self.endurance is not None and self.erases[sector] >= self.endurance:
            raise SectorError(sector)
        self.erases[sector] += 1
        self.device.erase(sector)

    def flush(self) -> None:
        self.device.flush()

    def _require_good(self, sector: int) -> None:
        if sector in self.bad:
            raise SectorError(sector)


def _program(device: FlashDevice, address: int, data: bytes) -> None:
    """Program what is not blank of it, so that a chip in memory stays small."""
    held = data.rstrip(b"\xff")
    if held:
        device.program(address, held)
