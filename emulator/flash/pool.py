"""Sectors that many chips of one process hold alike, as when their chargers install the same image: kept once."""

from collections import OrderedDict

SECTORS_MAX = 16_384
"""With sectors of 4 KiB 64 MiB, as much as a slot takes."""


class SectorPool:
    """Whole sectors by what they hold. Of more than `sectors_max`, those go that were not asked for the longest."""

    __slots__ = ("_sectors", "_sectors_max")

    def __init__(self, sectors_max: int = SECTORS_MAX) -> None:
        self._sectors: OrderedDict[bytes, bytes] = OrderedDict()
        self._sectors_max = sectors_max

    def __len__(self) -> int:
        """How many sectors are kept."""
        return len(self._sectors)

    def one_of(self, held: bytes) -> bytes:
        """The same bytes, in the one object that all get who ask for them."""
        one = self._sectors.setdefault(held, held)
        self._sectors.move_to_end(held)
        if len(self._sectors) > self._sectors_max:
            self._sectors.popitem(last=False)
        return one
