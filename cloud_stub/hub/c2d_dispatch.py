"""Brings queued C2D messages to the connections of one endpoint, and their acknowledgements back (section 1.12)."""

from collections.abc import Mapping

from cloud_stub.hub.c2d_clock import C2dClock
from cloud_stub.hub.faults_down import C2dAgain
from cloud_stub.hub.rules import Channel, CloseReason
from cloud_stub.hub.session import Session
from cloud_stub.state.c2d_queues import C2dQueues
from cloud_stub.state.errors import HubError
from emulator.faults import FaultSet


class C2dDispatch:
    """A delivery is locked while it waits for its PUBACK; it comes again when the lock or the connection ends."""

    def __init__(self, queues: C2dQueues, clock: C2dClock, online: Mapping[str, Session], faults: FaultSet) -> None:
        self._queues = queues
        self._clock = clock
        self._online = online
        self._faults = faults

    def ready(self, device_id: str) -> None:
        """The device's queue has a message for it."""
        session = self._online.get(device_id)
        if session is not None:
            self.deliver(session)

    def deliver(self, session: Session) -> None:
        """Send what is due, as much as the connection takes now."""
        sent = False
        try:
            while Channel.DEVICEBOUND in session.channels and session.has_room:
                due = self._queues.due(session.device_id, 1)
                if not due:
                    break
                again = self._faults.strikes(C2dAgain, session.device_id) is not None
                session.deliver(due[0], copies=2 if again else 1)
                sent = True
        except HubError as error:
            session.end(CloseReason.UNAVAILABLE, str(error))
        if sent:
            self._clock.set()

    def acknowledged(self, session: Session, lock: str) -> None:
        """The device has a message; an acknowledgement after the end of the lock comes too late and is ignored."""
        try:
            self._queues.complete(session.device_id, lock)
        except HubError as error:
            session.end(CloseReason.UNAVAILABLE, str(error))
