"""The device endpoint: TCP, TLS, MQTT and the hub's rules on one port, over any `Host`."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from cloud_stub.bus.api import Bus
from cloud_stub.hub.c2d_clock import C2dClock
from cloud_stub.hub.c2d_dispatch import C2dDispatch
from cloud_stub.hub.downlink import Downlink
from cloud_stub.hub.faults import (
    BEFORE_LOGIN,
    FAULTS,
    BadCertificate,
    BadCertificateKind,
    Silent,
    TlsVersion,
    TlsVersionName,
)
from cloud_stub.hub.gate import Gate
from cloud_stub.hub.history import HubHistory
from cloud_stub.hub.logins import Logins
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.mute import Mute
from cloud_stub.hub.notices import Notices
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.rules import DETAIL_MAX, MESSAGE_BYTES_MAX, CloseReason, HubRules
from cloud_stub.hub.session import Session
from cloud_stub.hub.throttle import Throttle
from cloud_stub.hub.uplink import Uplink
from cloud_stub.service import Service
from emulator.clock import Utc
from emulator.errors import NetError, UsageError
from emulator.faults import Fault, Injected
from emulator.machines.mqtt import MqttServer
from emulator.net.api import Closer, Host, Stream
from emulator.net.tls import TlsStream, tls_accept
from emulator.wire.mqtt import Connect

CONNECTIONS_MAX = 15_000  # a process may hold 20,000 descriptors
PACKET_BYTES_MAX = MESSAGE_BYTES_MAX + 65_535 + 16
BURST_MAX = 32
"""Packets of one connection that are handled before others get their turn."""
SWEEP_MIN_S = 1.0
"""Keep-alives and tokens of all connections are looked at together, at most this often."""

ContextFor = Callable[[BadCertificateKind | None, TlsVersionName], ssl.SSLContext]
"""Gives the server's TLS context with the good certificate (None) or a bad one. It should keep what it has made."""


@dataclass(frozen=True, slots=True)
class EndpointTiming:
    """The waits of an IoT hub's endpoint."""

    tls_s: float = 60.0
    connect_s: float = 60.0  # iothub-mqtt.md section 1.5
    keep_alive_cap_s: float = 1767.0  # section 1.6


def check_fault(fault: Fault) -> None:
    """UsageError for a fault that strikes before a device has said who it is, and yet names one."""
    if isinstance(fault, BEFORE_LOGIN) and fault.who != "*":
        raise UsageError(f"who: {fault.kind} strikes before a device has said who it is, so only all can be meant")


class Endpoint(Service):
    """The hub's device endpoint. Connections are `Session` objects; one timer serves them all."""

    name = "hub"
    port = 8883
    FAULTS = FAULTS

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        memory: HubMemory,
        bus: Bus,
        contexts: ContextFor,
        rules: HubRules,
        policies: Policies,
        throttle: Throttle | None = None,
        timing: EndpointTiming = EndpointTiming(),
        worker: str = "",
    ) -> None:
        """`worker` is the label of this process where a hub has several endpoints; `throttle` None: no limits."""
        super().__init__(rng=rng, utc=utc, now=now)
        self.rules = rules
        self.connections = 0
        """Connections that are open, logged in or not."""
        self.hub_history = HubHistory(now)
        self._contexts = contexts
        self._timing = timing
        self._sessions: dict[Session, None] = {}
        self._mutes: dict[Mute, None] = {}
        self._listener: Closer | None = None
        self._serving = False
        self._sweep: asyncio.TimerHandle | None = None
        notices = Notices(bus, worker)
        self.uplink = Uplink(bus=bus, memory=memory, notices=notices, faults=self.faults, throttle=throttle, utc=utc)
        self._logins = Logins(
            gate=Gate(memory.registry, policies, self.faults, utc, lambda: self.rules),
            memory=memory,
            notices=notices,
            faults=self.faults,
            throttle=throttle,
            rules=lambda: self.rules,
            now=now,
            record=self.record,
            history=self.hub_history,
            uplink=self.uplink,
            admitted=self._admitted,
        )
        self._c2d_clock = C2dClock(memory.queues, utc, notices.c2d_ready)
        self._c2d = C2dDispatch(memory.queues, self._c2d_clock, self._logins.online, self.faults)
        self._downlink = Downlink(
            bus,
            notices,
            self._logins.online,
            self.faults,
            ready=self._c2d.ready,
            changed=self._logins.identity_changed,
            several=bool(worker),
        )

    @property
    def online(self) -> int:
        """Devices that are logged in."""
        return len(self._logins.online)

    @property
    def source_addresses(self) -> int:
        """From how many IP addresses devices have logged in so far."""
        return len(self._logins.addresses)

    def inject(self, fault: Fault) -> Injected:
        """Make a fault active. UsageError as `check_fault`."""
        check_fault(fault)
        injected = super().inject(fault)
        self._logins.injected(fault)
        self._plan_sweep()
        return injected

    async def device_history(self, device_id: str) -> list[dict[str, Any]]:
        """What a device did here, oldest first: JSON-able entries of `HubHistory`."""
        return self.hub_history.of(device_id)

    async def forget_device(self, device_id: str) -> None:
        """Forget what a device did here."""
        self.hub_history.clear(device_id)

    async def start(self, host: Host | None) -> None:
        """Serve on port 8883 of `host`; without a host, only what `serve_websocket` brings. The bus must be running."""
        await self._downlink.start()
        self._serving = True
        if host is not None:
            self._listener = await host.listen(self.port, self._serve)

    async def stop(self) -> None:
        """End every connection and free the port."""
        listener, self._listener, self._serving = self._listener, None, False
        if listener is not None:
            listener.close()
        self._downlink.stop()
        for session in tuple(self._sessions):
            session.end(CloseReason.SHUTDOWN)
        for mute in tuple(self._mutes):
            mute.stream.abort()
        self._c2d_clock.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    # From TCP to MQTT

    def _serve(self, stream: Stream) -> None:
        if not self._let_in(stream, "TCP"):
            return
        if self.faults.strikes(Silent):
            self._mutes[Mute(stream, self._mute_ended)] = None
            return
        certificate, version = self.faults.strikes(BadCertificate), self.faults.strikes(TlsVersion)
        context = self._contexts(certificate.bad if certificate else None, version.version if version else "1.2")
        tls_accept(stream, context, self._secured, partial(self._tls_failed, stream), timeout_s=self._timing.tls_s)

    def serve_websocket(self, stream: Stream, certificates: Sequence[bytes] = ()) -> None:
        """Serve MQTT over a stream that was accepted on port 443 (section 1.1).

        `certificates` are those of the client's TLS connection: DER, leaf first.
        """
        if self._let_in(stream, "WebSocket"):
            self._begin(stream, certificates)

    def _let_in(self, stream: Stream, how: str) -> bool:
        """Count a connection, or reset it."""
        stopped = not self._serving
        if stopped or self.connections >= CONNECTIONS_MAX:
            reason = "stopped" if stopped else "too many connections"
            self.record(stream.peer, how, f"reset: {reason}", event=how.lower())
            stream.abort()
            return False
        self.connections += 1
        self.record(stream.peer, how, "accepted", event=how.lower())
        return True

    def _tls_failed(self, stream: Stream, error: NetError) -> None:
        self.connections -= 1
        self.record(stream.peer, "TLS", str(error), event="tls", reason=error.reason.value)

    def _secured(self, tls: TlsStream) -> None:
        info = tls.info
        self.record(
            tls.peer, "TLS", f"{info.version} {info.cipher}", event="tls", server_name=info.server_name[:DETAIL_MAX]
        )
        self._begin(tls, info.client_certificates)

    def _begin(self, stream: Stream, certificates: Sequence[bytes]) -> None:
        mqtt = MqttServer(
            max_packet_bytes=PACKET_BYTES_MAX,
            connect_timeout_s=self._timing.connect_s,
            keep_alive_cap_s=self._timing.keep_alive_cap_s,
            now=self.now(),
            burst_max=BURST_MAX,
        )
        session = Session(self, stream, mqtt, certificates)
        self._sessions[session] = None
        if not self._serving:
            session.end(CloseReason.SHUTDOWN)
        self._watch(session)

    def _mute_ended(self, mute: Mute) -> None:
        self.connections -= 1
        self._mutes.pop(mute, None)

    # What sessions ask

    def connect_asked(self, session: Session, connect: Connect) -> None:
        """Part of SessionOwner."""
        self._logins.asked(session, connect)

    def _admitted(self, session: Session) -> None:
        self._watch(session)
        self._c2d.deliver(session)

    def subscribed(self, session: Session) -> None:
        """Part of SessionOwner."""
        self._logins.subscribed(session)
        self._c2d.deliver(session)

    def puback(self, session: Session, lock: str) -> None:
        """Part of SessionOwner."""
        self._c2d.acknowledged(session, lock)

    def room(self, session: Session) -> None:
        """Part of SessionOwner."""
        self._c2d.deliver(session)

    def left_open(self, stream: Stream) -> None:
        """Part of SessionOwner."""
        self.connections += 1
        self._mutes[Mute(stream, self._mute_ended)] = None

    def ended(self, session: Session, reason: CloseReason, detail: str) -> None:
        """Part of SessionOwner."""
        self.connections -= 1
        self._sessions.pop(session, None)
        self.record(session.peer, "end", reason.value, event="close", device=session.device_id, detail=detail)
        self._logins.ended(session, reason, detail)

    # Time

    def _watch(self, session: Session) -> None:
        """Have the sweep come in time for this session."""
        deadline = session.deadline()
        if session.open and (self._sweep is None or deadline < self._sweep.when()):
            self._set_sweep(deadline)

    def _set_sweep(self, when: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_at(max(when, loop.time() + SWEEP_MIN_S), self._sweep_all)

    def _sweep_all(self) -> None:
        self._sweep = None
        now = self.now()
        for session in [session for session in self._sessions if session.deadline() <= now]:
            session.wake(now)
        self._plan_sweep()

    def _plan_sweep(self) -> None:
        if self._sessions:
            self._set_sweep(min(session.deadline() for session in self._sessions))
