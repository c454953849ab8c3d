"""The world around a charger, as the scenario player sees it. Who builds worlds is found by entry point."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.faults import Undo
from emulator.net.capture import Capture
from emulator.net.place import Setup
from emulator.trace import Sink

GROUP = "emulator.worlds"
"""Entry point group: each entry is a callable ``(WorldOptions) -> World``."""

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """What every world is built from."""

    seed: int = 1
    sinks: tuple[Sink, ...] = ()
    """Where the events of chargers and services go."""
    certs_dir: Path | None = None
    """A folder made by ``python -m certs``; None: the world makes what it needs and takes it away again."""
    setup: Setup = field(default_factory=Setup)
    """The site: its access points, cell, power lines, address plan."""
    capture: Capture | None = None
    """What records the traffic of the chargers; None: nothing does."""


class World(Protocol):
    """A site network and a cloud, ready for chargers. Everything except `start`, `close` and `command` is immediate."""

    @property
    def name(self) -> str: ...

    @property
    def loop_factory(self) -> LoopFactory | None:
        """The event loop that this world needs; None: asyncio's own will do."""

    async def start(self) -> None:
        """Bring every service up."""

    async def close(self) -> None:
        """Take everything down. May be called twice, and after a `start` that failed."""

    def produce(
        self,
        serial: str,
        changes: Mapping[str, Any] = ...,
        *,
        local: Mapping[str, Any] = ...,
        place: Mapping[str, Any] = ...,
    ) -> tuple[Spec, Env]:
        """Make one charger: its key, its registration in the hub, and its place on the network.

        `changes` are dotted profile keys, ``{"ntp.gate": "wait-then-go-on"}``; `local` are the installer's settings
        that differ from `emulator.local.Local`; `place` are dotted keys of `emulator.net.place.Place`, what the charger
        finds where it hangs. UsageError names a wrong one.
        """

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        """Make a fault active at its owner (the family of ``fault["kind"]``). UsageError starts with `where`."""

    def history(self, service: str) -> list[dict[str, Any]]:
        """What a service saw, oldest first: ``t, sender, request, reply, data``. UsageError: no such service."""

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        """Call a direct method through the hub; the result is (status, body)."""

    def offer_firmware(self, version: str, *, signer: str = "firmware", size_bytes: int | None = None) -> None:
        """What the firmware server hands out from now on; None: an image of the usual size. UsageError: it cannot."""

    def publish_bundle(self, roots: str, *, firmware_keys: Sequence[str] = (), revoked: Sequence[str] = ()) -> int:
        """Make a trust bundle with the ``old`` public root, the ``new`` one or ``both`` the newest: its version.

        With `firmware_keys` it lists the keys of these names as those that may sign firmware, but for the ones that
        are `revoked`. Chargers that are produced from now on leave with it. UsageError: no such roots, or keys.
        """


def world_names() -> list[str]:
    """The worlds that are installed."""
    return sorted(_installed(tuple(sys.path)))


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Entry points by name, for that `sys.path`: to look for them takes 7 ms, a tenth of a short story."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load_world(name: str, options: WorldOptions) -> World:
    """Build a world by its entry point name. UsageError: it is unknown, or its package is missing."""
    known = _installed(tuple(sys.path))
    if name not in known:
        installed = ", ".join(sorted(known)) or f"none (no entry point in group {GROUP})"
        raise UsageError(f"world {name}: not known; installed are {installed}")
    try:
        factory: Callable[[WorldOptions], World] = known[name].load()
    except ImportError as error:
        raise UsageError(f"world {name}: plugin {known[name].value} is missing: {error}") from None
    return factory(options)
