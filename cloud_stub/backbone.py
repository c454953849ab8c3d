"""The bus behind the hub, chosen and started: a Mosquitto of our own, somebody else's, or none."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloud_stub.bus.api import Bus, LocalBus
from cloud_stub.bus.broker import KeptMosquitto, MosquittoProcess, mosquitto_binary
from cloud_stub.bus.home import BusHome
from cloud_stub.bus.journal import Journal
from cloud_stub.bus.lean import LeanMosquittoBus
from cloud_stub.bus.mosquitto import MosquittoBus
from emulator.errors import UsageError
from emulator.net.api import Address

BusChoice = Literal["auto", "mosquitto", "lean", "local"]
"""auto is mosquitto where it is installed, else local; lean is Mosquitto with the client of our own."""


LASTING_FOLDER = "bus-https"
"""Beside the hub's folder in the same state: a firmware server that looks after campaigns has its own."""


@dataclass(frozen=True)
class Backbone:
    """A bus, and the broker that was started for it."""

    bus: Bus
    mosquitto: Address | None
    home: BusHome | None = None
    """None where there is no broker."""
    _process: KeptMosquitto | None = None

    @property
    def died(self) -> "asyncio.Future[str] | None":
        """Done when the broker that we started has died too often."""
        return self._process.died if self._process is not None else None

    @property
    def restarts(self) -> int:
        """How many times the broker that we started was started again."""
        return self._process.restarts if self._process is not None else 0

    @property
    def repeated(self) -> int:
        """How many messages the bus has sent again because its broker may have lost them."""
        return self.bus.repeated if isinstance(self.bus, LeanMosquittoBus | MosquittoBus) else 0

    @property
    def pid(self) -> int | None:
        """The process id of the broker that we started."""
        return self._process.pid if self._process is not None else None

    async def stop(self) -> None:
        """End the broker that was started here. The bus itself is stopped by the cloud."""
        died = self.died is not None and self.died.done() and not self.died.cancelled()
        if self._process is not None:
            await self._process.stop()
        if self.home is not None:
            self.home.leave(settled=not died)


async def backbone(
    choice: BusChoice, *, broker: Address | None = None, session: str = "", state: Path | None = None
) -> Backbone:
    """The bus for `choice`; unless it is local, on a Mosquitto of our own or on `broker`, which runs already.

    With a `session`, a client id of its own, the broker keeps what comes for us while it or we are away. In a `state`
    folder the bus finds again what it had when it was killed: its broker's memory and port, the session, the journals.
    UsageError: Mosquitto was asked for and is not installed, or the folder cannot be used.
    """
    if broker is None and (choice == "local" or (choice == "auto" and not _installed())):
        return Backbone(LocalBus(), None)
    home = BusHome(state, session)
    process = KeptMosquitto(MosquittoProcess(home.path, port=home.port)) if broker is None else None
    try:
        address = await process.start() if process is not None else broker
        assert address is not None  # noqa: S101 - one of the two
        if process is not None:
            home.keep_port(address.port)
        bus = client(choice, address, home.journals / "main", session=home.session)
    except BaseException:
        if process is not None:
            await process.stop()
        home.leave(settled=False)
        raise
    return Backbone(bus, address, home, process)


def lasting_backbone(broker: Address, *, session: str, state: Path) -> Backbone:
    """The bus of a process that comes and goes while others speak: whatever is said meanwhile is kept for it.

    UsageError: another process has its place in this state folder, or the folder cannot be used.
    """
    home = BusHome(state, session, LASTING_FOLDER)
    if not home.lasting:
        home.leave(settled=False)
        raise UsageError(f"--broker: another firmware server looks after the campaigns in {state}")
    journal = Journal(home.journals / "main", asyncio.get_running_loop().time)
    return Backbone(LeanMosquittoBus(broker, journal=journal, session=home.session, lasting=True), broker, home)


def client(choice: BusChoice, broker: Address, journal: Path, *, session: str = "") -> LeanMosquittoBus | MosquittoBus:
    """A connection to a broker, which keeps a journal here. UsageError: it cannot."""
    kind = LeanMosquittoBus if choice == "lean" else MosquittoBus
    return kind(broker, journal=Journal(journal, asyncio.get_running_loop().time), session=session)


def _installed() -> bool:
    try:
        mosquitto_binary()
    except UsageError:
        return False
    return True
