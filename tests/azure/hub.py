"""The hub from the other side: what its control API says about the devices that the SDKs play."""

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.programs import CloudProgram


@dataclass(frozen=True)
class Hub:
    """The hub of a running cloud."""

    cloud: CloudProgram

    @property
    def host(self) -> str:
        """The name that devices and services know it by."""
        return str(self.cloud.ready["hub"])

    @property
    def service_connection_string(self) -> str:
        """What a back end uses; the policy ``iothubowner``."""
        return str(self.cloud.ready["service_connection_string"])

    def produce(self, device_id: str) -> str:
        """Make a device with a key; its connection string."""
        status, made = self.cloud.call("POST", "/devices", {"serial": device_id})
        assert status == 201, made
        return self.connection_string(device_id, made["devices"][0]["key"])

    def connection_string(self, device_id: str, key: str) -> str:
        """As the vendor's portal shows it for a device."""
        assert b64decode(key)
        return f"HostName={self.host};DeviceId={device_id};SharedAccessKey={key}"

    def device(self, device_id: str) -> Any:
        """What the cloud knows of a device."""
        status, shown = self.cloud.call("GET", f"/devices/{device_id}")
        assert status == 200, shown
        return shown

    def knows(self, device_id: str) -> bool:
        """Whether there is such a device."""
        return self.cloud.call("GET", f"/devices/{device_id}")[0] == 200

    def reported(self, device_id: str) -> tuple[dict[str, Any], int]:
        """What a device has reported last, and the version of it."""
        return self._section(device_id, "reported")

    def desired(self, device_id: str) -> dict[str, Any]:
        """What a device is wished to be."""
        return self._section(device_id, "desired")[0]

    def call_method(self, device_id: str, name: str, payload: object = None, timeout_s: float = 10.0) -> Any:
        """Status and payload of a direct method that the device answers."""
        body = {"payload": payload, "timeout_s": timeout_s}
        status, answer = self.cloud.call("POST", f"/devices/{device_id}/methods/{name}", body)
        assert status == 200, answer
        return answer["status"], answer["payload"]

    def call_method_in_vain(self, device_id: str, name: str, timeout_s: float = 5.0) -> int:
        """The hub's error code for a direct method that nobody answers."""
        _, answer = self.cloud.call("POST", f"/devices/{device_id}/methods/{name}", {"timeout_s": timeout_s})
        return int(answer["code"])

    def desire(self, device_id: str, patch: object) -> None:
        """Change the desired properties of a device."""
        status, answer = self.cloud.call("PATCH", f"/devices/{device_id}/desired", patch)
        assert status == 202, answer

    @contextmanager
    def broken(self, kind: str, **fields: object) -> Iterator[None]:
        """A fault of the hub, for as long as the ``with`` block takes."""
        status, made = self.cloud.call("POST", "/faults", {"kind": kind, **fields})
        assert status == 201, made
        try:
            yield
        finally:
            self.cloud.call("DELETE", f"/faults/{made['id']}")  # 404: it is over already

    def history(self, device_id: str, event: str) -> list[dict[str, Any]]:
        """What the endpoint noted about a device: its ``connect`` or its ``close`` entries, oldest first."""
        _, seen = self.cloud.call("GET", "/history/hub")
        notes = [{**entry["data"], "reply": entry["reply"]} for entry in seen["history"]]
        return [note for note in notes if note.get("event") == event and note.get("device") == device_id]

    def logins(self, device_id: str) -> list[int]:
        """The answers to a device's CONNECTs."""
        return [note["code"] for note in self.history(device_id, "connect")]

    def ends(self, device_id: str) -> list[str]:
        """Why a device's connections ended."""
        return [note["reply"] for note in self.history(device_id, "close")]

    def _section(self, device_id: str, name: str) -> tuple[dict[str, Any], int]:
        section = dict(self.device(device_id)["twin"]["properties"][name])
        del section["$metadata"]
        return section, section.pop("$version")
