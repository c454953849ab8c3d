"""Logging in and out at one endpoint: decisions, sessions that take others' places, and who is online."""

import asyncio
from collections.abc import Callable

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.hub.faults import StallConnect
from cloud_stub.hub.faults_connection import CUTS, HalfOpen, Takeover, TokenCut
from cloud_stub.hub.gate import Gate
from cloud_stub.hub.history import Event, HubHistory, masked
from cloud_stub.hub.login import Accepted, Proof, Refused, RefusedReason
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.notices import Notices
from cloud_stub.hub.rules import CODE_UNAVAILABLE, CloseReason, HubRules, Login, kept, restored
from cloud_stub.hub.session import Session
from cloud_stub.hub.throttle import Operation, Throttle
from cloud_stub.hub.uplink import Uplink
from cloud_stub.state.errors import HubError
from cloud_stub.state.mqtt_sessions import Begun
from emulator.faults import Fault, FaultSet
from emulator.net.api import Address
from emulator.wire.mqtt import Connect

ADDRESSES_MAX = 65_536  # as many as the site's LAN has

_CUT_REASONS = {
    TokenCut: CloseReason.SAS_EXPIRED,
    Takeover: CloseReason.TAKEOVER,
    HalfOpen: CloseReason.HALF_OPEN,
}

Record = Callable[..., None]
"""`Service.record`: sender, request, reply, and data as keywords."""


class Logins:
    """`online` are the sessions of logged-in devices by id. `admitted` is called with each new one."""

    def __init__(
        self,
        *,
        gate: Gate,
        memory: HubMemory,
        notices: Notices,
        faults: FaultSet,
        throttle: Throttle | None,
        rules: Callable[[], HubRules],
        now: Callable[[], float],
        record: Record,
        history: HubHistory,
        uplink: Uplink,
        admitted: Callable[[Session], None],
    ) -> None:
        self.online: dict[str, Session] = {}
        self.addresses: set[str] = set()
        """From which IP addresses devices have logged in, at most `ADDRESSES_MAX`."""
        self.failures = 0
        """Ends of sessions that the hub's state did not take."""
        self._gate = gate
        self._memory = memory
        self._notices = notices
        self._faults = faults
        self._throttle = throttle
        self._rules = rules
        self._now = now
        self._record = record
        self._history = history
        self._uplink = uplink
        self._admitted = admitted

    def asked(self, session: Session, connect: Connect) -> None:
        """A client wants in: answer it, now or later or never."""
        if self._faults.strikes(StallConnect, connect.client_id):
            self._write_down(session, connect, "none: stalled", reason="stalled")
            return
        wait_s = self._wait_s()
        if isinstance(wait_s, CloseReason):
            self._write_down(session, connect, f"none: {wait_s}", reason=wait_s.value)
            session.end(wait_s)
        elif wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._decide_late, session, connect)
        else:
            self._decide(session, connect)

    def ended(self, session: Session, reason: CloseReason, detail: str) -> None:
        """A session is over: its will is published unless the device said goodbye."""
        login, unwanted = session.login, reason is CloseReason.TAKEOVER and not self._rules().will_on_takeover
        if session.will is not None and reason is not CloseReason.DISCONNECT and not unwanted:
            self._uplink.will(login, session.will)
        if self.online.get(login.device_id) is not session:
            return
        del self.online[login.device_id]
        self._history.note(login.device_id, Event.CLOSE, f"{reason}: {detail}" if detail else reason.value)
        locks = session.deliveries.locks
        try:
            if locks:
                self._memory.queues.abandon(login.device_id, locks)
            self._memory.sessions.end(login.device_id, login.number)
        except HubError:
            self.failures += 1
        self._notices.disconnected(login.device_id, login.number, reason.value)

    def subscribed(self, session: Session) -> None:
        """Keep the channels of a session that is not clean."""
        login = session.login
        if login.clean:
            return
        try:
            self._memory.sessions.keep(login.device_id, login.number, kept(session.channels))
        except HubError as error:
            session.end(CloseReason.UNAVAILABLE, str(error))

    def identity_changed(self, device_id: str) -> None:
        """The device is not what it was in the registry: it may have to go."""
        session = self.online.get(device_id)
        objection = self._gate.objection(session.login) if session is not None else None
        if session is not None and objection is not None:
            session.end(objection)

    def injected(self, fault: Fault) -> None:
        """A new fault bears on those who are online, too."""
        for session in tuple(self.online.values()):
            if isinstance(fault, CUTS):
                self._strike(session, type(fault))
                if session.deadline() <= self._now():
                    session.wake(self._now())
            elif fault.who in ("*", session.device_id):
                self.identity_changed(session.device_id)

    def _wait_s(self) -> float | CloseReason:
        if self._throttle is None:
            return 0.0
        if self._throttle.quota_left <= 0:
            return CloseReason.QUOTA
        wait_s = self._throttle.wait_s(Operation.CONNECT)
        return CloseReason.THROTTLED if wait_s is None else wait_s

    def _decide_late(self, session: Session, connect: Connect) -> None:
        if session.open:
            self._decide(session, connect)
            session.wake(self._now())  # reads on behind CONNECT

    def _decide(self, session: Session, connect: Connect) -> None:
        decision = self._gate.decide(Proof(connect, session.certificates))
        begun = self._begin(connect, decision) if isinstance(decision, Accepted) else None
        if isinstance(decision, Refused):
            self._refuse(session, connect, decision)
        elif begun is None:
            self._refuse(session, connect, Refused(CODE_UNAVAILABLE, RefusedReason.UNAVAILABLE))
        else:
            self._write_down(session, connect, "0: accepted", code=0, api_version=decision.api_version)
            self._admit(session, connect, decision, begun)

    def _refuse(self, session: Session, connect: Connect, refused: Refused) -> None:
        reason = refused.reason.value
        self._write_down(session, connect, f"{refused.code}: {reason}", code=refused.code, reason=reason)
        session.refuse(refused.code, reason)

    def _begin(self, connect: Connect, accepted: Accepted) -> Begun | None:
        """The newest session of the device; None when its identity has just gone, or the state is out of order."""
        older = self.online.get(accepted.device_id)
        if older is not None:
            older.end(CloseReason.TAKEOVER)
        try:
            begun = self._memory.sessions.begin(accepted.device_id, clean=connect.clean_session)
            self._memory.queues.connected(accepted.device_id, clean=connect.clean_session)
            if accepted.model_id:
                self._memory.twins.set_model(accepted.device_id, accepted.model_id)
        except HubError:
            return None
        return begun

    def _admit(self, session: Session, connect: Connect, accepted: Accepted, begun: Begun) -> None:
        device = accepted.device
        if len(self.addresses) < ADDRESSES_MAX:
            self.addresses.add(session.peer.host)
        login = Login(
            device.device_id,
            device.generation_id,
            accepted.auth_method,
            accepted.model_id,
            connect.clean_session,
            begun.number,
            topic_of(device.device_id, Kind.D2C),
        )
        self.online[device.device_id] = session
        session.admit(connect, login, None if begun.stored is None else restored(begun.stored))
        left_s = accepted.expires_at - self._gate.clock(device.device_id).timestamp()
        session.cut_at(self._now() + left_s + self._rules().token_grace_s, CloseReason.SAS_EXPIRED)
        for cut in CUTS:
            self._strike(session, cut)
        self._notices.connected(device.device_id, begun.number)
        self.subscribed(session)
        self._admitted(session)

    def _strike(self, session: Session, cut: type[TokenCut] | type[Takeover] | type[HalfOpen]) -> None:
        fault = self._faults.strikes(cut, session.device_id)
        if fault is not None:
            session.cut_at(self._now() + fault.after_s, _CUT_REASONS[cut], f"injected: {cut.kind}")

    def _write_down(self, session: Session, connect: Connect, reply: str, **data: str | int | None) -> None:
        peer: Address = session.peer
        client_id = masked(connect.client_id)
        self._record(peer, f"CONNECT {client_id}", reply, event="connect", device=client_id, **data)
        self._history.note(client_id, Event.CONNECT, f"{reply} from {peer}")
