"""The lab's router by itself: what its nftables do to packets of two machines on the LAN and a server outside."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from cloud_stub.lab.nft import Translation
from cloud_stub.lab.site import LabSite
from emulator.errors import NetError, NetReason, UsageError
from emulator.net.api import Address, Closer, Interface, Stream
from emulator.net.linux import LinuxHost
from emulator.net.place import Router
from emulator.remote import mac_of

pytestmark = pytest.mark.needs("root", "nft")

SERVER, PROXY, PORT = "198.51.100.88", "10.20.0.81", 8883
ONE, TWO = "ZPR000001", "ZPR000002"
SOON_S, PAUSE_S, LINGER_S = 5.0, 0.3, 0.01
"""Within how long what must come comes, on a busy machine too, and how long is waited for what must not."""
ANSWER_S, IDLE_S = 1.5, 1.0

SMALL, LARGE = b"x" * 100, b"x" * 1430


@dataclass
class Talk:
    """One end of a connection; the other says everything again."""

    stream: Stream
    heard: bytes = b""
    lost: NetError | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.stream.attach(self)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self._news.set()

    def connection_lost(self, error: NetError | None) -> None:
        self.lost = error
        self._news.set()

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    async def says(self, data: bytes, within_s: float = SOON_S) -> bool:
        """Whether what is said comes back in time."""
        wanted = len(self.heard) + len(data)
        self.stream.write(data)
        return await self.hears(wanted, within_s)

    async def hears(self, wanted: int, within_s: float = SOON_S) -> bool:
        """Whether so many bytes have come by then."""
        try:
            async with asyncio.timeout(within_s):
                while len(self.heard) < wanted and self.lost is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return len(self.heard) >= wanted


@dataclass
class Echo:
    """Says everything again, over TCP, and notes how many bytes it were."""

    stream: Stream
    taken: list[int]

    def data_received(self, data: bytes) -> None:
        self.taken.append(len(data))
        self.stream.write(data)

    def connection_lost(self, error: NetError | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


@dataclass
class Place:
    """Two machines on the LAN, and the server."""

    site: LabSite
    one: LinuxHost
    two: LinuxHost
    server: LinuxHost
    clients: list[str] = field(default_factory=list)
    """The addresses that the server has seen."""
    taken: list[int] = field(default_factory=list)
    """The sizes of what machines that listen have been told."""
    _open: list[Closer] = field(default_factory=list)

    def strike(self, kind: str, **more: object) -> Callable[[], None]:
        return self.site.inject({"kind": f"site.{kind}", **more}, where="test")

    async def open(self, host: LinuxHost, port: int, seen: list[str]) -> None:
        """Have a machine say everything again that it is told on a port, and note who has told it."""

        def met(stream: Stream) -> None:
            seen.append(stream.peer.host)
            stream.attach(Echo(stream, self.taken))

        self._open.append(await host.listen(port, met))

    async def close(self) -> None:
        """End every connection."""
        for closer in self._open:
            closer.close()
        for host in (self.one, self.two, self.server):
            host.link_down()
        await asyncio.sleep(LINGER_S)

    async def dial(self, host: LinuxHost | None = None, timeout_s: float = SOON_S) -> Talk:
        return Talk(await (host or self.one).connect(Address(SERVER, PORT), timeout_s=timeout_s))

    async def answers(self, host: LinuxHost, count: int) -> int:
        """How many of so many datagrams, each from a port of its own, come back."""
        return sum(await asyncio.gather(*(self._answers(host) for _ in range(count))))

    async def _answers(self, host: LinuxHost) -> bool:
        socket = await host.udp()
        try:
            socket.send(SMALL, Address(SERVER, PORT))
            async with asyncio.timeout(ANSWER_S):
                await socket.receive()
                return True
        except TimeoutError:
            return False
        finally:
            socket.close()


Story = Callable[[Place], Awaitable[None]]
Tell = Callable[..., None]


@pytest.fixture
def tell() -> Iterator[Tell]:
    def run(story: Story, *, translation: Translation = Translation.ONE_TO_ONE, **router: object) -> None:
        settings = Router.model_validate({"nat": translation is not Translation.NONE, **router})
        asyncio.run(_told(story, translation, settings))

    yield run


async def _told(story: Story, translation: Translation, router: Router) -> None:
    names = {"hub.example": (SERVER,)}
    site = LabSite(lambda topology: names, mac_of, router=router, translation=translation, rng=Random(1))
    try:
        site.build()
        one, two = await _charger(site, ONE, 1), await _charger(site, TWO, 2)
        place = Place(site, one, two, site.service_host("hub", SERVER))
        for port in (PORT, 443):
            await place.open(place.server, port, place.clients)
        heard = await place.server.udp(PORT)
        serving = asyncio.create_task(_echo(heard))
        try:
            await story(place)
        finally:
            heard.close()
            await serving
            await place.close()
    finally:
        await site.close()


async def _echo(socket) -> None:
    while True:
        try:
            data, sender = await socket.receive()
        except NetError:
            return
        socket.send(data, sender)


async def _charger(site: LabSite, serial: str, number: int) -> LinuxHost:
    host = site.charger_host(serial, site.network.charger(serial, mac_of(serial)))
    await host.link_up()
    host.set_interface(Interface(f"10.20.16.{number}", 16, "10.20.0.1"))
    return host


@pytest.mark.parametrize(
    ("translation", "known_as"),
    [
        (Translation.ONE_TO_ONE, ["100.65.16.1", "100.65.16.2"]),
        (Translation.MASQUERADE, ["198.18.0.2", "198.18.0.2"]),
        (Translation.NONE, ["10.20.16.1", "10.20.16.2"]),
    ],
)
def test_how_the_server_knows_the_site(tell: Tell, translation: Translation, known_as: list[str]) -> None:
    async def story(place: Place) -> None:
        for host in (place.one, place.two):
            assert await (await place.dial(host)).says(SMALL)
        assert place.clients == known_as

    tell(story, translation=translation)


@pytest.mark.parametrize(
    ("translation", "address"), [(Translation.ONE_TO_ONE, "100.65.16.1"), (Translation.MASQUERADE, "198.18.0.2")]
)
def test_nothing_comes_in_that_nobody_has_asked_for(tell: Tell, translation: Translation, address: str) -> None:
    async def story(place: Place) -> None:
        reached: list[str] = []
        await place.open(place.one, PORT, reached)
        with pytest.raises(NetError):
            await place.server.connect(Address(address, PORT), timeout_s=PAUSE_S)
        assert reached == []

    tell(story, translation=translation)


def test_a_blocked_port_is_dropped_or_rejected_for_one_charger_until_it_is_healed(tell: Tell) -> None:
    async def story(place: Place) -> None:
        for action, reason, within_s in (
            ("drop", NetReason.TIMED_OUT, PAUSE_S),
            ("reject", NetReason.REFUSED, SOON_S),
        ):
            heal = place.strike("block", protocol="tcp", port=PORT, host="hub.example", action=action, who=ONE)
            with pytest.raises(NetError) as refused:
                await place.dial(timeout_s=within_s)
            assert refused.value.reason is reason
            assert await place.answers(place.one, 1) == 1  # the other protocol
            assert await (await place.dial(place.two)).says(SMALL)
            heal()
            heal()
            assert await (await place.dial()).says(SMALL)

    tell(story)


def test_a_block_carries_nothing_of_connections_from_before_either(tell: Tell) -> None:
    async def story(place: Place) -> None:
        talk = await place.dial()
        heal = place.strike("block", port=PORT)
        assert not await talk.says(SMALL, PAUSE_S)
        heal()
        assert await talk.hears(len(SMALL))  # it was sent again

    tell(story)


def test_faults_count_and_have_odds(tell: Tell) -> None:
    async def story(place: Place) -> None:
        place.strike("block", protocol="udp", count=3, who=ONE)
        assert await place.answers(place.one, 5) == 2
        assert await place.answers(place.two, 2) == 2
        place.strike("block", protocol="udp", probability=0.5, who=TWO)
        assert 1 <= await place.answers(place.two, 24) <= 23  # that it fails by chance is a matter of 1 in 8 million

    tell(story)


def test_a_fault_ends_when_its_time_is_over(tell: Tell) -> None:
    async def story(place: Place) -> None:
        place.strike("block", protocol="udp", for_s=ANSWER_S / 2)
        assert await place.answers(place.one, 1) == 0
        assert await place.answers(place.one, 1) == 1

    tell(story)


def test_only_what_is_allowed_gets_out(tell: Tell) -> None:
    async def story(place: Place) -> None:
        place.strike("allow_only", allow=["tcp/443", f"udp/{PORT}/hub.example"], action="reject")
        assert await place.answers(place.one, 1) == 1
        assert await Talk(await place.one.connect(Address(SERVER, 443), timeout_s=SOON_S)).says(SMALL)
        with pytest.raises(NetError) as refused:
            await place.dial()
        assert refused.value.reason is NetReason.REFUSED

    tell(story)


def test_half_open_connections_say_nothing_until_it_is_healed(tell: Tell) -> None:
    async def story(place: Place) -> None:
        before = await place.dial()
        assert await before.says(SMALL)
        heal = place.strike("half_open")
        assert not await before.says(SMALL, PAUSE_S)
        assert await (await place.dial()).says(SMALL)
        heal()
        assert await before.hears(2 * len(SMALL))
        assert before.lost is None

    tell(story)


@pytest.mark.parametrize(
    ("stray", "lives", "reason"), [("drop", False, None), ("reset", False, NetReason.RESET), ("adopt", True, None)]
)
def test_what_the_router_has_forgotten(tell: Tell, stray: str, lives: bool, reason: NetReason | None) -> None:
    async def story(place: Place) -> None:
        talk = await place.dial()
        place.strike("nat_timeout", timeout_s=IDLE_S, who=ONE)
        assert await talk.says(SMALL), "from its next packet on"
        await asyncio.sleep(1.5 * IDLE_S)
        assert await talk.says(SMALL, PAUSE_S if stray == "drop" else SOON_S) is lives
        assert (talk.lost and talk.lost.reason) == reason

    tell(story, stray=stray)


def test_a_router_that_restarts_lets_nothing_through_and_forgets(tell: Tell) -> None:
    async def story(place: Place) -> None:
        struck, other = await place.dial(), await place.dial(place.two)
        heal = place.strike("nat_reboot", who=ONE)
        assert await place.answers(place.one, 1) == 0
        assert await other.says(SMALL)
        heal()
        assert await place.answers(place.one, 1) == 1
        assert not await struck.says(SMALL, PAUSE_S)
        assert await (await place.dial()).says(SMALL)

    tell(story)


def test_a_full_table_has_room_for_nobody_new(tell: Tell) -> None:
    async def story(place: Place) -> None:
        known = await place.dial()
        place.strike("nat_full")
        assert await known.says(SMALL)
        with pytest.raises(NetError) as refused:
            await place.dial(timeout_s=PAUSE_S)
        assert refused.value.reason is NetReason.TIMED_OUT

    tell(story)


@pytest.mark.parametrize(("way", "answered"), [("up", False), ("down", True)])
def test_large_packets_vanish_on_their_way(tell: Tell, way: str, answered: bool) -> None:
    """Small ones pass; what is lost on the way up never reaches the server, on the way down only the answer is lost."""

    async def story(place: Place) -> None:
        talk = await place.dial()
        place.strike("mtu_black_hole", way=way, port=PORT)
        assert await talk.says(SMALL)
        assert not await talk.says(LARGE, PAUSE_S)
        assert (sum(place.taken) == len(SMALL) + len(LARGE)) is answered

    tell(story)


def test_a_proxy_takes_new_connections_to_the_hosts_it_is_told(tell: Tell) -> None:
    async def story(place: Place) -> None:
        met: list[str] = []
        proxy = place.site.service_host("proxy", PROXY)
        await place.open(proxy, 443, met)
        before = await place.dial()
        place.strike("intercept", ports=[PORT], hosts=["hub.example"], who=ONE)
        after = await place.dial()
        assert await before.says(SMALL)
        assert await after.says(SMALL)
        assert (met, len(place.clients)) == (["10.20.16.1"], 1)
        assert await (await place.dial(place.two)).says(SMALL)
        assert len(place.clients) == 2

    tell(story)


def test_a_fault_that_cannot_be_is_refused_in_words(tell: Tell) -> None:
    async def story(place: Place) -> None:
        for fault, words in (
            ({"kind": "site.block", "host": "nobody.example"}, "test: host: 'nobody.example'"),
            ({"kind": "site.allow_only", "allow": ["tcp/70000"]}, "test: allow"),
            ({"kind": "site.nat_timeout"}, "test: timeout_s"),
            ({"kind": "site.intercept", "hosts": ["nobody.example"]}, "test: host: 'nobody.example'"),
        ):
            with pytest.raises(UsageError, match=words):
                place.site.inject(fault, where="test")
        assert await place.answers(place.one, 1) == 1

    tell(story)
