"""Direct methods and WebSocket through the hub's HTTPS port: every case of iothub-mqtt.md section 2.5."""

import asyncio
from typing import Any

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request

from certs.layout import HUB_HOST
from cloud_stub.hub.methods import IN_FLIGHT_MAX, MethodError
from emulator.clock import Rtc
from emulator.net.api import Address
from emulator.net.tls import client_context, tls_connect
from emulator.wire.mqtt import ConnAck, Connect, Decoder, PingReq, PingResp, PubAck, Publish, SubAck, Subscribe, encode
from tests.unit.cloud_stub.service_api.service_lab import serving
from tests.unit.cloud_stub.service_api.test_app import is_new

SERIAL = "ZPR000001"
METHODS = "$iothub/methods/POST/#"
PATH = f"/twins/{SERIAL}/methods"
TIMEOUT = r'\\"info\\":\{\\"timeout\\":\\"%s\\"\},'


def call(name: str = "502", payload: Any = None, **times: int) -> dict[str, Any]:
    body = {"methodName": name, "payload": payload}
    return body | {f"{when}TimeoutInSeconds": seconds for when, seconds in times.items()}


async def answer(device: Any, status: str = "200", body: bytes = b"") -> Publish:
    asked = await device.next(Publish, within_s=60)
    device.send(Publish(f"$iothub/methods/res/{status}/?$rid={asked.topic.partition('$rid=')[2]}", body))
    return asked


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        ("200", b'{"a":[1]}', b'{"status":200,"payload":{"a":[1]}}'),
        ("404", b"", b'{"status":404,"payload":null}'),
        ("-1", b"no json", b'{"status":-1,"payload":"no json"}'),
    ],
)
def test_the_devices_own_status_is_always_200(hub, status: str, body: bytes, result: bytes) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(METHODS)
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(api.send("POST", PATH, call("Reboot", {"in_s": 5})))
                asked = await answer(device, status, body)
            assert asked.topic.startswith("$iothub/methods/POST/Reboot/?$rid=") and asked.payload == b'{"in_s":5}'
            assert calling.result().status_code == 200 and calling.result().content == result

    hub.run(story)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (call(response=4), r"The field responseTimeoutInSeconds must be within \[5; 300\]\."),
        (call(response=301), r"The field responseTimeoutInSeconds must be within \[5; 300\]\."),
        (call(connect=-1), r"The field connectTimeoutInSeconds must be within \[0; 300\]\."),
        (call(connect=301), r"The field connectTimeoutInSeconds must be within \[0; 300\]\."),
        (call() | {"responseTimeoutInSeconds": 7.5}, r"The field responseTimeoutInSeconds must .*"),
        (call() | {"responseTimeoutInSeconds": True}, r"The field responseTimeoutInSeconds must .*"),
        ({"payload": 1}, r"methodName must be a text of 1 to 100 characters\."),
        (call("x" * 101), r"methodName must be a text of 1 to 100 characters\."),
    ],
)
def test_values_out_of_range_are_400004(hub, body: dict[str, Any], says: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("POST", PATH, body)
            assert reply.status_code == 400 and is_new(reply.text, 400004, says)

    hub.run(story)


def test_a_name_that_no_topic_can_carry_is_400004(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await hub.online(METHODS)
            reply = await api.send("POST", PATH, call("a/b"))
            assert reply.status_code == 400 and is_new(reply.text, 400004, "The name, .*")

    hub.run(story)


def test_an_unknown_device_is_404001_in_the_new_shape(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("POST", "/twins/other/methods", call())
            assert reply.status_code == 404 and is_new(reply.text, 404001, r"There is no such device\.")
            assert "iothub-errorcode" not in reply.headers

    hub.run(story)


def test_a_device_that_is_not_there_or_takes_no_methods_is_404103(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            says = r"Timed out waiting for device to connect\."
            reply = await api.send("POST", PATH, call())
            assert reply.status_code == 404 and is_new(reply.text, 404103, says, TIMEOUT % "00:00:00")
            await hub.online()
            began = hub.now()
            reply = await api.send("POST", PATH, call(connect=7))
            assert reply.status_code == 404 and is_new(reply.text, 404103, says, TIMEOUT % "00:00:07")
            assert hub.now() - began == pytest.approx(7, abs=0.5)

    hub.run(story)


def test_a_device_that_connects_in_time_is_called(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(api.ok("POST", PATH, call(connect=60)))
                await hub.sleep(30)
                await answer(await hub.online(METHODS))
            assert calling.result() == {"status": 200, "payload": None}

    hub.run(story)


def test_no_answer_in_time_is_504101(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await hub.online(METHODS)
            for body, seconds, info in ((call(), 30, "00:00:30"), (call(response=5), 5, "00:00:05")):
                began = hub.now()
                reply = await api.send("POST", PATH, body)
                says = r"Timed out waiting for the response from device\."
                assert reply.status_code == 504 and is_new(reply.text, 504101, says, TIMEOUT % info)
                assert hub.now() - began == pytest.approx(seconds, abs=0.5)

    hub.run(story)


def test_a_device_that_goes_away_while_it_is_waited_for_is_404104(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(METHODS)
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(api.send("POST", PATH, call()))
                await device.next(Publish)
                device.abort()
            reply = calling.result()
            assert reply.status_code == 404 and is_new(reply.text, 404104, "The device's connection ended .*")

    hub.run(story)


async def nobody_answers(calling: Any) -> None:
    with pytest.raises(MethodError, match="504101"):
        await calling


def test_too_many_calls_at_once_are_403800(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await hub.online(METHODS)
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT_MAX):
                    group.create_task(nobody_answers(hub.methods.invoke(SERIAL, "502", None, 5)))
                await hub.sleep(1)
                reply = await api.send("POST", PATH, call())
            assert reply.status_code == 403 and is_new(reply.text, 403800, "Too many calls .*")

    hub.run(story)


def test_a_payload_over_128_kilobytes_is_413001(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(METHODS)
            reply = await api.send("POST", PATH, call(payload="x" * 131_071))
            assert reply.status_code == 413 and is_new(reply.text, 413001, "A payload may have 131072 bytes.")
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(api.ok("POST", PATH, call(payload="x" * 131_070)))
                assert len((await answer(device)).payload) == 131_072
            assert calling.result()["status"] == 200

    hub.run(story)


class WebSocketDevice:
    """A device that speaks MQTT in WebSocket frames."""

    def __init__(self, stream: Any, target: str, subprotocols: list[str]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.close_code: int | None = None
        self._stream = stream
        self._socket = WSConnection(ConnectionType.CLIENT)
        self._packets: asyncio.Queue[Any] = asyncio.Queue()
        self._decoder = Decoder(1 << 20)
        stream.attach(self)
        stream.write(self._socket.send(Request(host=HUB_HOST, target=target, subprotocols=subprotocols)))

    def send(self, *packets: Any) -> None:
        for packet in packets:
            self._stream.write(self._socket.send(BytesMessage(encode(packet))))

    async def next(self, kind: type, within_s: float = 5.0) -> Any:
        async with asyncio.timeout(within_s):
            packet = await self._packets.get()
        assert isinstance(packet, kind), packet
        return packet

    def data_received(self, data: bytes) -> None:
        self._socket.receive_data(data)
        for event in self._socket.events():
            if isinstance(event, BytesMessage):
                for packet in self._decoder.feed(bytes(event.data)):
                    self._packets.put_nowait(packet)
            elif isinstance(event, CloseConnection):
                self.close_code = event.code
                self._stream.write(self._socket.send(event.response()))
            elif not self.answer.done():
                self.answer.set_result(event)

    def connection_lost(self, error: Any) -> None:
        self.closed.set_result(None)

    def abort(self) -> None:
        self._stream.abort()

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


async def websocket(hub: Any, target: str, *subprotocols: str) -> WebSocketDevice:
    number = len(hub.net._by_address)
    host = hub.net.host(f"device {number}", f"10.0.1.{number}")
    tcp = await host.connect(Address("10.0.0.2", 443), timeout_s=5)
    context = client_context(hub._certs.roots_pem())
    rtc = Rtc(hub.now, built_at=hub.utc())
    tls = await tls_connect(tcp, context, server_name=HUB_HOST, rtc=rtc, timeout_s=5)
    device = WebSocketDevice(tls, target, list(subprotocols))
    await device.answer
    return device


async def login(hub: Any, device: WebSocketDevice, **token: Any) -> Connect:
    packet = hub.connect_packet(SERIAL, **token)
    device.send(packet)
    return packet


@pytest.mark.parametrize("query", ["", "?iothub-no-client-cert=true"])
def test_a_device_over_websocket_is_a_device_like_any_other(hub, query: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await websocket(hub, f"/$iothub/websocket{query}", "mqtt")
            assert isinstance(device.answer.result(), AcceptConnection)
            await login(hub, device)
            assert await device.next(ConnAck) == ConnAck(False, 0)
            device.send(
                Subscribe(1, ((METHODS, 1),)), Publish(f"devices/{SERIAL}/messages/events/", b"x", 1, packet_id=2)
            )
            assert await device.next(SubAck) == SubAck(1, (1,)) and await device.next(PubAck) == PubAck(2)
            assert [delivery.payload for delivery in hub.of("d2c")] == [b"x"]
            async with asyncio.TaskGroup() as group:
                calling = group.create_task(api.ok("POST", PATH, call()))
                await answer(device, "200", b"true")
            assert calling.result() == {"status": 200, "payload": True}
            device.send(PingReq())
            await device.next(PingResp)

    hub.run(story)


def test_a_bad_login_over_websocket_is_refused_and_closed_by_handshake(hub) -> None:
    async def story(hub):
        async with serving(hub):
            device = await websocket(hub, "/$iothub/websocket", "mqtt")
            await login(hub, device, key=b"x" * 32)
            assert await device.next(ConnAck) == ConnAck(False, 5)
            await device.closed
            assert device.close_code == 1000 and hub.endpoint.connections == 0

    hub.run(story)


def test_one_id_over_both_ways_is_taken_over(hub) -> None:
    async def story(hub):
        async with serving(hub):
            first = await hub.online()
            device = await websocket(hub, "/$iothub/websocket", "mqtt")
            await login(hub, device)
            assert await device.next(ConnAck) == ConnAck(False, 0)
            await first.closed
            await hub.online()
            await device.closed

    hub.run(story)


@pytest.mark.parametrize(
    ("target", "subprotocols", "status"),
    [("/elsewhere", ["mqtt"], 404), ("/$iothub/websocket", ["amqp"], 400), ("/$iothub/websocket", [], 400)],
)
def test_other_upgrades_are_refused(hub, target: str, subprotocols: list[str], status: int) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await websocket(hub, target, *subprotocols)
            refusal = device.answer.result()
            assert isinstance(refusal, RejectConnection) and refusal.status_code == status
            await device.closed
            assert hub.endpoint.connections == 0
            await api.ok("GET", f"/devices/{SERIAL}")

    hub.run(story)
