"""The DHCP server of the site: an authoritative RFC 2131 server (manual row M7)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import ClassVar

from cloud_stub.service import DatagramService, Reply
from cloud_stub.site import dhcp_faults as faults
from cloud_stub.site.dhcp_pool import Scope
from emulator.clock import Utc
from emulator.faults import Fault
from emulator.net.api import Address
from emulator.wire.address import BROADCAST, UNSPECIFIED
from emulator.wire.dhcp import (
    CLIENT_PORT,
    MAX_BYTES_LEAST,
    SERVER_PORT,
    DhcpError,
    DhcpMessage,
    MessageType,
    decode,
    encode,
)
from emulator.wire.dhcp_options import build_options

Answer = tuple[str, DhcpMessage | None]
"""Words for the history, and the reply."""


class DhcpServer(DatagramService):
    """Lends addresses of `scope`, and to clients behind a relay those of the scope in `relayed` that has the relay.

    `renumbered` takes the place of `scope` while the fault of that name is active; `rogue` is what the second server
    lends, who is on the network while that fault is.
    """

    name = "dhcp"
    port = SERVER_PORT
    FAULTS: ClassVar[tuple[type[Fault], ...]] = faults.FAULTS

    def __init__(
        self,
        scope: Scope,
        *,
        renumbered: Scope,
        rogue: Scope,
        relayed: Sequence[Scope] = (),
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self._scope = scope
        self._renumbered = renumbered
        self._rogue = rogue
        self._relayed = tuple(relayed)
        self._clients: dict[str, str] = {}

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        try:
            asked = decode(request)
        except DhcpError:
            return []
        who = self._who(asked)
        rogue = self.faults.strikes(faults.Rogue, who) if asked.relay == UNSPECIFIED else None
        others = [] if rogue is None else self._from_rogue(asked, who, sender)
        ours = self._from_site(asked, who, sender)
        return others + ours if rogue is None or rogue.first else ours + others

    def leases(self) -> dict[str, str]:
        """MAC to address of the leases that run now, on all networks."""
        leases: dict[str, str] = {}
        for scope in (self._scope, self._renumbered, *self._relayed):
            leases |= scope.pool.leases(self.now())
        return leases

    def client_at(self, address: str) -> str:
        """Host name (or else MAC) of the client that got this address last; the address itself if nobody did."""
        return self._clients.get(address, address)

    def _who(self, asked: DhcpMessage) -> str:
        """Host name, or else MAC. RELEASE and DECLINE carry no name (RFC 2131 table 5), but an address that has one."""
        held = asked.requested if asked.type is MessageType.DECLINE else asked.client_address
        return asked.hostname or self._clients.get(held or UNSPECIFIED, asked.mac)

    def _from_site(self, asked: DhcpMessage, who: str, sender: Address) -> list[Reply]:
        scope, replies = self._scope_for(asked, who), list[Reply]()
        if scope is None:
            text = "no network for this relay"
        else:
            text, reply = self._react(asked, who, scope)
            try:
                replies += [] if reply is None else [self._send(asked, who, scope, reply, sender)]
            except DhcpError as error:
                text = f"{text} is lost: {error}"
        self.record(sender, f"{asked.type.name} {asked.mac}", text, hostname=asked.hostname)
        return replies

    def _from_rogue(self, asked: DhcpMessage, who: str, sender: Address) -> list[Reply]:
        """What the second server does: it is not authoritative, so it answers only who has not chosen another."""
        scope, reply, text = self._rogue, None, ""
        if asked.type is MessageType.DISCOVER:
            text, reply = self._on_discover(asked, scope)
        elif asked.type is MessageType.REQUEST and asked.server == scope.server:
            text, reply = self._on_request(asked, who, scope)
        if reply is None:
            return []
        self.record(sender, f"{asked.type.name} {asked.mac}", text, hostname=asked.hostname, server=scope.server)
        return [Reply(encode(reply), _way_back(asked, reply, sender))]

    def _scope_for(self, asked: DhcpMessage, who: str) -> Scope | None:
        """By the relay's address, else by that of a client which renews (RFC 2131 section 4.3.1)."""
        home = self._renumbered if self.faults.strikes(faults.Renumber, who) else self._scope
        where = asked.relay if asked.relay != UNSPECIFIED else asked.client_address
        if where == UNSPECIFIED:
            return home
        known = next((scope for scope in (home, *self._relayed) if scope.has(where)), None)
        return home if known is None and asked.relay == UNSPECIFIED else known

    def _react(self, asked: DhcpMessage, who: str, scope: Scope) -> Answer:
        name = asked.type.name
        if self.faults.strikes(faults.Silence, who, when=lambda fault: fault.to in ("*", name)):
            return "silence", None
        match asked.type:
            case MessageType.DISCOVER if self._is_shut(asked, who, scope):
                return "no address left", None
            case MessageType.DISCOVER if self.faults.strikes(faults.Conflict, who):
                scope.pool.hold_taken(asked.mac, _number(scope.server), self.now())
                return _grant(MessageType.OFFER, asked, scope, scope.server)
            case MessageType.DISCOVER:
                return self._on_discover(asked, scope)
            case MessageType.REQUEST:
                return self._on_site_request(asked, who, scope)
            case MessageType.RELEASE:
                return self._on_release(asked, scope)
            case MessageType.DECLINE:
                return self._on_decline(asked, scope)
            case MessageType.INFORM:
                return f"ACK {asked.client_address}", _told(MessageType.ACK, asked, scope)
            case _:
                return "ignored", None

    def _on_discover(self, asked: DhcpMessage, scope: Scope) -> Answer:
        wanted = _number(asked.requested) if asked.requested else None
        address = scope.pool.offer(asked.mac, wanted, self.now(), own=scope.own(asked.mac, asked.hostname))
        if address is None:
            return "no address left", None
        return _grant(MessageType.OFFER, asked, scope, str(IPv4Address(address)))

    def _on_site_request(self, asked: DhcpMessage, who: str, scope: Scope) -> Answer:
        """The four kinds of request of RFC 2131 section 4.3.2, as an authoritative server treats them."""
        if asked.server not in (None, scope.server):
            scope.pool.release(asked.mac, self.now())
            return "chose another server", None
        if self.faults.strikes(faults.Nak, who) or self._is_shut(asked, who, scope):
            return _refuse(asked, scope, "address not available")
        return self._on_request(asked, who, scope)

    def _on_request(self, asked: DhcpMessage, who: str, scope: Scope) -> Answer:
        wanted = _wanted(asked)
        if not scope.has(wanted):
            return _refuse(asked, scope, "wrong network")
        if not self._lease(asked, scope, wanted, scope.lease_s):
            return _refuse(asked, scope, "address not available")
        self._clients[wanted] = who
        return _grant(MessageType.ACK, asked, scope, wanted)

    def _on_release(self, asked: DhcpMessage, scope: Scope) -> Answer:
        if scope.pool.address_of(asked.mac, self.now()) != _number(asked.client_address):
            return "ignored: not the address of this client", None
        scope.pool.release(asked.mac, self.now())
        return "released", None

    def _on_decline(self, asked: DhcpMessage, scope: Scope) -> Answer:
        if scope.pool.address_of(asked.mac, self.now()) != _number(asked.requested or UNSPECIFIED):
            return "ignored: not the address of this client", None
        scope.pool.decline(asked.mac, self.now())
        return "declined", None

    def _is_shut(self, asked: DhcpMessage, who: str, scope: Scope) -> bool:
        newcomer = scope.pool.address_of(asked.mac, self.now()) is None
        return newcomer and self.faults.strikes(faults.Exhausted, who) is not None

    def _send(self, asked: DhcpMessage, who: str, scope: Scope, reply: DhcpMessage, sender: Address) -> Reply:
        """A reply as it leaves. DhcpError: it has no room for all that it should say."""
        strikes = self.faults.strikes
        instead: dict[int, bytes | None] = {}
        overload = None
        if reply.type is not MessageType.NAK:
            reply, instead = self._spoil(asked, who, scope, reply)
            overload = strikes(faults.Overload, who)
        slow = strikes(faults.Slow, who)
        room = max(asked.max_bytes or 0, MAX_BYTES_LEAST)
        data = encode(reply, max_bytes=room, overload=overload is not None, instead=instead)
        return Reply(data, _way_back(asked, reply, sender), 0.0 if slow is None else slow.delay_s)

    def _spoil(
        self, asked: DhcpMessage, who: str, scope: Scope, reply: DhcpMessage
    ) -> tuple[DhcpMessage, dict[int, bytes | None]]:
        """What the faults make of a reply, and the options that they replace by bytes."""
        strikes = self.faults.strikes
        if strikes(faults.NoDns, who):
            reply = replace(reply, dns=())
        if wrong := strikes(faults.WrongDns, who):
            reply = replace(reply, dns=(wrong.dns,))
        if reply.lease_s is not None and (short := strikes(faults.ShortLease, who)):
            reply = replace(reply, lease_s=short.lease_s)
            if reply.type is MessageType.ACK:
                self._lease(asked, scope, reply.your_address, short.lease_s)
        struck: dict[int, bytes | None] = {}
        while option := strikes(faults.Option, who, when=lambda fault: fault.code not in struck):
            struck[option.code] = None if option.hex is None else bytes.fromhex(option.hex)
        instead = scope.options | struck
        if cut := strikes(faults.ShortOption, who):
            whole = dict(build_options(reply, instead)).get(cut.option)
            instead |= {cut.option: whole and whole[:-1]}
        return reply, instead

    def _lease(self, asked: DhcpMessage, scope: Scope, address: str, lease_s: float) -> bool:
        own = scope.own(asked.mac, asked.hostname)
        return scope.pool.lease(asked.mac, _number(address), self.now(), own=own, lease_s=lease_s)


def _grant(kind: MessageType, asked: DhcpMessage, scope: Scope, address: str) -> Answer:
    told = _told(kind, asked, scope)
    return f"{kind.name} {address}", replace(told, your_address=address, lease_s=scope.lease_s)


def _refuse(asked: DhcpMessage, scope: Scope, words: str) -> Answer:
    return f"NAK {_wanted(asked)}", replace(_bare(MessageType.NAK, asked, scope), message=words)


def _told(kind: MessageType, asked: DhcpMessage, scope: Scope) -> DhcpMessage:
    """A reply with all that a client of this network has to know, but no address yet."""
    return replace(
        _bare(kind, asked, scope),
        client_address=asked.client_address if kind is MessageType.ACK else UNSPECIFIED,
        prefix_length=scope.network.prefixlen,
        routers=(scope.router,) if scope.router else (),
        dns=scope.dns,
    )


def _bare(kind: MessageType, asked: DhcpMessage, scope: Scope) -> DhcpMessage:
    """What every reply says (RFC 2131 table 3; the client's identifier by RFC 6842)."""
    by_relay = asked.relay != UNSPECIFIED
    return DhcpMessage(
        type=kind,
        xid=asked.xid,
        mac=asked.mac,
        broadcast=asked.broadcast or (by_relay and kind is MessageType.NAK),
        relay=asked.relay,
        server=scope.server,
        client_id=asked.client_id,
    )


def _wanted(asked: DhcpMessage) -> str:
    return asked.requested or asked.client_address


def _number(address: str) -> int:
    return int(IPv4Address(address))


def _way_back(asked: DhcpMessage, reply: DhcpMessage, sender: Address) -> Address:
    """Where a reply goes (RFC 2131 section 4.1)."""
    if asked.relay != UNSPECIFIED:
        return Address(asked.relay, SERVER_PORT)
    if asked.client_address != UNSPECIFIED and reply.type is not MessageType.NAK:
        return Address(asked.client_address, CLIENT_PORT, link=sender.link)
    return Address(BROADCAST, CLIENT_PORT, link=sender.link)
