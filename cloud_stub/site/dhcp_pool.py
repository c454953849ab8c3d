"""What a DHCP server lends: the addresses of a pool, and the networks that it has pools for."""

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from types import MappingProxyType

from emulator.errors import UsageError
from emulator.wire.dhcp import INFINITE_S

POOL_MAX = 1 << 18
OFFER_HOLD_S = 60.0  # invented; RFC 2131 section 3.1 leaves it to the server
SLACK = 64  # ends of leases that are kept although they have been put off since

_NO_RESERVATIONS: Mapping[str, str] = MappingProxyType({})
_NO_OPTIONS: Mapping[int, bytes | None] = MappingProxyType({})


@dataclass(slots=True)
class _Held:
    address: int
    until: float
    leased: bool
    """Otherwise it is only offered."""


class _Free:
    """The addresses that nobody holds: `first` to `last`, then those that came back. Those never lent take no memory.

    Each of `without` is held from the start, whether it is in the range or not.
    """

    __slots__ = ("_came_back", "_gone", "_last", "_next")

    def __init__(self, first: int, last: int, without: Iterable[int]) -> None:
        self._next = first
        self._last = last
        self._gone = {address for address in without if first <= address <= last}
        """Addresses from `_next` on that are held."""
        self._came_back: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return self._last + 1 - self._next - len(self._gone) + len(self._came_back)

    def __contains__(self, address: int) -> bool:
        fresh = self._next <= address <= self._last and address not in self._gone
        return fresh or address in self._came_back

    def longest(self) -> int | None:
        """The one that has been free for the longest time."""
        while self._next in self._gone:
            self._gone.remove(self._next)
            self._next += 1
        return self._next if self._next <= self._last else next(iter(self._came_back), None)

    def take(self, address: int) -> None:
        """Somebody holds it from now on."""
        if address in self._came_back:
            del self._came_back[address]
        elif self._next <= address <= self._last:
            self._gone.add(address)

    def give_back(self, address: int) -> None:
        """Nobody holds it any more."""
        self._came_back[address] = None


class Pool:
    """Addresses `first` to `last` as whole numbers: free, held for an offer, or leased. Each step costs about the same.

    A client gets its former address again while nobody else has it. `reserved` addresses, in the range or not, go to
    those for whom the caller names them as their `own`.
    """

    def __init__(
        self, first: int, last: int, *, without: Sequence[int] = (), reserved: Sequence[int] = (), lease_s: float
    ) -> None:
        self._free = _Free(first, last, (*without, *reserved))
        self._reserved = frozenset(reserved)
        self._without = frozenset(without)
        self._reserved_free = set(reserved)
        self.size = len(self._free) + len(self._reserved)
        self._lease_s = lease_s
        self._held: dict[str, _Held] = {}
        self._ends: list[tuple[float, str]] = []
        self._declined: OrderedDict[int, float] = OrderedDict()
        self._former: OrderedDict[str, int] = OrderedDict()

    def address_of(self, mac: str, now: float) -> int | None:
        """What a client has leased or was offered."""
        self._expire(now)
        held = self._held.get(mac)
        return held.address if held else None

    def offer(self, mac: str, wanted: int | None, now: float, *, own: int | None = None) -> int | None:
        """Hold an address for a client: its own, its former, the wanted or the longest free one. None: all taken.

        With `own`, the address that is reserved for it, it gets that or none.
        """
        address = self.address_of(mac, now)
        if address is not None and own not in (None, address):
            self.release(mac, now)
            address = None
        if address is None:
            address = self._pick(mac, wanted, own)
        if address is not None and not self._is_leased(mac):
            self._hold(mac, address, now + OFFER_HOLD_S, leased=False)
        return address

    def hold_taken(self, mac: str, address: int, now: float) -> None:
        """Hold an address for a client as if it could be lent; it is one of `without`, which somebody has."""
        self.release(mac, now)
        self._hold(mac, address, now + OFFER_HOLD_S, leased=False)

    def lease(self, mac: str, wanted: int, now: float, *, own: int | None = None, lease_s: float | None = None) -> bool:
        """Lease the wanted address from now, for `lease_s` or the full time, if it is the client's or nobody's."""
        if own not in (None, wanted):
            return False
        if self.address_of(mac, now) != wanted:
            if not self._is_free(wanted, own):
                return False
            self.release(mac, now)
            self._take(wanted)
        self._hold(mac, wanted, now + (self._lease_s if lease_s is None else lease_s), leased=True)
        self._remember(mac, wanted)
        return True

    def release(self, mac: str, now: float) -> None:
        """Take back what a client holds."""
        self._expire(now)
        held = self._held.pop(mac, None)
        if held is not None:
            self._give_back(held.address)

    def decline(self, mac: str, now: float) -> None:
        """The client found its address in use by a stranger: nobody gets it for the full time of a lease."""
        address = self.address_of(mac, now)
        if address is not None:
            del self._held[mac]
            self._former.pop(mac, None)
            self._declined[address] = now + self._lease_s

    def leases(self, now: float) -> dict[str, str]:
        """MAC to address of the leases that run."""
        self._expire(now)
        return {mac: str(IPv4Address(held.address)) for mac, held in self._held.items() if held.leased}

    def _is_leased(self, mac: str) -> bool:
        held = self._held.get(mac)
        return held is not None and held.leased

    def _is_free(self, address: int, own: int | None) -> bool:
        return address in (self._reserved_free if address == own else self._free)

    def _pick(self, mac: str, wanted: int | None, own: int | None) -> int | None:
        wishes = (self._former.get(mac), wanted, self._free.longest()) if own is None else (own,)
        for address in wishes:
            if address is not None and self._is_free(address, own):
                self._take(address)
                return address
        return None

    def _take(self, address: int) -> None:
        self._free.take(address)
        self._reserved_free.discard(address)

    def _give_back(self, address: int) -> None:
        if address in self._reserved:
            self._reserved_free.add(address)
        elif address not in self._without:
            self._free.give_back(address)

    def _hold(self, mac: str, address: int, until: float, *, leased: bool) -> None:
        self._held[mac] = _Held(address, until, leased)
        heapq.heappush(self._ends, (until, mac))
        if len(self._ends) > 2 * len(self._held) + SLACK:
            self._ends = [(held.until, each) for each, held in self._held.items()]
            heapq.heapify(self._ends)

    def _remember(self, mac: str, address: int) -> None:
        self._former[mac] = address
        self._former.move_to_end(mac)
        if len(self._former) > self.size:
            self._former.popitem(last=False)

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, mac = heapq.heappop(self._ends)
            held = self._held.get(mac)
            if held is not None and held.until == until:  # not put off since
                del self._held[mac]
                self._give_back(held.address)
        while self._declined and next(iter(self._declined.values())) <= now:
            self._give_back(self._declined.popitem(last=False)[0])


class Scope:
    """One network that a server lends addresses of, and what it tells its clients there.

    `network` is ``10.20.0.0/16``, `server` the address that the server goes by, `pool` the first and last address to
    lend. `router` and `dns` go to the clients; they and the server are never lent. `reservations` give a MAC address
    (in lower case) or a host name an address of its own. `options` replaces or adds options of every OFFER and ACK by
    their bytes; None leaves one out. UsageError for a pool that is empty, too large or outside the network.
    """

    def __init__(
        self,
        *,
        network: str,
        server: str,
        pool: tuple[str, str],
        router: str | None = None,
        dns: Sequence[str] = (),
        lease_s: int = 86400,
        reservations: Mapping[str, str] = _NO_RESERVATIONS,
        options: Mapping[int, bytes | None] = _NO_OPTIONS,
    ) -> None:
        if not 1 <= lease_s <= INFINITE_S:
            raise UsageError(f"dhcp pool: a lease of {lease_s} s")
        taken = [server, *dns, *([router] if router else [])]
        try:
            self.network = IPv4Network(network)
            low, high, *others = [int(IPv4Address(each)) for each in (*pool, *taken)]
            self._own = {name: int(IPv4Address(each)) for name, each in reservations.items()}
        except (AddressValueError, ValueError) as error:
            raise UsageError(f"dhcp pool: {error}") from None
        self.server = server
        self.router = router
        self.dns = tuple(dns)
        self.lease_s = lease_s
        self.options = dict(options)
        self.pool = self._pool(low, high, others)

    def own(self, mac: str, hostname: str | None) -> int | None:
        """The address that is reserved for a client."""
        return self._own.get(mac) or (self._own.get(hostname) if hostname else None)

    def has(self, address: str) -> bool:
        """Whether an address belongs to this network."""
        return IPv4Address(address) in self.network

    def _pool(self, low: int, high: int, others: list[int]) -> Pool:
        edges = [int(self.network.network_address), int(self.network.broadcast_address)]
        without = [*others, *(edges if self.network.prefixlen < 31 else [])]
        words = f"dhcp pool: {IPv4Address(low)} to {IPv4Address(high)}"
        if any(IPv4Address(each) not in self.network for each in (low, high)) or not 0 <= high - low < POOL_MAX:
            raise UsageError(f"{words} is not a range of up to {POOL_MAX} addresses in {self.network}")
        reserved = list(self._own.values())
        for address in reserved:
            if IPv4Address(address) not in self.network or address in without or reserved.count(address) > 1:
                raise UsageError(f"dhcp pool: {IPv4Address(address)} cannot be reserved in {self.network}")
        pool = Pool(low, high, without=without, reserved=reserved, lease_s=self.lease_s)
        if not pool.size:
            raise UsageError(f"{words} leaves no address to lend")
        return pool
