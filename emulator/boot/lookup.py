"""Host names to addresses, with the fallbacks of manual row M8."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache

from emulator.env import Env
from emulator.errors import NetError, NetReason
from emulator.machines.resolver import Cache, Resolution, Resolved, Unresolved
from emulator.net.api import Address
from emulator.net.drive import drive
from emulator.profile import Profile
from emulator.wire.dns import DnsError


class Lookup:
    """Asks DHCP's DNS servers in order, then the fallbacks, and remembers answers for their time to live."""

    def __init__(self, profile: Profile, env: Env) -> None:
        self._profile = profile
        self._env = env
        self._cache = Cache(profile.dns.cache_max)
        self._asked = 0
        self.from_dhcp: frozenset[str] = frozenset()
        self._servers: tuple[Address, ...] = ()
        self.use(())

    def use(self, dns: Sequence[str]) -> None:
        """Set DHCP's servers; the profile's fallbacks follow them."""
        self.from_dhcp = frozenset(dns)
        self._servers = _in_order(tuple(dns), self._profile.dns.fallbacks, self._profile.network.dns_port)

    async def find(self, *names: str) -> list[Resolved | Unresolved]:
        """One answer per name, from the cache or the network. NetError(UNREACHABLE): a name that DNS cannot carry."""
        now = asyncio.get_running_loop().time()
        known = {name: self._cache.get(name, now) for name in names}
        missing = [name for name, answer in known.items() if answer is None]
        fresh = await self._ask(missing) if missing else {}
        return [known[name] or fresh[name] for name in names]

    async def address_of(self, name: str) -> str:
        """The first address of a name. NetError(UNREACHABLE) when no server knows it or none answers."""
        (answer,) = await self.find(name)
        if isinstance(answer, Unresolved):
            raise NetError(NetReason.UNREACHABLE, f"{name}: DNS {answer.reason.value}")
        return answer.addresses[0]

    async def _ask(self, names: list[str]) -> dict[str, Resolved | Unresolved]:
        loop = asyncio.get_running_loop()
        answers: dict[str, Resolved | Unresolved] = {}
        self._asked += 1
        rng = self._env.rng(f"dns/{self._asked}")
        socket = await self._env.host.udp()
        try:
            for name in names:
                resolution = Resolution(name, self._servers, self._profile.dns, rng)
                try:
                    answer = await drive(resolution, socket)
                except DnsError as error:
                    raise NetError(NetReason.UNREACHABLE, f"no name for DNS: {error}") from None
                assert isinstance(answer, Resolved | Unresolved)  # noqa: S101 - all results a Resolution has
                answers[name] = answer
                if isinstance(answer, Resolved):
                    self._cache.put(answer, loop.time())
        finally:
            socket.close()
        return answers


@lru_cache(maxsize=64)
def _in_order(dns: tuple[str, ...], fallbacks: tuple[str, ...], port: int) -> tuple[Address, ...]:
    """The same for all chargers of a site, of which there may be thousands in this process."""
    return tuple(Address(name, port) for name in dict.fromkeys((*dns, *fallbacks)))
