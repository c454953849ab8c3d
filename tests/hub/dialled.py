"""Callers on real sockets: stdlib TLS, bytes in and out, and MQTT packets where a story needs them."""

import contextlib
import socket
import ssl
from base64 import b64decode
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from emulator.wire.iothub import sas_token
from emulator.wire.mqtt import ConnAck, Decoder, Packet, SubAck, encode
from tests.hub.badge import Badge, subscribe
from tests.programs import CloudProgram

WITHIN_S = 10.0
CHUNK_BYTES = 65_536

P = TypeVar("P", bound=Packet)


def utc_now() -> datetime:
    """The real time: these callers are outside."""
    return datetime.now(UTC)  # noqa: TID251 - the cloud under test runs in real time


def badge(cloud: CloudProgram, serial: str) -> Badge:
    """A device of a running cloud."""
    status, made = cloud.call("POST", "/devices", {"serial": serial})
    assert status == 201, made
    return Badge(cloud.ready["hub"], serial, b64decode(made["devices"][0]["key"]), utc_now)


class BackEnd:
    """Calls of the service API of a running cloud, with its own connection string."""

    def __init__(self, cloud: CloudProgram) -> None:
        parts = dict(part.split("=", 1) for part in cloud.ready["service_connection_string"].split(";"))
        self._hub, self._policy = parts["HostName"], parts["SharedAccessKeyName"]
        self._key = b64decode(parts["SharedAccessKey"])
        place = cloud.ready["service"]
        context = ssl.create_default_context(cafile=cloud.ready["ca"])
        self._client = httpx.Client(
            base_url=f"https://{place['host']}:{place['port']}", verify=context, trust_env=False, timeout=WITHIN_S
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and answer. httpx.HTTPError when there is none."""
        expiry = int(utc_now().timestamp()) + 60
        token = sas_token(self._hub, self._key, expiry, encode_resource=True, policy=self._policy)
        answer = self._client.request(
            method,
            path,
            params={"api-version": "2021-04-12"},
            json=body,
            headers={"Authorization": token, "Host": self._hub, **headers},
            extensions={"sni_hostname": self._hub},
        )
        return answer.status_code, answer.json() if answer.content else None


class Dialled:
    """A TLS connection to the MQTT port of a running cloud."""

    def __init__(self, cloud: CloudProgram, *, buffer_bytes: int | None = None) -> None:
        """`buffer_bytes` is how much the kernel may take for us before we read it; None: as it likes."""
        place = cloud.ready["mqtt"]
        context = ssl.create_default_context(cafile=cloud.ready["ca"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(socket.socket())
            raw.settimeout(WITHIN_S)
            if buffer_bytes is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            raw.connect((place["host"], place["port"]))
            self._socket = context.wrap_socket(raw, server_hostname=cloud.ready["hub"])
            stack.pop_all()
        self._decoder = Decoder(1 << 20)
        self._packets: list[Packet] = []
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def say(self, data: bytes) -> None:
        """Send bytes; the hub may have hung up already."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def listen(self, octets: int) -> bytes:
        """So many bytes; fewer when the hub hangs up."""
        heard = b""
        while len(heard) < octets and (more := self._read(octets - len(heard))):
            heard += more
        return heard

    def rest(self) -> bytes:
        """Everything until the hub hangs up."""
        heard = b""
        while more := self._read(CHUNK_BYTES):
            heard += more
        return heard

    def send(self, *packets: Packet) -> None:
        """Send packets."""
        self.say(b"".join(map(encode, packets)))

    def take(self) -> Packet:
        """The next packet."""
        while not self._packets:
            data = self._read(CHUNK_BYTES)
            assert data, "the hub hung up"
            self._packets += self._decoder.feed(data)
        return self._packets.pop(0)

    def next(self, kind: type[P]) -> P:
        """The next packet, which must be of this kind."""
        packet = self.take()
        assert isinstance(packet, kind), packet
        return packet

    def log_in(self, badge: Badge, *filters: str, **changes: Any) -> ConnAck:
        """CONNECT, and SUBSCRIBE to these filters."""
        self.say(badge.connect(**changes))
        answer = self.next(ConnAck)
        if filters and not answer.code:
            self.say(subscribe(*filters))
            assert self.next(SubAck).codes == (1,) * len(filters)
        return answer

    def _read(self, octets: int) -> bytes:
        try:
            return self._socket.recv(octets)
        except (ssl.SSLEOFError, ConnectionResetError):
            return b""
