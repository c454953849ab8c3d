"""The DHCP client: gets an address, keeps it alive, loses it in order (RFC 2131 section 4.4, manual row M7)."""

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from emulator.machines.effects import Effect, Send
from emulator.profile import Dhcp
from emulator.wire.address import BROADCAST, UNSPECIFIED, Address
from emulator.wire.dhcp import (
    SERVER_PORT,
    DhcpError,
    DhcpMessage,
    Lease,
    MessageType,
    decode,
    encode,
    lease_from,
)

REQUEST_SENDS = 5  # RFC 2131 section 3.1.5: four retransmissions, then from the beginning
REBOOT_SENDS = 2  # invented: a server that does not know the old address may stay silent for ever (section 4.3.2)
RENEW_MIN_S = 60.0  # RFC 2131 section 4.4.5
RESTART_S = (1.0, 10.0)  # RFC 2131 section 4.4.1 desynchronises clients by this much
DECLINE_WAIT_S = 10.0  # RFC 2131 section 3.1 step 5
SOONEST_S = 0.1  # invented: no deadline but the end of a lease is nearer, whatever a server says
MAX_DOUBLINGS = 16  # longer than any cap; keeps 2**n finite after days of silence
PARAMETERS = (1, 3, 6, 51, 58, 59)  # mask, router, DNS, lease and its two timers
MAX_BYTES = 1500  # option 57: what lwIP asks for on Ethernet, its MTU
OFFERS_MAX = 8  # how many servers are remembered to have offered
WORDS_MAX = 120  # of what a server says in words


class State(StrEnum):
    """The client states of RFC 2131 figure 5, in its spelling."""

    INIT = "INIT"
    INIT_REBOOT = "INIT-REBOOT"
    REBOOTING = "REBOOTING"
    SELECTING = "SELECTING"
    REQUESTING = "REQUESTING"
    BOUND = "BOUND"
    RENEWING = "RENEWING"
    REBINDING = "REBINDING"


_CHOOSING = frozenset({State.SELECTING, State.REQUESTING})
_ASKED = frozenset({State.REBOOTING, State.REQUESTING, State.RENEWING, State.REBINDING})
_XID, _CHADDR = slice(4, 8), slice(28, 34)


@dataclass(frozen=True, slots=True)
class Bound:
    """A lease was granted, or granted again."""

    lease: Lease
    asked_in: State
    """REQUESTING or REBOOTING for a first one, RENEWING or REBINDING for a longer one."""


@dataclass(frozen=True, slots=True)
class Nak:
    """The server refused; the address must not be used any more. The client begins anew by itself, after a while."""

    asked_in: State
    server: str | None
    message: str | None
    """What the server says to people."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The lease ran out unrenewed; the address must not be used any more. The client begins anew by itself."""


class DhcpClient:
    """A `DatagramMachine` that never ends: it is driven to `Bound`, then on to the next result, and so on.

    `hostname` goes into option 12. With `remembered`, an address of an earlier life, it asks for that first. Of several
    offers the first that is of use is taken, and then only its server is listened to. Whoever is asked without being
    named (while rebooting and rebinding) may answer, and the first answer counts.
    """

    __slots__ = (
        "_asked_at",
        "_began_at",
        "_deadline",
        "_granted_at",
        "_hostname",
        "_mac",
        "_offer",
        "_remembered",
        "_rng",
        "_seed",
        "_sends",
        "_timing",
        "_xid",
        "lease",
        "no_use",
        "offered_by",
        "state",
    )

    def __init__(self, *, mac: str, hostname: str, timing: Dhcp, rng: Random, remembered: str | None = None) -> None:
        self.state = State.INIT if remembered is None else State.INIT_REBOOT
        self.lease: Lease | None = None
        self.offered_by: tuple[str, ...] = ()
        """Servers that have offered since the last DISCOVER, in order of arrival; more than one is worth a look."""
        self.no_use: str | None = None
        """What was wrong with the last reply that had to be ignored in this exchange."""
        self._mac = mac
        self._hostname = hostname
        self._timing = timing
        self._rng: Random | None = rng
        self._seed = 0
        """What the next random source begins from, while there is none."""
        self._remembered = remembered
        self._offer: DhcpMessage | None = None
        self._xid = 0
        self._sends = 0
        self._began_at = 0.0
        self._asked_at = 0.0
        self._granted_at = 0.0
        self._deadline = math.inf

    def start(self, now: float) -> list[Effect]:
        """Begin from nothing, or with the remembered address."""
        self.lease = None
        if self._remembered is None:
            return self._discover(now)
        self._enter(State.REBOOTING, now)
        return self._request(now, requested=self._remembered)

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]:
        """Take one datagram. What is not DHCP, not for us or not expected now is ignored."""
        if now >= self.expires_at:
            return self._give_up(Expired(), now)
        message = self._ours(data)
        if message is None:
            return []
        if message.type is MessageType.OFFER and self.state in _CHOOSING:
            self._note_offer(message.server)
            return self._take(message, now) if self.state is State.SELECTING else []
        if self.state in _ASKED and self._asked(message.server):
            if message.type is MessageType.ACK:
                return self._bind(message, now)
            if message.type is MessageType.NAK:
                words = message.message[:WORDS_MAX] if message.message else None
                return self._give_up(Nak(self.state, message.server, words), now)
        return []

    def release(self, now: float) -> list[Send]:
        """Give the address back and rest until the next `start` (RFC 2131 section 4.4.6). Nothing without a lease."""
        if self.lease is None:
            return []
        self._enter(State.INIT, now)
        lease, self.lease, self._remembered, self._deadline = self.lease, None, None, math.inf
        goodbye = self._last_word(MessageType.RELEASE, lease.server, client_address=lease.address)
        return [Send(encode(goodbye), Address(lease.server, SERVER_PORT))]

    def decline(self, now: float) -> list[Effect]:
        """Somebody else uses our address: refuse it and begin anew after a while. Nothing without a lease."""
        if self.lease is None:
            return []
        self._enter(State.INIT, now)
        lease, self.lease, self._remembered = self.lease, None, None
        self._wait_until(now + DECLINE_WAIT_S, now)
        refusal = self._last_word(MessageType.DECLINE, lease.server, requested=lease.address)
        return [Send(encode(refusal), Address(BROADCAST, SERVER_PORT))]

    def wake(self, now: float) -> list[Effect]:
        """Do what is due. Does nothing before the deadline."""
        if now < self._deadline:
            return []
        match self.state:
            case State.REBOOTING if self._remembered is not None and self._sends < REBOOT_SENDS:
                return self._request(now, requested=self._remembered)
            case State.SELECTING:
                return self._broadcast(self._message(MessageType.DISCOVER, now), now)
            case State.REQUESTING if self._offer is not None and self._sends < REQUEST_SENDS:
                return self._request(now, requested=self._offer.your_address, server=self._offer.server)
            case State.BOUND | State.RENEWING | State.REBINDING if self.lease is not None:
                return self._keep(self.lease, now)
            case _:
                return self._discover(now)

    def deadline(self) -> float | None:
        """When to call `wake`; None while there is nothing to do (before the start, or bound for ever)."""
        return None if math.isinf(self._deadline) else self._deadline

    @property
    def expires_at(self) -> float:
        """When the lease ends; infinity for an endless one, and without one."""
        return math.inf if self.lease is None else self._granted_at + self.lease.lease_s

    def _enter(self, state: State, now: float) -> None:
        """Begin an exchange of its own: replies that belong to an earlier one will not match."""
        self.state = state
        self._xid = self._random().getrandbits(32)
        self._sends = 0
        self._began_at = now
        self.no_use = None

    def _random(self) -> Random:
        if self._rng is None:
            self._rng = Random(self._seed)  # noqa: S311 - repeatable, never for secrets
        return self._rng

    def _ours(self, data: bytes) -> DhcpMessage | None:
        """The message in a datagram, if it belongs to the exchange that goes on."""
        if data[_XID] != self._xid.to_bytes(4, "big") or data[_CHADDR].hex(":") != self._mac:
            return None
        try:
            return decode(data)
        except DhcpError as error:
            self.no_use = str(error)
            return None

    def _note_offer(self, server: str | None) -> None:
        if server is not None and server not in self.offered_by and len(self.offered_by) < OFFERS_MAX:
            self.offered_by += (server,)

    def _discover(self, now: float) -> list[Effect]:
        self._remembered = self._offer = None
        self.offered_by = ()
        self._enter(State.SELECTING, now)
        return self._broadcast(self._message(MessageType.DISCOVER, now), now)

    def _take(self, offer: DhcpMessage, now: float) -> list[Effect]:
        try:
            lease_from(offer)
        except DhcpError as error:
            self.no_use = str(error)
            return []
        self._offer = offer
        self.state = State.REQUESTING
        self._sends = 0
        return self._request(now, requested=offer.your_address, server=offer.server)

    def _bind(self, ack: DhcpMessage, now: float) -> list[Effect]:
        try:
            lease = lease_from(ack)
        except DhcpError as error:
            self.no_use = str(error)
            return []
        if self._asked_at + lease.lease_s <= now + SOONEST_S:
            self.no_use = f"ACK of a lease of {lease.lease_s:g} s came {now - self._asked_at:.1f} s after the request"
            return []
        asked_in, self.state = self.state, State.BOUND
        self._seed, self._rng = self._random().getrandbits(64), None  # 2.5 KiB, and it is not needed for hours
        self.lease, self._offer = lease, None
        self._remembered = lease.address
        self._granted_at = self._asked_at
        self._wait_until(self._granted_at + lease.t1_s, now)
        return [Bound(lease, asked_in)]

    def _give_up(self, result: Nak | Expired, now: float) -> list[Effect]:
        self.state = State.INIT
        self.lease = self._remembered = None
        self._wait_until(now + self._random().uniform(*RESTART_S), now)
        return [result]

    def _keep(self, lease: Lease, now: float) -> list[Effect]:
        """Renew from T1, rebind from T2, give up at the end (RFC 2131 section 4.4.5)."""
        t2_at, expires_at = self._granted_at + lease.t2_s, self.expires_at
        if now >= expires_at:
            return self._give_up(Expired(), now)
        state, host, until = State.RENEWING, lease.server, t2_at
        if now >= t2_at:
            state, host, until = State.REBINDING, BROADCAST, expires_at
        if state is not self.state:
            self._enter(state, now)
        self._asked_at = now
        self._wait_until(min(until, now + max(RENEW_MIN_S, (until - now) / 2)), now)
        self._deadline = min(self._deadline, expires_at)
        request = self._message(MessageType.REQUEST, now, client_address=lease.address)
        return [Send(encode(request), Address(host, SERVER_PORT))]

    def _asked(self, server: str | None) -> bool:
        """Whether our request went to this server, or to all."""
        if self.state is State.REQUESTING and self._offer is not None:
            return server in (None, self._offer.server)
        if self.state is State.RENEWING and self.lease is not None:
            return server in (None, self.lease.server)
        return True

    def _request(self, now: float, *, requested: str, server: str | None = None) -> list[Effect]:
        self._asked_at = now
        return self._broadcast(self._message(MessageType.REQUEST, now, requested=requested, server=server), now)

    def _broadcast(self, message: DhcpMessage, now: float) -> list[Effect]:
        """Send to every server, and again after 4, 8, 16 ... s, give or take one (RFC 2131 section 4.1)."""
        timing = self._timing
        delay_s = min(timing.first_retransmit_s * 2 ** min(self._sends, MAX_DOUBLINGS), timing.max_retransmit_s)
        self._sends += 1
        self._wait_until(now + delay_s + self._random().uniform(-timing.jitter_s, timing.jitter_s), now)
        return [Send(encode(message), Address(BROADCAST, SERVER_PORT))]

    def _message(
        self,
        type_: MessageType,
        now: float,
        *,
        client_address: str = UNSPECIFIED,
        requested: str | None = None,
        server: str | None = None,
    ) -> DhcpMessage:
        return DhcpMessage(
            type=type_,
            xid=self._xid,
            mac=self._mac,
            secs=min(int(now - self._began_at), 0xFFFF),
            broadcast=client_address == UNSPECIFIED,
            client_address=client_address,
            hostname=self._hostname,
            requested=requested,
            server=server,
            parameters=PARAMETERS,
            max_bytes=MAX_BYTES,
        )

    def _last_word(
        self, type_: MessageType, server: str, *, client_address: str = UNSPECIFIED, requested: str | None = None
    ) -> DhcpMessage:
        """A message that nobody answers: it says nothing but what it is about (RFC 2131 table 5)."""
        return DhcpMessage(
            type=type_,
            xid=self._xid,
            mac=self._mac,
            client_address=client_address,
            requested=requested,
            server=server,
        )

    def _wait_until(self, when: float, now: float) -> None:
        self._deadline = max(when, now + SOONEST_S)
