"""Host names to addresses, with the fallbacks of manual row M8."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from emulator.env import Env
from emulator.errors import NetError, NetReason
from emulator.machines.effects import Effect
from emulator.machines.resolver import AskOverTcp, Cache, DnsReason, Resolution, Resolved, Unresolved
from emulator.net.api import Address, Datagrams, Host
from emulator.net.drive import drive
from emulator.net.reader import Reader
from emulator.profile import Profile
from emulator.wire.dns import DnsError, Messages, with_length

SERVERS_MAX = 8
"""Of DHCP's servers no more are asked: with the timing of the profile a look-up then takes up to 40 s."""

REASON_OF_DNS = {
    DnsReason.SILENT: NetReason.DNS_SILENT,
    DnsReason.FAILED: NetReason.DNS_FAILED,
    DnsReason.NOT_FOUND: NetReason.DNS_NOT_FOUND,
}

_OWN = frozenset({NetReason.NO_CARRIER, NetReason.NO_ADDRESS})
"""Troubles of this host: no other server will do better."""
_READ_BYTES = 4096

Answer = Resolved | Unresolved


class Lookup:
    """Asks DHCP's DNS servers and the fallbacks, and remembers answers for their time to live.

    Whatever is not the plain answer of the first server is traced: ``dns.answered`` and ``dns.unresolved`` name who
    answered, what the others did, and what was ignored.
    """

    def __init__(self, profile: Profile, env: Env) -> None:
        self._profile = profile
        self._env = env
        self._cache = Cache(profile.dns)
        self._asked = 0
        self._good: dict[str, str] = {}
        self._from_dhcp: tuple[str, ...] = ()
        self._servers, self._instead = _in_order((), profile)

    def use(self, dns: Sequence[str]) -> None:
        """Set DHCP's servers, of which `SERVERS_MAX` are asked; the profile says when its fallbacks are."""
        self._from_dhcp = tuple(dns[:SERVERS_MAX])
        self._servers, self._instead = _in_order(self._from_dhcp, self._profile)

    def is_fallback(self, server: Address) -> bool:
        """Whether DHCP has not named this server."""
        return server.host not in self._from_dhcp

    async def find(self, *names: str) -> list[Answer]:
        """One answer per name, from the cache or the network.

        NetError: UNREACHABLE for a name that DNS cannot carry; NO_CARRIER or NO_ADDRESS if the charger is off the net.
        """
        now = asyncio.get_running_loop().time()
        known = {name: self._cache.get(name, now) for name in names}
        missing = [name for name, answer in known.items() if answer is None]
        fresh = await self._ask(missing) if missing else {}
        return [known[name] or fresh[name] for name in names]

    async def addresses_of(self, name: str) -> list[str]:
        """All addresses of a name in the server's order, but one that `remember` was told first.

        NetError DNS_SILENT, DNS_FAILED or DNS_NOT_FOUND; UNREACHABLE for a name that DNS cannot carry.
        """
        (answer,) = await self.find(name)
        if isinstance(answer, Unresolved):
            raise NetError(REASON_OF_DNS[answer.reason], name)
        good = self._good.get(name)
        return sorted(answer.addresses, key=lambda address: address != good)

    async def address_of(self, name: str) -> str:
        """The first of `addresses_of`, and the same errors."""
        return (await self.addresses_of(name))[0]

    def remember(self, name: str, address: str) -> None:
        """This address of the name did answer: it is the first to try from now on."""
        self._good.pop(name, None)
        self._good[name] = address
        if len(self._good) > self._profile.dns.cache_max:
            del self._good[next(iter(self._good))]

    async def _ask(self, names: list[str]) -> dict[str, Answer]:
        loop, answers = asyncio.get_running_loop(), dict[str, Answer]()
        self._asked += 1
        rng = self._env.rng(f"dns/{self._asked}")
        for name in names:
            answers[name] = answer = await self._resolve(name, rng)
            self._cache.put(answer, loop.time())
            self._tell(answer)
        return answers

    async def _resolve(self, name: str, rng: Random) -> Answer:
        resolution = Resolution(name, self._servers, self._profile.dns, rng, instead=self._instead)
        # A port of its own (RFC 5452 section 9.2): a late answer to the look-up before must not pass for a forged one.
        socket = await self._env.host.udp()
        try:
            answer = await self._drive(resolution, socket)
        finally:
            socket.close()
        if isinstance(answer, Unresolved):
            self._need_network()
        return answer

    async def _drive(self, resolution: Resolution, socket: Datagrams) -> Answer:
        try:
            effect = await drive(resolution, socket)
        except DnsError as error:
            raise NetError(NetReason.UNREACHABLE, f"no name for DNS: {error}") from None
        while isinstance(effect, AskOverTcp):
            effect = await drive(resolution, socket, await self._over_tcp(effect, resolution))
        assert isinstance(effect, Resolved | Unresolved)  # noqa: S101 - all other results a Resolution has
        return effect

    def _need_network(self) -> None:
        """Servers are not to blame for a link that went down meanwhile. NetError: it did."""
        host = self._env.host
        if host.carrier is None:
            raise NetError(NetReason.NO_CARRIER, host.name)
        if host.interface is None:
            raise NetError(NetReason.NO_ADDRESS, host.name)

    async def _over_tcp(self, ask: AskOverTcp, resolution: Resolution) -> list[Effect]:
        """One exchange; what it came to is the machine's. NetError: the fault is on our side."""
        loop, until = asyncio.get_running_loop(), resolution.deadline()
        assert until is not None  # noqa: S101 - a Resolution that asks for something waits for it
        try:
            message = await exchange(self._env.host, ask, until, max_bytes=self._profile.dns.tcp_max_bytes)
        except DnsError:
            return resolution.tcp_failed("too_long", loop.time())
        except NetError as error:
            if error.reason in _OWN:
                raise
            return resolution.tcp_failed(error.reason.value, loop.time())
        return resolution.receive_tcp(message, loop.time())

    def _tell(self, answer: Answer) -> None:
        words = {"host": answer.name, "tried": tried_in_words(answer), "ignored": ignored_in_words(answer)}
        if isinstance(answer, Unresolved):
            self._env.trace.emit("dns.unresolved", why=REASON_OF_DNS[answer.reason].value, **words)
        elif len(answer.tried) > 1 or answer.ignored or self.is_fallback(answer.server):
            fallback = self.is_fallback(answer.server)
            self._env.trace.emit("dns.answered", server=str(answer.server), fallback=fallback, **words)


async def exchange(host: Host, ask: AskOverTcp, until: float, *, max_bytes: int) -> bytes:
    """One query and the first message that comes back, over a connection of its own (RFC 7766), by the time `until`.

    NetError: the reasons of TCP, CLOSED when the server ends it before a whole message. DnsError: it is too long.
    """
    loop = asyncio.get_running_loop()
    messages = Messages(max_bytes)
    stream = await host.connect(ask.to, timeout_s=until - loop.time())
    try:
        reader = Reader(stream)
        stream.write(with_length(ask.query))
        while data := await reader.read(_READ_BYTES, until - loop.time()):
            for message in messages.feed(data):
                return message
    finally:
        stream.close()
    raise NetError(NetReason.CLOSED, f"{ask.to}: no whole message")


def tried_in_words(answer: Answer) -> list[str]:
    """``8.8.8.8:53 answered`` for each server that was asked, in order."""
    return [f"{tried.server} {tried.what}" for tried in answer.tried]


def ignored_in_words(answer: Answer) -> list[str]:
    """``8.8.8.8:53 wrong_id 3`` for each kind of datagram that was ignored."""
    return [f"{ignored.sender} {ignored.what} {ignored.count}" for ignored in answer.ignored]


Plan = tuple[tuple[Address, ...], tuple[Address, ...]]


def _in_order(dns: tuple[str, ...], profile: Profile) -> Plan:
    """Whom to ask, and whom to ask in their place when none of them answers."""
    return _plan(dns, profile.dns.fallbacks, profile.network.dns_port, profile.dns.wording)


@lru_cache(maxsize=64)
def _plan(dns: tuple[str, ...], fallbacks: tuple[str, ...], port: int, wording: str) -> Plan:
    """The same for all chargers of a site, of which there may be thousands in this process."""
    first = dns if dns and wording == "instead" else (*dns, *fallbacks)
    instead = [name for name in fallbacks if name not in first]
    return tuple(Address(name, port) for name in dict.fromkeys(first)), tuple(Address(name, port) for name in instead)
