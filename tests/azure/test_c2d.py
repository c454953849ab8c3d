"""Messages from the cloud to a device that azure-iot-device plays: what arrives, when, and what stays in the queue."""

import json

import pytest

from tests.azure.bus import BusWatcher
from tests.azure.conftest import Start
from tests.azure.hub import Hub
from tests.azure.sdk import BackEnd

pytestmark = pytest.mark.needs("azure-sdks", "mosquitto")

OVER = [pytest.param({}, id="tcp"), pytest.param({"websockets": True}, id="websocket")]


@pytest.mark.parametrize("options", OVER)
def test_a_message_arrives_with_its_properties_and_is_done_with(
    hub: Hub, back_end: BackEnd, bus: BusWatcher, start: Start, options: dict[str, object]
) -> None:
    device_id = f"c2d-{len(options)}"
    variables = {"DEVICE_CONNECTION_STRING": hub.produce(device_id), "CLIENT_OPTIONS": json.dumps(options)}
    device = start("device", **variables)
    device.next("ready")
    properties = {"$.mid": "m/1", "$.cid": "c 1", "$.ct": "text/plain", "iothub-ack": "full", "sign & måte": "a=b&c/d"}
    bus.send(f"hub/{device_id}/devicebound", b"hello", properties)
    assert device.next("message") == {
        "event": "message",
        "data": "hello",
        "message_id": "m/1",
        "correlation_id": "c 1",
        "content_type": "text/plain",
        "ack": "full",
        "properties": {"sign & måte": "a=b&c/d"},
    }
    hub.call_method(device_id, "stop")
    device.events()
    assert back_end.call("get_device", device_id)["cloud_to_device_message_count"] == 0


def test_messages_wait_for_a_device_that_is_away(hub: Hub, back_end: BackEnd, bus: BusWatcher, start: Start) -> None:
    connection_string = hub.produce("c2d-away")
    device = start("asynchronous", DEVICE_CONNECTION_STRING=connection_string)
    twin = device.event("ready")["twin"]
    assert twin["reported"] == {"$version": 1}
    assert hub.reported("c2d-away") == ({"from": "asyncio"}, 2)
    assert bus.next("hub/c2d-away/d2c").payload == b"from asyncio"
    bus.send("hub/c2d-away/devicebound", b"while it is there")
    assert device.event("message")["data"] == "while it is there"
    device.events()

    bus.send("hub/c2d-away/devicebound", b"while it is away")
    bus.next("hub/c2d-away/c2d-ready")
    assert back_end.call("get_device", "c2d-away")["cloud_to_device_message_count"] == 1
    again = start("device", DEVICE_CONNECTION_STRING=connection_string)
    assert again.next("message")["data"] == "while it is away"
    again.next("ready")
    hub.call_method("c2d-away", "stop")
    again.events()
    assert back_end.call("get_twin", "c2d-away")["cloud_to_device_message_count"] == 0
