"""Puts a link and a site's router in front of any `Host`: the same troubles in every world."""

import asyncio

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Address, Carrier, Datagrams, Host, Interface, Stream
from emulator.net.around import HostAround
from emulator.net.bearer import NotAttached
from emulator.net.firewall import Verdict
from emulator.net.link import Link, Way
from emulator.net.path import StreamPath
from emulator.net.route import Hop, Route
from emulator.net.shaped_datagrams import ShapedDatagrams
from emulator.net.shaped_stream import Resent, ShapedStream
from emulator.net.site import Site

SYN_BYTES = 60
SYN_RETRY_S = 1.0  # RFC 6298 section 2.1; it doubles each time
ORPHANS_MAX = 8
"""Connections that are over for the charger and not for the peer; of more, the oldest is reset after all."""


class ShapedHost(HostAround):
    """A host behind a link and a site's router.

    Over LTE-M its traffic takes the way of the `operator`, which has no rules of the site's. What comes to a port that
    listens is not shaped: chargers never do.
    """

    def __init__(self, host: Host, *, site: Site, link: Link, operator: Site | None = None) -> None:
        super().__init__(host)
        self.resent: Resent | None = None
        """Told of what TCP sends again, if it is set before the connection is made."""
        self._site = site
        self._operator = operator or site
        self._link = link
        self._route = Route()
        self._streams: dict[ShapedStream, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        link.went_down = self._lost_carrier
        link.checked = self._watch

    @property
    def carrier(self) -> Carrier | None:
        """What the link is attached to."""
        return self._link.carrier

    @property
    def streams(self) -> frozenset[ShapedStream]:
        """The connections that are open now, those that only the peer believes in included."""
        return frozenset(self._streams)

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Attach, which takes its time. NetError: why the link does not come up."""
        result = self._link.attach(mode, local)
        await asyncio.sleep(result.after_s)
        if isinstance(result, NotAttached):
            raise NetError(result.reason, result.detail)
        self._need_carrier()
        await self._host.link_up(mode, local)
        self._watch()

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Detach, and as the host inside."""
        self._link.detach(power_cycle=power_cycle)
        for stream in tuple(self._streams):
            stream.lose()
        self._host.link_down(power_cycle=power_cycle)

    def set_interface(self, interface: Interface | None) -> None:
        """As the host inside."""
        self._route.use(interface, self._network.lan)
        self._host.set_interface(interface)

    def hop(self, to: str) -> Hop:
        """What becomes of a packet to this address on its way to the router or a neighbour."""
        return self._route.hop(to)

    async def address_in_use(self, address: str) -> bool:
        """As the host inside. NetError NO_CARRIER."""
        self._need_carrier()
        return await self._host.address_in_use(address)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """A socket whose packets take the link and pass the router. One for broadcasts speaks to the LAN alone."""
        self._need_carrier()
        inner = await self._host.udp(port, broadcast=broadcast)
        return ShapedDatagrams(inner, self._network.datagrams(self.name, self._route, local=broadcast), self._link)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Connect through router and link: DROP ends in TIMED_OUT, REJECT in REFUSED, no route in UNREACHABLE."""
        if self.interface is None:
            raise NetError(NetReason.NO_ADDRESS, self.name)
        self._need_carrier()
        if self._route.hop(to.host) is Hop.UNKNOWN:
            raise NetError(NetReason.UNREACHABLE, f"{to}: no gateway was given")
        path = self._network.stream(self.name, to, self._route)
        try:
            async with asyncio.timeout(timeout_s):
                await self._knock(path)
                inner = await self._host.connect(path.real, timeout_s=timeout_s)
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"{to} did not answer in {timeout_s:g} s") from None
        stream = ShapedStream(inner, path, self._link, self.resent)
        self._streams[stream] = None
        stream.ended = self._forget
        stream.orphaned = self._bury_oldest
        return stream

    @property
    def _network(self) -> Site:
        return self._operator if self._link.mode is Mode.LTE else self._site

    async def _knock(self, path: StreamPath) -> None:
        """Take the time of a SYN and its answer; lost ones are sent again."""
        loop, retry_s = asyncio.get_running_loop(), SYN_RETRY_S
        while True:
            verdict = path.knock()
            answered = None if verdict is Verdict.DROP else self._round_trip()
            if answered is not None:
                break
            await asyncio.sleep(retry_s)
            retry_s *= 2
            if self.resent is not None:
                self.resent(SYN_BYTES, Way.UP)
        if answered > loop.time():
            await asyncio.sleep(answered - loop.time())
        self._need_carrier()
        if verdict is Verdict.REJECT:
            raise NetError(NetReason.REFUSED, str(path.to))

    def _round_trip(self) -> float | None:
        """When the answer to a packet that is sent now is there; None: one of the two is lost."""
        there, back = (self._link.plan(SYN_BYTES, way) for way in Way)
        return None if there is None or back is None else there + back - asyncio.get_running_loop().time()

    def _need_carrier(self) -> None:
        if not self._link.up:
            raise NetError(NetReason.NO_CARRIER, self.name)

    def _watch(self) -> None:
        """Look again when the link may change by itself."""
        if self._timer is not None:
            self._timer.cancel()
        when = self._link.next_change()
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self._link.check)

    def _forget(self, stream: ShapedStream) -> None:
        del self._streams[stream]

    def _bury_oldest(self) -> None:
        orphans = [stream for stream in self._streams if stream.orphan]
        if len(orphans) > ORPHANS_MAX:
            orphans[0].bury()

    def _lost_carrier(self) -> None:
        for stream in tuple(self._streams):
            stream.lose()
        self._host.link_down()
