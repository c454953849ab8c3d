"""The bus behind the hub, chosen and started: a Mosquitto of our own, somebody else's, or none."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloud_stub.broker import MosquittoProcess, mosquitto_binary
from cloud_stub.bus import Bus, LocalBus
from cloud_stub.lean import LeanMosquittoBus
from cloud_stub.mosquitto import MosquittoBus
from emulator.errors import UsageError
from emulator.net.api import Address

BusChoice = Literal["auto", "mosquitto", "lean", "local"]
"""auto is mosquitto where it is installed, else local; lean is Mosquitto with the client of our own."""


@dataclass(frozen=True)
class Backbone:
    """A bus, and the broker that was started for it."""

    bus: Bus
    mosquitto: Address | None
    _process: MosquittoProcess | None = None
    _directory: Path | None = None

    @property
    def died(self) -> "asyncio.Future[str] | None":
        """Done when the broker that we started has ended by itself."""
        return self._process.died if self._process is not None else None

    async def stop(self) -> None:
        """End the broker that was started here. The bus itself is stopped by the cloud."""
        if self._process is not None:
            await self._process.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


async def backbone(choice: BusChoice, *, broker: Address | None = None) -> Backbone:
    """The bus for `choice`; unless it is local, on a Mosquitto of our own or on `broker`, which runs already.

    UsageError: Mosquitto was asked for and is not installed.
    """
    if broker is not None:
        return Backbone(_client(choice, broker), broker)
    if choice == "local" or (choice == "auto" and not _installed()):
        return Backbone(LocalBus(), None)
    directory = Path(tempfile.mkdtemp(prefix="zaptec-mosquitto-"))
    process = MosquittoProcess(directory)
    try:
        address = await process.start()
    except BaseException:
        await process.stop()
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return Backbone(_client(choice, address), address, process, directory)


def _client(choice: BusChoice, broker: Address) -> Bus:
    return LeanMosquittoBus(broker) if choice == "lean" else MosquittoBus(broker)


def _installed() -> bool:
    try:
        mosquitto_binary()
    except UsageError:
        return False
    return True
