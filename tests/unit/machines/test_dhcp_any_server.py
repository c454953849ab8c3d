"""The DHCP client against servers that do as they like, with time that jumps."""

from collections import deque
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from emulator.machines.dhcp import (
    DECLINE_WAIT_S,
    OFFERS_MAX,
    RESTART_S,
    Bound,
    DhcpClient,
    Expired,
    Nak,
    State,
)
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.dhcp import INFINITE_S, DhcpMessage, MessageType, decode, encode

MAC = "02:5a:70:72:00:01"
SERVERS = ("192.168.40.1", "192.168.40.2", "10.0.0.66")
HOUR_S = 3600.0
SENDS_MAX_PER_HOUR = 4 * HOUR_S
"""A server that lends for one second, or refuses what it has just offered, keeps a client as busy as this."""

seconds = st.none() | st.sampled_from([0, 1, 2, 3, 60, 3600, 86400, INFINITE_S - 1, INFINITE_S])
spoils = st.fixed_dictionaries(
    {},
    optional={
        "lease_s": seconds,
        "t1_s": seconds,
        "t2_s": seconds,
        "server": st.none() | st.sampled_from(SERVERS),
        "your_address": st.sampled_from(["0.0.0.0", "192.168.40.9", "255.255.255.255"]),
        "xid": st.integers(0, 0xFFFFFFFF),
        "mac": st.just("02:00:00:00:00:02"),
        "message": st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300),
    },
)
raw = st.none() | st.binary(max_size=300)
options = st.dictionaries(st.integers(1, 254).filter(lambda code: code not in (52, 53)), raw, max_size=3)


class AnyServer(RuleBasedStateMachine):
    """Legal and illegal replies, late and double ones, garbage, and long waits."""

    @initialize(seed=st.integers(0, 99), remembered=st.none() | st.just("192.168.40.107"))
    def begin(self, seed: int, remembered: str | None) -> None:
        timing = load_profile("pro").dhcp
        self.client = DhcpClient(mac=MAC, hostname="ZPR1", timing=timing, rng=Random(seed), remembered=remembered)
        self.now = 0.0
        self.sends: deque[float] = deque()
        self.asked: DhcpMessage | None = None
        self.replies: deque[bytes] = deque(maxlen=20)
        self.rests_until = 0.0
        self.take(self.client.start(self.now))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.asked = decode(effect.data)
                self.sends.append(self.now)
                assert self.now >= self.rests_until, "it speaks while it has to rest"
            elif isinstance(effect, Nak | Expired):
                self.rests_until = self.now + RESTART_S[0]
                assert self.client.lease is None
            else:
                assert isinstance(effect, Bound) and effect.lease == self.client.lease
                assert effect.asked_in not in (State.BOUND, State.INIT, State.SELECTING)

    def hear(self, data: bytes) -> None:
        self.replies.append(data)
        self.take(self.client.receive(data, Address(SERVERS[0], 67), self.now))

    @precondition(lambda self: self.asked is not None)
    @rule(kind=st.sampled_from(MessageType), changes=spoils, instead=options)
    def a_reply(self, kind: MessageType, changes: dict[str, Any], instead: dict[int, bytes | None]) -> None:
        self.hear(encode(replace(self.plain(kind), **changes), instead=instead))

    @precondition(lambda self: self.asked is not None)
    @rule(
        kind=st.sampled_from([MessageType.OFFER, MessageType.ACK, MessageType.NAK]),
        lease_s=st.sampled_from([1, 3, 60, 3600]),
        times=st.integers(1, 2),
    )
    def a_right_reply(self, kind: MessageType, lease_s: int, times: int) -> None:
        for _ in range(times):
            self.hear(encode(replace(self.plain(kind), lease_s=lease_s)))

    @precondition(lambda self: self.replies)
    @rule(which=st.integers(0, 19))
    def a_reply_of_before(self, which: int) -> None:
        self.hear(self.replies[which % len(self.replies)])

    @rule(data=st.binary(max_size=320))
    def garbage(self, data: bytes) -> None:
        self.hear(data)

    @rule(wait_s=st.sampled_from([0.0, 0.05, 0.4, 1.0, 30.0, 4000.0]))
    def time_passes(self, wait_s: float) -> None:
        end = self.now + wait_s
        while (deadline := self.client.deadline()) is not None and deadline <= end:
            assert deadline > self.now, "a deadline must lie ahead"
            self.now = deadline
            self.take(self.client.wake(self.now))
        self.now = end

    @rule(wait_s=st.sampled_from([1.0, 400.0, 100_000.0]))
    def time_jumps_and_the_alarm_is_late(self, wait_s: float) -> None:
        self.now += wait_s
        if (deadline := self.client.deadline()) is not None and deadline <= self.now:
            self.take(self.client.wake(self.now))

    @rule(wait_s=st.sampled_from([1.0, 400.0, 100_000.0]))
    def time_jumps_and_a_reply_is_there_before_the_alarm(self, wait_s: float) -> None:
        self.now += wait_s
        if self.replies:
            self.hear(self.replies[-1])
        if (deadline := self.client.deadline()) is not None and deadline <= self.now:
            self.take(self.client.wake(self.now))

    @precondition(lambda self: self.now >= self.rests_until)
    @rule()
    def a_stranger_has_the_address(self) -> None:
        had = self.client.lease
        self.take(self.client.decline(self.now))
        if had is not None:
            self.rests_until = self.now + DECLINE_WAIT_S

    @precondition(lambda self: self.now >= self.rests_until)
    @rule()
    def shutdown_and_start(self) -> None:
        self.take([*self.client.release(self.now)])
        self.now += 1.0
        self.take(self.client.start(self.now))

    @invariant()
    def the_next_step_lies_ahead(self) -> None:
        deadline = self.client.deadline()
        assert deadline is None or deadline > self.now

    @invariant()
    def a_lease_is_there_while_it_runs_and_no_longer(self) -> None:
        state, lease = self.client.state, self.client.lease
        assert (lease is not None) == (state in (State.BOUND, State.RENEWING, State.REBINDING))
        if lease is not None:
            end = self.client.expires_at
            assert self.now < end and (self.client.deadline() or 0.0) <= end

    @invariant()
    def it_sends_little_and_remembers_little(self) -> None:
        while self.sends and self.sends[0] <= self.now - HOUR_S:
            self.sends.popleft()
        assert len(self.sends) <= SENDS_MAX_PER_HOUR
        assert sum(1 for t in self.sends if t == self.now) <= 12, "no storm in one moment"
        assert len(self.client.offered_by) <= OFFERS_MAX

    def plain(self, kind: MessageType) -> DhcpMessage:
        assert self.asked is not None
        nak = kind is MessageType.NAK
        return DhcpMessage(
            type=kind,
            xid=self.asked.xid,
            mac=MAC,
            your_address="0.0.0.0" if nak else "192.168.40.107",
            lease_s=None if nak else 3600,
            server=self.asked.server or SERVERS[0],
        )


TestAnyServer = AnyServer.TestCase
TestAnyServer.settings = settings(stateful_step_count=60, deadline=None)
