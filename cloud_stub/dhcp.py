"""The DHCP server of the site: an authoritative RFC 2131 server with one pool (manual row M7)."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from random import Random
from typing import ClassVar

from cloud_stub.service import DatagramService, Reply
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Fault
from emulator.net.api import Address
from emulator.wire.address import BROADCAST, UNSPECIFIED
from emulator.wire.dhcp import CLIENT_PORT, INFINITE_S, SERVER_PORT, DhcpError, DhcpMessage, MessageType, decode, encode

POOL_MAX = 1 << 18
OFFER_HOLD_S = 60.0  # invented; RFC 2131 section 3.1 leaves it to the server


@dataclass(frozen=True, kw_only=True)
class Silence(Fault):
    """The server does not answer. `who` is the client's host name."""

    kind: ClassVar[str] = "dhcp.silence"


@dataclass(frozen=True, kw_only=True)
class NoDns(Fault):
    """The server names no DNS server (manual row M8)."""

    kind: ClassVar[str] = "dhcp.no_dns"


@dataclass(frozen=True, kw_only=True)
class Exhausted(Fault):
    """The pool has no address for newcomers: no offer, and a NAK for who asks for an address by itself."""

    kind: ClassVar[str] = "dhcp.exhausted"


@dataclass(frozen=True, kw_only=True)
class Nak(Fault):
    """The server offers, but refuses every request."""

    kind: ClassVar[str] = "dhcp.nak"


class Pool:
    """Addresses `first` to `last` as whole numbers: free, held for an offer, or leased. Each step costs the same.

    A client gets its former address again while nobody else has it.
    """

    def __init__(self, first: int, last: int, *, without: Sequence[int] = (), lease_s: float) -> None:
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(first, last + 1))
        for address in without:
            self._free.pop(address, None)
        self.size = len(self._free)
        self._lease_s = lease_s
        self._offered: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._leased: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._declined: OrderedDict[int, float] = OrderedDict()
        self._former: OrderedDict[str, int] = OrderedDict()

    def address_of(self, mac: str, now: float) -> int | None:
        """What a client has leased or was offered."""
        self._expire(now)
        held = self._leased.get(mac) or self._offered.get(mac)
        return held[0] if held else None

    def offer(self, mac: str, wanted: int | None, now: float) -> int | None:
        """Hold an address for a client: its own, its former, the wanted or the longest free one. None: all taken."""
        address = self.address_of(mac, now)
        if address is None:
            address = self._pick(mac, wanted)
        if address is not None and mac not in self._leased:
            self._hold(self._offered, mac, address, now + OFFER_HOLD_S)
        return address

    def lease(self, mac: str, wanted: int, now: float) -> bool:
        """Lease the wanted address for the full time from now, if it is the client's or nobody's."""
        own = self.address_of(mac, now)
        if own != wanted:
            if wanted not in self._free:
                return False
            self.release(mac, now)
            del self._free[wanted]
        self._offered.pop(mac, None)
        self._hold(self._leased, mac, wanted, now + self._lease_s)
        self._remember(mac, wanted)
        return True

    def release(self, mac: str, now: float) -> None:
        """Take back what a client holds."""
        self._expire(now)
        held = self._leased.pop(mac, None) or self._offered.pop(mac, None)
        if held is not None:
            self._free[held[0]] = None

    def decline(self, mac: str, now: float) -> None:
        """The client found its address in use by a stranger: nobody gets it for the time of a lease."""
        address = self.address_of(mac, now)
        if address is not None:
            self.release(mac, now)
            del self._free[address]
            self._former.pop(mac, None)
            self._declined[address] = now + self._lease_s

    def leases(self, now: float) -> dict[str, str]:
        """MAC to address of the leases that run."""
        self._expire(now)
        return {mac: str(IPv4Address(address)) for mac, (address, _) in self._leased.items()}

    def _pick(self, mac: str, wanted: int | None) -> int | None:
        for address in (self._former.get(mac), wanted):
            if address is not None and address in self._free:
                del self._free[address]
                return address
        return self._free.popitem(last=False)[0] if self._free else None

    def _hold(self, where: OrderedDict[str, tuple[int, float]], mac: str, address: int, until: float) -> None:
        where[mac] = (address, until)
        where.move_to_end(mac)  # all entries of one kind live equally long, so the order is that of their ends

    def _remember(self, mac: str, address: int) -> None:
        self._former[mac] = address
        self._former.move_to_end(mac)
        if len(self._former) > self.size:
            self._former.popitem(last=False)

    def _expire(self, now: float) -> None:
        for held in (self._offered, self._leased):
            while held and next(iter(held.values()))[1] <= now:
                _, (address, _) = held.popitem(last=False)
                self._free[address] = None
        while self._declined and next(iter(self._declined.values())) <= now:
            self._free[self._declined.popitem(last=False)[0]] = None


class DhcpServer(DatagramService):
    """Lends the addresses `pool_first` to `pool_last` of the network around `address`, the server's own.

    `router` and `dns` go to the clients, and are never lent. UsageError for a pool that is empty, too large or outside
    the network.
    """

    name = "dhcp"
    port = SERVER_PORT
    FAULTS = (Silence, NoDns, Exhausted, Nak)

    def __init__(
        self,
        *,
        address: str,
        prefix_length: int,
        pool_first: str,
        pool_last: str,
        router: str | None = None,
        dns: Sequence[str] = (),
        lease_s: int = 86400,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self.address = address
        self.prefix_length = prefix_length
        self.router = router
        self.dns = tuple(dns)
        self.lease_s = lease_s
        self.pool = _pool(address, prefix_length, pool_first, pool_last, [*dns, *([router] if router else [])], lease_s)
        self._clients: dict[str, str] = {}

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        try:
            asked = decode(request)
        except DhcpError:
            return []
        text, reply = self._react(asked)
        self.record(sender, f"{asked.type.name} {asked.mac}", text, hostname=asked.hostname)
        return [] if reply is None else [Reply(encode(reply), _way_back(asked, reply, sender))]

    def leases(self) -> dict[str, str]:
        """MAC to address of the leases that run now."""
        return self.pool.leases(self.now())

    def client_at(self, address: str) -> str:
        """Host name (or else MAC) of the client that got this address last; the address itself if nobody did."""
        return self._clients.get(address, address)

    def _react(self, asked: DhcpMessage) -> tuple[str, DhcpMessage | None]:
        """Words for the history, and the reply."""
        if self.faults.strikes(Silence, _who(asked)):
            return "silence", None
        match asked.type:
            case MessageType.DISCOVER:
                return self._on_discover(asked)
            case MessageType.REQUEST:
                return self._on_request(asked)
            case MessageType.RELEASE:
                self.pool.release(asked.mac, self.now())
                return "released", None
            case MessageType.DECLINE:
                self.pool.decline(asked.mac, self.now())
                return "declined", None
            case _:
                return "ignored", None

    def _on_discover(self, asked: DhcpMessage) -> tuple[str, DhcpMessage | None]:
        now = self.now()
        if self._is_shut(asked):
            return "no address left", None
        wanted = int(IPv4Address(asked.requested)) if asked.requested else None
        address = self.pool.offer(asked.mac, wanted, now)
        if address is None:
            return "no address left", None
        return self._grant(MessageType.OFFER, asked, str(IPv4Address(address)))

    def _on_request(self, asked: DhcpMessage) -> tuple[str, DhcpMessage | None]:
        """The four kinds of request of RFC 2131 section 4.3.2, as an authoritative server treats them."""
        if asked.server not in (None, self.address):
            self.pool.release(asked.mac, self.now())
            return "chose another server", None
        wanted = asked.requested or asked.client_address
        if self.faults.strikes(Nak, _who(asked)) or self._is_shut(asked):
            return self._refuse(asked, wanted)
        if not self.pool.lease(asked.mac, int(IPv4Address(wanted)), self.now()):
            return self._refuse(asked, wanted)
        self._clients[wanted] = _who(asked)
        return self._grant(MessageType.ACK, asked, wanted)

    def _is_shut(self, asked: DhcpMessage) -> bool:
        newcomer = self.pool.address_of(asked.mac, self.now()) is None
        return newcomer and self.faults.strikes(Exhausted, _who(asked)) is not None

    def _grant(self, kind: MessageType, asked: DhcpMessage, address: str) -> tuple[str, DhcpMessage]:
        no_dns = self.faults.strikes(NoDns, _who(asked)) is not None
        reply = DhcpMessage(
            type=kind,
            xid=asked.xid,
            mac=asked.mac,
            broadcast=asked.broadcast,
            client_address=asked.client_address if kind is MessageType.ACK else UNSPECIFIED,
            your_address=address,
            relay=asked.relay,
            prefix_length=self.prefix_length,
            routers=(self.router,) if self.router else (),
            dns=() if no_dns else self.dns,
            lease_s=self.lease_s,
            server=self.address,
        )
        return f"{kind.name} {address}", reply

    def _refuse(self, asked: DhcpMessage, wanted: str) -> tuple[str, DhcpMessage]:
        reply = DhcpMessage(
            type=MessageType.NAK,
            xid=asked.xid,
            mac=asked.mac,
            broadcast=asked.broadcast,
            relay=asked.relay,
            server=self.address,
            message="address not available",
        )
        return f"NAK {wanted}", reply


def _who(asked: DhcpMessage) -> str:
    return asked.hostname or asked.mac


def _way_back(asked: DhcpMessage, reply: DhcpMessage, sender: Address) -> Address:
    """Where a reply goes (RFC 2131 section 4.1); relays are not served."""
    if asked.client_address != UNSPECIFIED and reply.type is not MessageType.NAK:
        return Address(asked.client_address, CLIENT_PORT, link=sender.link)
    return Address(BROADCAST, CLIENT_PORT, link=sender.link)


def _pool(address: str, prefix_length: int, first: str, last: str, others: list[str], lease_s: float) -> Pool:
    if not 1 <= lease_s <= INFINITE_S:
        raise UsageError(f"dhcp pool: a lease of {lease_s} s")
    try:
        network = IPv4Network(f"{address}/{prefix_length}", strict=False)
        low, high = IPv4Address(first), IPv4Address(last)
        taken = [IPv4Address(host) for host in (address, *others)]
    except (AddressValueError, ValueError) as error:
        raise UsageError(f"dhcp pool: {error}") from None
    if low not in network or high not in network or not 0 <= int(high) - int(low) < POOL_MAX:
        raise UsageError(f"dhcp pool: {first} to {last} is not a range of up to {POOL_MAX} addresses in {network}")
    edges = [network.network_address, network.broadcast_address] if prefix_length < 31 else []
    pool = Pool(int(low), int(high), without=[int(one) for one in [*taken, *edges]], lease_s=lease_s)
    if not pool.size:
        raise UsageError(f"dhcp pool: {first} to {last} leaves no address to lend")
    return pool
