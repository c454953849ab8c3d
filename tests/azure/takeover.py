"""Another program with a device's own credentials: the hub closes the connection that the device has."""

import socket
import ssl
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest
from queue import Queue
from urllib.parse import quote_plus

from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from tests.azure.hub import Hub

WITHIN_S = 10.0


class Intruder(Client):
    """paho-mqtt on the same session as the device: clean session 0, as the SDK has it."""

    def __init__(self, hub: Hub, connection_string: str) -> None:
        fields = dict(field.split("=", 1) for field in connection_string.split(";"))
        host, device_id = fields["HostName"], fields["DeviceId"]
        super().__init__(
            CallbackAPIVersion.VERSION2, device_id, protocol=MQTTv311, clean_session=False, reconnect_on_failure=False
        )
        self.answers: Queue[bool] = Queue()
        self.on_connect = lambda client, data, flags, code, properties: self.answers.put(not code.is_failure)
        self._host, self._real = host, (hub.cloud.ready["mqtt"]["host"], hub.cloud.ready["mqtt"]["port"])
        self.tls_set_context(ssl.create_default_context(cafile=hub.cloud.ready["ca"]))
        token = _sas_token(f"{host}/devices/{device_id}", b64decode(fields["SharedAccessKey"]))
        self.username_pw_set(f"{host}/{device_id}/?api-version=2021-04-12", token)

    def _create_socket_connection(self) -> socket.socket:
        """paho's own hook below TLS: what a resolver would have answered."""
        return socket.create_connection(self._real, timeout=WITHIN_S)


def take_over(hub: Hub, connection_string: str) -> None:
    """Connect as the device and leave at once."""
    intruder = Intruder(hub, connection_string)
    intruder.connect(hub.host, 8883)
    intruder.loop_start()
    assert intruder.answers.get(timeout=WITHIN_S)
    intruder.disconnect()
    intruder.loop_stop()


def _sas_token(resource: str, key: bytes) -> str:
    expiry = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())  # noqa: TID251 - an outside client has the real time
    signed = f"{quote_plus(resource)}\n{expiry}".encode()
    signature = b64encode(digest(key, signed, sha256)).decode()
    return f"SharedAccessSignature sr={quote_plus(resource)}&sig={quote_plus(signature)}&se={expiry}"
