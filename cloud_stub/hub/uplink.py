"""What the hub does with what devices send: messages to the bus, twin requests to the memory, answers to callers.

Limits of the tier and faults of the answers apply here.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cloud_stub.bus.api import Bus
from cloud_stub.hub.faults_answers import (
    CloseAfter,
    DelayPuback,
    DropPuback,
    LatePingresp,
    OversizeReply,
    QuotaUsed,
    Request,
    TwinSilent,
    TwinStatus,
)
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.notices import Notices
from cloud_stub.hub.outstanding import Acknowledged
from cloud_stub.hub.rules import CloseReason, Login, stamped
from cloud_stub.hub.throttle import Operation, Throttle
from cloud_stub.state.errors import ErrorCode, HubError
from emulator.clock import Utc
from emulator.errors import WireError
from emulator.faults import FaultSet
from emulator.wire.iothub import D2C, parse_device_topic
from emulator.wire.mqtt import Publish, Will

TWIN_READ, TWIN_UPDATED = 200, 204


@dataclass(frozen=True, slots=True)
class Taken:
    """A message is on its way. `done` is done once it is safe; then PUBACK is due, unless it gets lost.

    `close`: the connection must be closed now, because of this.
    """

    done: Acknowledged
    puback_lost: bool = False
    close: CloseReason | None = None


@dataclass(frozen=True, slots=True)
class TwinReply:
    """An answer to a twin request, to be sent after `wait_s`. `version` with 204 alone."""

    status: int
    body: bytes = b""
    version: int | None = None
    wait_s: float = 0.0


class Uplink:
    """Shared by all sessions of an endpoint."""

    def __init__(
        self,
        *,
        bus: Bus,
        memory: HubMemory,
        notices: Notices,
        faults: FaultSet,
        throttle: Throttle | None,
        utc: Utc,
    ) -> None:
        self._bus = bus
        self._memory = memory
        self._notices = notices
        self._faults = faults
        self._throttle = throttle
        self._utc = utc

    @property
    def congested(self) -> bool:
        """The bus is behind: sessions should read no more while a message of theirs waits."""
        return self._bus.congested

    def message(self, login: Login, message: D2C, publish: Publish, count: int) -> Taken | CloseReason:
        """Take the `count`-th message of a connection; why the connection must be closed instead."""
        if self._faults.strikes(QuotaUsed, login.device_id):
            return CloseReason.QUOTA
        wait_s = 0.0
        if self._throttle is not None:
            served = self._served(self._throttle, len(publish.payload))
            if isinstance(served, CloseReason):
                return served
            wait_s = served
        done = self._publish(login, message, publish)
        if not self._faults.injected:  # there never was a fault
            return Taken(_later(done, wait_s) if wait_s else done)
        return self._spoiled(login.device_id, done, wait_s, count)

    def will(self, login: Login, will: Will) -> None:
        """Take a will. It is lost if the bus is gone, like its device, or if it is for a foreign topic."""
        try:
            message = parse_device_topic(will.topic, login.device_id)
        except WireError:
            return
        if isinstance(message, D2C):
            self._publish(login, message, will, will=True).add_done_callback(_seen)

    def twin(self, login: Login) -> TwinReply | None:
        """The reply to a twin GET; None: there is none."""

        def read() -> TwinReply:
            return TwinReply(TWIN_READ, self._memory.twins.device_view(login.device_id))

        reply = self._twin_reply(login.device_id, "get", Operation.TWIN_READ, read)
        if reply is not None and (fault := self._faults.strikes(OversizeReply, login.device_id)):
            reply = TwinReply(reply.status, reply.body.ljust(fault.size_bytes), wait_s=reply.wait_s)
        return reply

    def report(self, login: Login, patch: bytes) -> TwinReply | None:
        """The reply to a reported PATCH; None: there is none."""

        def update() -> TwinReply:
            return TwinReply(TWIN_UPDATED, version=self._memory.twins.report(login.device_id, patch))

        return self._twin_reply(login.device_id, "patch", Operation.TWIN_UPDATE, update)

    def method_answered(self, device_id: str, rid: str, status: int | None, payload: bytes) -> None:
        """The device answered the call with this `rid`; status None: with a status that is no integer."""
        self._notices.method_answered(device_id, rid, status, payload)

    def pinged(self, device_id: str, answer: Callable[[], None]) -> None:
        """Answer PINGREQ, now or late."""
        fault = self._faults.strikes(LatePingresp, device_id)
        if fault is None:
            answer()
        else:
            asyncio.get_running_loop().call_later(fault.delay_s, answer)

    def _publish(self, login: Login, message: D2C, publish: Publish | Will, *, will: bool = False) -> Acknowledged:
        properties = stamped(login, message.bag, now_utc=self._utc(), retain=publish.retain, will=will)
        return self._bus.publish(login.topic, publish.payload, properties)

    def _served(self, throttle: Throttle, size_bytes: int) -> float | CloseReason:
        if not throttle.spend(size_bytes):
            return CloseReason.QUOTA
        wait_s = throttle.wait_s(Operation.D2C)
        return CloseReason.THROTTLED if wait_s is None else wait_s

    def _spoiled(self, device_id: str, done: Acknowledged, wait_s: float, count: int) -> Taken:
        closes = self._faults.strikes(CloseAfter, device_id, lambda fault: count >= fault.publishes)
        lost = self._faults.strikes(DropPuback, device_id) is not None
        late = self._faults.strikes(DelayPuback, device_id)
        wait_s += late.delay_s if late else 0.0
        return Taken(_later(done, wait_s) if wait_s else done, lost, CloseReason.INJECTED if closes else None)

    def _twin_reply(
        self, device_id: str, request: Request, operation: Operation, serve: Callable[[], TwinReply]
    ) -> TwinReply | None:
        wrong = self._faults.strikes(TwinStatus, device_id, lambda fault: fault.request in (request, "*"))
        if wrong is not None:
            return TwinReply(wrong.status)
        wait_s = self._throttle.wait_s(operation) if self._throttle is not None else 0.0
        if wait_s is None:
            return TwinReply(ErrorCode.THROTTLED.status)
        try:
            reply = serve()
        except HubError as error:
            reply = TwinReply(error.status)
        if self._faults.strikes(TwinSilent, device_id, lambda fault: fault.request in (request, "*")):
            return None
        return TwinReply(reply.status, reply.body, reply.version, wait_s) if wait_s else reply


def _later(done: Acknowledged, wait_s: float) -> Acknowledged:
    """The same, some time after it is known."""
    loop = asyncio.get_running_loop()
    late: Acknowledged = loop.create_future()

    def pass_on() -> None:
        error = done.exception()
        if error is None:
            late.set_result(None)
        else:
            late.set_exception(error)

    done.add_done_callback(lambda _: loop.call_later(wait_s, pass_on))
    return late


def _seen(done: Acknowledged) -> None:
    done.exception()
