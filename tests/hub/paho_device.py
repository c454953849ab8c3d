"""paho-mqtt as a device of a running cloud. It finds the hub's name at the cloud's real address."""

import socket
import ssl
from queue import Queue
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from emulator.wire.mqtt import Connect
from tests.programs import CloudProgram

WITHIN_S = 10.0

REASONS = {
    1: "Unsupported protocol version",
    2: "Client identifier not valid",
    3: "Server unavailable",
    4: "Bad user name or password",
    5: "Not authorized",
}
"""What paho calls the codes of CONNACK (MQTT 3.1.1 section 3.2.2.3)."""


class PahoDevice(Client):
    """It says CONNECT as it is told, once; its events are in queues."""

    def __init__(
        self, cloud: CloudProgram, connect: Connect, *, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311
    ) -> None:
        clean = None if protocol is MQTTProtocolVersion.MQTTv5 else connect.clean_session
        super().__init__(
            CallbackAPIVersion.VERSION2,
            connect.client_id,
            clean_session=clean,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        self.answers: Queue[tuple[str, bool]] = Queue()
        """To CONNECT: paho's word for the code, and session present."""
        self.ends: Queue[str] = Queue()
        self.acknowledged: Queue[int] = Queue()
        self.granted: Queue[list[int]] = Queue()
        self.messages: Queue[MQTTMessage] = Queue()
        self.address = ""
        self.on_connect, self.on_disconnect, self.on_message = self._connected, self._disconnected, self._message
        self.on_publish, self.on_subscribe = self._published, self._subscribed
        self._hub, self._keep_alive_s = cloud.ready["hub"], connect.keep_alive_s
        self._real = cloud.ready["mqtt"]["host"], cloud.ready["mqtt"]["port"]
        context = ssl.create_default_context(cafile=cloud.ready["ca"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.tls_set_context(context)
        password: Any = connect.password  # paho sends bytes as they are, whatever its types say
        self.username_pw_set(connect.username, password)

    def __enter__(self) -> Self:
        self.connect(self._hub, 8883, keepalive=self._keep_alive_s)
        self.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
        self.loop_stop()

    def answer(self) -> tuple[str, bool]:
        """The hub's answer to CONNECT."""
        return self.answers.get(timeout=WITHIN_S)

    def logged_in(self) -> Self:
        """The hub has let it in."""
        assert self.answer()[0] == "Success"
        return self

    def is_served(self, topic: str) -> bool:
        """Whether a message to its own topic is acknowledged."""
        sent = self.publish(topic, b"{}", qos=1)
        return self.acknowledged.get(timeout=WITHIN_S) == sent.mid

    def was_cut_off(self) -> bool:
        """The hub has hung up, without a word about anything."""
        said = self.ends.get(timeout=WITHIN_S)
        return said != "Normal disconnection" and self.acknowledged.empty() and self.granted.empty()

    def _create_socket_connection(self) -> socket.socket:
        """paho's own hook below TLS: what a resolver would have answered."""
        opened = socket.create_connection(self._real, timeout=WITHIN_S)
        host, port = opened.getsockname()
        self.address = f"{host}:{port}"
        return opened

    def _connected(
        self, _: Client, data: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.answers.put((str(code), flags.session_present))

    def _disconnected(self, _: Client, data: Any, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
        self.ends.put(str(code))

    def _published(self, _: Client, data: Any, mid: int, code: ReasonCode, properties: Properties | None) -> None:
        self.acknowledged.put(mid)

    def _subscribed(self, _: Client, data: Any, mid: int, codes: list[ReasonCode], properties: Any) -> None:
        self.granted.put([code.value for code in codes])

    def _message(self, _: Client, data: Any, message: MQTTMessage) -> None:
        self.messages.put(message)
