"""The decision at CONNECT with everything that bears on it: registry, policies, hub rules, and faults."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from cloud_stub.hub.faults import ClockSkew, Connack, WrongKey
from cloud_stub.hub.faults_connection import DeviceDeleted, DeviceDisabled
from cloud_stub.hub.login import Accepted, Proof, Refused, RefusedReason, decide_connect
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.rules import CODE_UNAVAILABLE, CloseReason, HubRules, Login
from cloud_stub.state.errors import HubError
from cloud_stub.state.identity import Device, DeviceStatus, SasAuth
from cloud_stub.state.registry import KEY_BYTES, Registry
from emulator.clock import Utc
from emulator.faults import FaultSet


class Gate:
    """Who may connect, and who may stay."""

    def __init__(
        self, registry: Registry, policies: Policies, faults: FaultSet, utc: Utc, rules: Callable[[], HubRules]
    ) -> None:
        self._registry = registry
        self._policies = policies
        self._faults = faults
        self._utc = utc
        self._rules = rules

    def decide(self, proof: Proof) -> Accepted | Refused:
        """The answer to CONNECT; code 3 when the registry cannot be asked (section 1.5)."""
        client_id = proof.connect.client_id
        fault = self._faults.strikes(Connack, client_id)
        if fault is not None:
            return Refused(fault.code, RefusedReason.INJECTED, client_id)
        try:
            return decide_connect(
                proof,
                now_utc=self.clock(client_id),
                rules=self._rules(),
                device_of=self._device_of,
                policies=self._policies,
            )
        except HubError:
            return Refused(CODE_UNAVAILABLE, RefusedReason.UNAVAILABLE, client_id)

    def clock(self, device_id: str) -> datetime:
        """The hub's clock as it is for this device."""
        offsets = [fault.offset_s for fault in self._faults.about(device_id) if isinstance(fault, ClockSkew)]
        return self._utc() + timedelta(seconds=sum(offsets)) if offsets else self._utc()

    def objection(self, login: Login) -> CloseReason | None:
        """Why a connection that stands must end; None if it may stay."""
        try:
            device = self._present(login.device_id)
        except HubError:
            return CloseReason.UNAVAILABLE
        if device is None or device.generation_id != login.generation_id:
            return CloseReason.DELETED
        return CloseReason.DISABLED if device.status is DeviceStatus.DISABLED else None

    def _device_of(self, device_id: str) -> Device | None:
        device = self._present(device_id)
        if device is not None and self._faults.strikes(WrongKey, device_id):
            return replace(device, auth=SasAuth(bytes(KEY_BYTES), bytes(KEY_BYTES)))
        return device

    def _present(self, device_id: str) -> Device | None:
        """The device as the registry has it, or as faults say."""
        device = self._registry.get(device_id)
        wrong = self._faults.about(device_id)
        if device is None or not wrong:
            return device
        if any(isinstance(fault, DeviceDeleted) for fault in wrong):
            return None
        disabled = any(isinstance(fault, DeviceDisabled) for fault in wrong)
        return replace(device, status=DeviceStatus.DISABLED) if disabled else device
