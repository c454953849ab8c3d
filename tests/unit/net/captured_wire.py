"""A charger whose traffic is drawn into a file, in virtual time, for tests."""

import asyncio
from pathlib import Path
from random import Random

from emulator.net.api import Address, Host, Interface, Stream
from emulator.net.capture_file import CaptureFile
from emulator.net.captured import CapturedHost
from emulator.net.params import LinkParams
from emulator.net.reader import Reader
from emulator.net.sim import SimHost, SimNet
from tests.captures import CaptureRead, read_capture
from tests.unit.net.shaped_site import Site

SERVER, GATEWAY, OWN = "10.20.0.9", "10.20.0.1", "10.20.16.7"
AWAY = Address("198.51.100.88", 8883)


class Wire:
    """A charger that is captured, and servers; on a clean network, or with `params` behind a link."""

    def __init__(self, path: Path, params: LinkParams | None) -> None:
        self.path = path
        self.loop = asyncio.get_running_loop()
        self.file = CaptureFile(path)
        if params is None:
            self.net = SimNet(Random(1))
            self.inner: SimHost = self.net.host("charger")
            self.charger = self.around(self.inner)
            self.charger.set_interface(Interface(OWN, 16, GATEWAY))
        else:
            self.site = Site(params)
            self.net, self.charger = self.site.net, self.around(self.site.charger)
            self.charger.set_interface(Interface("10.0.16.1", 24, "10.0.16.254"))
        self.accepted: list[Stream] = []

    def around(self, host: Host) -> CapturedHost:
        return CapturedHost(host, self.file, lambda: round(self.loop.time() * 1e9))

    def server(self, address: str = SERVER) -> SimHost:
        return self.net.host(address, address)

    async def connected(self, to: Address = AWAY) -> tuple[Reader, Reader]:
        """The charger's end, and the server's."""
        await self.server(to.host).listen(to.port, self.accepted.append)
        ours = Reader(await self.charger.connect(to, timeout_s=1))
        return ours, Reader(self.accepted[-1])

    @property
    def seen(self) -> CaptureRead:
        return read_capture(self.path.read_bytes())
