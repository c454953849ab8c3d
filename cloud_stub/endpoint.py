"""The device endpoint: TCP, TLS, MQTT and the hub's rules on one port, over any `Host`."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from cloud_stub.bus import Bus, Kind, topic_of
from cloud_stub.downlink import Downlink
from cloud_stub.endpoint_faults import (
    BEFORE_LOGIN,
    FAULTS,
    BadCertificate,
    BadCertificateKind,
    Connack,
    DropPuback,
    Silent,
    StallConnect,
    TlsVersion,
    TlsVersionName,
    WrongKey,
)
from cloud_stub.hub import (
    DETAIL_MAX,
    MESSAGE_BYTES_MAX,
    Accepted,
    Channel,
    CloseReason,
    HubRules,
    Refused,
    RefusedReason,
    decide_connect,
    stamped,
)
from cloud_stub.registry import KEY_BYTES, Device, Registry
from cloud_stub.service import Service
from cloud_stub.session import Session
from cloud_stub.store import Store
from cloud_stub.twin import TwinError, report, twin_body
from emulator.clock import Utc
from emulator.errors import NetError, UsageError
from emulator.faults import Fault, Injected
from emulator.machines.mqtt import MqttServer
from emulator.net.api import Closer, Host, Stream
from emulator.net.tls import TlsStream, tls_accept
from emulator.wire.iothub import D2C
from emulator.wire.mqtt import Connect, Publish, Will

CONNECTIONS_MAX = 15_000  # a process may hold 20,000 descriptors
ADDRESSES_MAX = 65_536  # as many as the site's LAN has
PACKET_BYTES_MAX = MESSAGE_BYTES_MAX + 65_535 + 16
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
        registry: Registry,
        store: Store,
        bus: Bus,
        contexts: ContextFor,
        rules: HubRules,
        timing: EndpointTiming = EndpointTiming(),
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self.rules = rules
        self.connections = 0
        """TCP connections that are open, logged in or not."""
        self._registry = registry
        self._store = store
        self._bus = bus
        self._contexts = contexts
        self._timing = timing
        self._sessions: dict[Session, None] = {}
        self._online: dict[str, Session] = {}
        self._mutes: dict[_Mute, None] = {}
        self._listener: Closer | None = None
        self._downlink = Downlink(bus, registry, store, self._online)
        self._sweep: asyncio.TimerHandle | None = None
        self._addresses: set[str] = set()

    @property
    def online(self) -> int:
        """Devices that are logged in."""
        return len(self._online)

    @property
    def source_addresses(self) -> int:
        """From how many IP addresses devices have logged in so far, at most `ADDRESSES_MAX`."""
        return len(self._addresses)

    def inject(self, fault: Fault) -> Injected:
        """Make a fault active. UsageError for one that strikes before the device is known and yet names a device."""
        if isinstance(fault, BEFORE_LOGIN) and fault.who != "*":
            raise UsageError(f"who: {fault.kind} strikes before a device has said who it is, so only all can be meant")
        return super().inject(fault)

    async def start(self, host: Host) -> None:
        """Serve on port 8883 of `host`. The bus must be running."""
        await self._downlink.start()
        self._listener = await host.listen(self.port, self._serve)

    async def stop(self) -> None:
        """End every connection and free the port."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        self._downlink.stop()
        for session in tuple(self._sessions):
            session.end(CloseReason.SHUTDOWN)
        for mute in tuple(self._mutes):
            mute.stream.abort()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    # From TCP to the login

    def _serve(self, stream: Stream) -> None:
        stopped = self._listener is None
        if stopped or self.connections >= CONNECTIONS_MAX:
            reason = "stopped" if stopped else "too many connections"
            self.record(stream.peer, "TCP", f"reset: {reason}", event="tcp")
            stream.abort()
            return
        self.connections += 1
        self.record(stream.peer, "TCP", "accepted", event="tcp")
        if self.faults.strikes(Silent):
            self._mutes[_Mute(stream, self._mute_ended)] = None
            return
        certificate, version = self.faults.strikes(BadCertificate), self.faults.strikes(TlsVersion)
        context = self._contexts(certificate.bad if certificate else None, version.version if version else "1.2")
        tls_accept(stream, context, self._secured, partial(self._tls_failed, stream), timeout_s=self._timing.tls_s)

    def _tls_failed(self, stream: Stream, error: NetError) -> None:
        self.connections -= 1
        self.record(stream.peer, "TLS", str(error), event="tls", reason=error.reason.value)

    def _secured(self, tls: TlsStream) -> None:
        info = tls.info
        self.record(
            tls.peer, "TLS", f"{info.version} {info.cipher}", event="tls", server_name=info.server_name[:DETAIL_MAX]
        )
        mqtt = MqttServer(
            max_packet_bytes=PACKET_BYTES_MAX,
            connect_timeout_s=self._timing.connect_s,
            keep_alive_cap_s=self._timing.keep_alive_cap_s,
            now=self.now(),
        )
        session = Session(self, tls, mqtt)
        self._sessions[session] = None
        if self._listener is None:
            session.end(CloseReason.SHUTDOWN)
        self._watch(session)

    def _mute_ended(self, mute: "_Mute") -> None:
        self.connections -= 1
        self._mutes.pop(mute, None)

    def connect_asked(self, session: Session, connect: Connect) -> None:
        """Part of SessionOwner."""
        client_id = connect.client_id[:DETAIL_MAX]
        if self.faults.strikes(StallConnect, client_id):
            self._record_connect(session, client_id, "none: stalled", reason="stalled")
            return
        decision = self._decision(connect)
        if isinstance(decision, Refused):
            self._record_connect(
                session,
                client_id,
                f"{decision.code}: {decision.reason}",
                code=decision.code,
                reason=decision.reason.value,
            )
            session.refuse(decision.code, decision.reason)
            return
        self._record_connect(session, client_id, "0: accepted", code=0, api_version=decision.api_version)
        self._admit(session, connect, decision)

    def _decision(self, connect: Connect) -> Accepted | Refused:
        fault = self.faults.strikes(Connack, connect.client_id)
        if fault is not None:
            return Refused(fault.code, RefusedReason.INJECTED, connect.client_id)
        return decide_connect(connect, now_utc=self.utc(), rules=self.rules, device_of=self._device_of)

    def _device_of(self, device_id: str) -> Device | None:
        device = self._registry.get(device_id)
        if device is not None and self.faults.strikes(WrongKey, device_id):
            return replace(device, primary_key=bytes(KEY_BYTES), secondary_key=bytes(KEY_BYTES))
        return device

    def _admit(self, session: Session, connect: Connect, accepted: Accepted) -> None:
        device_id = accepted.device_id
        if len(self._addresses) < ADDRESSES_MAX:
            self._addresses.add(session.peer.host)
        older = self._online.get(device_id)
        if older is not None:
            older.end(CloseReason.TAKEOVER)
        state = self._store.device(device_id)
        if connect.clean_session:
            state.filters = None
        stored = None if state.filters is None else frozenset(map(Channel, state.filters))
        left_s = accepted.expires_at - self.utc().timestamp()
        self._online[device_id] = session
        session.admit(connect, device_id, stored, self.now() + left_s + self.rules.token_grace_s)
        self.subscribed(session)
        self._downlink.announce(device_id, "connected", "")
        self._watch(session)

    # What sessions ask

    @property
    def congested(self) -> bool:
        """Part of SessionOwner."""
        return self._bus.congested

    def message(
        self, device_id: str, message: D2C, publish: Publish | Will, *, will: bool = False
    ) -> "asyncio.Future[None]":
        """Part of SessionOwner."""
        properties = stamped(device_id, message.bag, now_utc=self.utc(), retain=publish.retain, will=will)
        return self._bus.publish(topic_of(device_id, Kind.D2C), publish.payload, properties)

    def twin(self, session: Session) -> bytes:
        """Part of SessionOwner."""
        return twin_body(self._store.device(session.device_id).twin)

    def report(self, session: Session, patch: bytes) -> tuple[int, int | None]:
        """Part of SessionOwner."""
        state = self._store.device(session.device_id)
        try:
            state.twin = report(state.twin, patch)
        except TwinError:
            return 400, None
        return 204, state.twin.reported_version

    def method_answered(self, device_id: str, rid: str, status: int | None, payload: bytes) -> None:
        """Part of SessionOwner."""
        self._downlink.method_answered(device_id, rid, status, payload)

    def subscribed(self, session: Session) -> None:
        """Part of SessionOwner."""
        if not session.clean:
            self._store.device(session.device_id).filters = frozenset(session.channels)

    def drops_puback(self, device_id: str) -> bool:
        """Part of SessionOwner."""
        return self.faults.strikes(DropPuback, device_id) is not None

    def ended(self, session: Session, reason: CloseReason, detail: str) -> None:
        """Part of SessionOwner."""
        self.connections -= 1
        self._sessions.pop(session, None)
        self.record(session.peer, "end", reason.value, event="close", device=session.device_id, detail=detail)
        if self._online.get(session.device_id) is session:
            del self._online[session.device_id]
            self._downlink.announce(session.device_id, "disconnected", reason.value)

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
        if self._sessions:
            self._set_sweep(min(session.deadline() for session in self._sessions))

    def _record_connect(self, session: Session, client_id: str, reply: str, **data: str | int | None) -> None:
        self.record(session.peer, f"CONNECT {client_id}", reply, event="connect", device=client_id, **data)


class _Mute:
    """Takes bytes and says nothing."""

    __slots__ = ("_ended", "stream")

    def __init__(self, stream: Stream, ended: Callable[["_Mute"], None]) -> None:
        self.stream = stream
        self._ended = ended
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        """Part of the Receiver of the stream."""

    def connection_lost(self, error: NetError | None) -> None:
        """Part of the Receiver of the stream."""
        self._ended(self)

    def pause_writing(self) -> None:
        """Part of the Receiver of the stream."""

    def resume_writing(self) -> None:
        """Part of the Receiver of the stream."""
