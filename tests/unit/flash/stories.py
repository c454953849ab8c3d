"""What is done to flash in the tests of power cuts, and the plain dictionaries that it is held against."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from emulator.flash.api import Flash, FlashError
from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import Cut, CutDevice, PowerCut
from emulator.flash.store import FlashStore, Layout

SMALL = Layout(sector_bytes=512, log_sectors=6, slot_bytes=2048)
"""So small that a few dozen writes go round the log."""

BLOBS = ("firmware.a", "firmware.b")


@dataclass
class Model:
    """What flash should hold."""

    values: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=lambda: dict.fromkeys(BLOBS, b""))

    def copy(self) -> "Model":
        return Model(dict(self.values), dict(self.blobs))


def contents(flash: Flash) -> Model:
    """What flash does hold."""
    values = {key: value for key in flash.keys("") if (value := flash.get(key)) is not None}
    return Model(values, {name: flash.blob_read(name, 0, flash.blob_size(name) + 1) for name in BLOBS})


class Step(Protocol):
    """One thing that is done to flash."""

    def do(self, flash: Flash) -> None: ...

    def tell(self, model: Model) -> None: ...


@dataclass(frozen=True)
class Put:
    key: str
    value: bytes

    def do(self, flash: Flash) -> None:
        flash.put(self.key, self.value)

    def tell(self, model: Model) -> None:
        model.values[self.key] = self.value


@dataclass(frozen=True)
class Delete:
    key: str

    def do(self, flash: Flash) -> None:
        flash.delete(self.key)

    def tell(self, model: Model) -> None:
        model.values.pop(self.key, None)


@dataclass(frozen=True)
class Append:
    """More of an image."""

    name: str
    data: bytes

    def do(self, flash: Flash) -> None:
        flash.blob_write(self.name, flash.blob_size(self.name), self.data)

    def tell(self, model: Model) -> None:
        model.blobs[self.name] += self.data


@dataclass(frozen=True)
class Erase:
    name: str

    def do(self, flash: Flash) -> None:
        flash.blob_erase(self.name)

    def tell(self, model: Model) -> None:
        model.blobs[self.name] = b""


def play(flash: Flash, steps: Iterable[Step], model: Model) -> list[Step]:
    """Do the steps, and tell the model of those that went well; what is left to do when the power fails."""
    left = list(steps)
    while left:
        try:
            left[0].do(flash)
        except FlashError:
            pass  # nothing has changed
        except PowerCut:
            return left
        else:
            left[0].tell(model)
        left.pop(0)
    return left


def writes_of(steps: list[Step], layout: Layout = SMALL) -> int:
    """How many programs and erases the steps take when nothing fails."""
    device = CutDevice(MemoryDevice(layout.sectors, sector_bytes=layout.sector_bytes))
    play(FlashStore(device, layout), steps, Model())
    return device.writes


def check_cut(
    steps: list[Step], cut: Cut, layout: Layout = SMALL, *, at_mount: Callable[[int], Cut] | None = None
) -> None:
    """Cut the power in the middle of a story: what was done stays done, what was under way has happened or not.

    Then go on with the story, a step further. With `at_mount` the power also fails at every write of the next mount.
    """
    device = CutDevice(MemoryDevice(layout.sectors, sector_bytes=layout.sector_bytes), cut)
    model = Model()
    left = play(FlashStore(device, layout), steps, model)
    assert left, "the story is over before the cut"
    new = model.copy()
    left[0].tell(new)
    if at_mount is not None:
        _cut_mounts(device, layout, at_mount)
    flash = FlashStore(device.device, layout)
    held = contents(flash)
    assert held in (model, new)
    assert contents(FlashStore(device.device, layout)) == held
    assert play(flash, left[1:], held) == []  # what was under way is not tried again: something else is written there
    assert contents(flash) == held
    assert contents(FlashStore(device.device, layout)) == held


def _cut_mounts(device: CutDevice, layout: Layout, at_mount: Callable[[int], Cut]) -> None:
    for at_write in range(1, 1000):
        again = CutDevice(device.device, at_mount(at_write))
        try:
            FlashStore(again, layout)
        except PowerCut:
            continue
        return
