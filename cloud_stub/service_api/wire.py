"""What the service API's replies and errors look like, pure (iothub-mqtt.md sections 2.1 and 2.7)."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from cloud_stub.state.errors import BodyShape, HubError
from cloud_stub.state.identity import AUTH_TYPES, Device, Seen, thumbprints
from cloud_stub.state.time import hub_time
from cloud_stub.state.twin import Twin, service_view

CONTENT_TYPE = "application/json; charset=utf-8"
PARTITIONS = 4
"""The number in a tracking id is the partition that answered; ours are made up."""


def json_bytes(value: Any) -> bytes:
    """Compact JSON in ASCII: it carries any text that JSON can hold."""
    return json.dumps(value, separators=(",", ":")).encode()


def quoted(etag: str) -> str:
    """An entity tag as it stands in the header ``ETag``."""
    return f'"{etag}"'


class Marks:
    """Marks replies and errors, so that people can ask the hub's owner about one."""

    def __init__(self, rng: Random, utc: Callable[[], datetime]) -> None:
        self._rng = rng
        self._utc = utc

    def headers(self) -> dict[str, str]:
        """What every reply has."""
        return {
            "Server": "Microsoft-HTTPAPI/2.0",
            "Vary": "Origin",
            "x-ms-request-id": self.new_id(),
        }

    def new_id(self) -> str:
        """A UUID."""
        return str(UUID(int=self._rng.getrandbits(128), version=4))

    def tracking_id(self) -> str:
        """``{32 hexadecimal digits}-G:{partition}-TimeStamp:{MM/DD/YYYY HH:MM:SS}``."""
        number = f"{self._rng.getrandbits(128):032x}"
        return f"{number}-G:{self._rng.randrange(PARTITIONS)}-TimeStamp:{self._utc():%m/%d/%Y %H:%M:%S}"

    def error(self, error: HubError) -> tuple[bytes, dict[str, str]]:
        """Body and headers of an error, in its shape."""
        if error.shape is BodyShape.OLD:
            return self._old_error(error), {"iothub-errorcode": error.code.label}
        return self._new_error(error), {}

    def _old_error(self, error: HubError) -> bytes:
        message = f"ErrorCode:{error.code.label};{error.text}"
        return json_bytes({"Message": message, "ExceptionMessage": f"Tracking ID:{self.tracking_id()}"})

    def _new_error(self, error: HubError) -> bytes:
        inner: dict[str, Any] = {
            "errorCode": error.code.value,
            "trackingId": self.tracking_id(),
            "message": error.text,
        }
        if error.info:
            inner["info"] = error.info
        inner["timestampUtc"] = hub_time(self._utc())
        return json_bytes({"Message": json_bytes(inner).decode(), "ExceptionMessage": ""})


def twin_json(device: Device, twin: Twin, seen: Seen, c2d_count: int) -> dict[str, Any]:
    """A twin as services see it, in the vendor's order (section 2.4). ``tags`` is absent when empty."""
    primary, secondary = thumbprints(device.auth)
    tags: Mapping[str, Any] = {"tags": twin.tags} if twin.tags else {}
    return {
        "deviceId": device.device_id,
        "etag": twin.etag,
        "deviceEtag": device.etag,
        "status": device.status.value,
        "statusUpdateTime": device.status_updated,
        "connectionState": "Connected" if seen.connected else "Disconnected",
        "lastActivityTime": seen.last_activity,
        "cloudToDeviceMessageCount": c2d_count,
        "authenticationType": AUTH_TYPES[type(device.auth)],
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "modelId": twin.model_id,
        "version": twin.version,
        **tags,
        "properties": {"desired": service_view(twin.desired), "reported": service_view(twin.reported)},
        "capabilities": {"iotEdge": device.iot_edge},
    }
