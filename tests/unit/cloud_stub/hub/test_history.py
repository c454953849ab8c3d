import json

import pytest

from cloud_stub.hub.history import DEPTH_MAX, DEPTH_MIN, DEVICES_MAX, ENTRIES_MAX, TEXT_MAX, Event, HubHistory, masked
from emulator.wire.mqtt import Disconnect, PingReq, PingResp, PubAck, Publish, Subscribe

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"


def test_what_a_device_did_is_read_oldest_first_and_can_be_forgotten() -> None:
    history = HubHistory(iter((1.0, 2.0)).__next__)
    history.note("a", Event.CONNECT, "0: accepted")
    history.note("a", Event.IN, "d2c", 12)
    assert history.of("a") == [
        {"t": 1.0, "event": "connect", "what": "0: accepted", "bytes": 0},
        {"t": 2.0, "event": "in", "what": "d2c", "bytes": 12},
    ]
    history.clear("a")
    history.clear("b")
    assert history.of("a") == history.of("b") == []


def test_few_devices_have_deep_histories_and_thousands_shallow_ones() -> None:
    history = HubHistory(lambda: 0.0)
    for _ in range(2 * DEPTH_MAX):
        history.note("first", Event.IN, "d2c")
    assert len(history.of("first")) == DEPTH_MAX
    for number in range(ENTRIES_MAX // DEPTH_MAX):
        history.note(f"device-{number}", Event.IN, "d2c")
    assert len(history.of("first")) == DEPTH_MAX // 2
    for number in range(ENTRIES_MAX // DEPTH_MIN):
        history.note(f"device-{number}", Event.IN, "d2c")
    history.note("first", Event.OUT, "puback")
    shown = history.of("first")
    assert len(shown) == DEPTH_MIN and shown[-1]["event"] == "out"


def test_when_devices_are_forgotten_the_others_may_have_more_again() -> None:
    history = HubHistory(lambda: 0.0)
    for number in range(ENTRIES_MAX // DEPTH_MAX + 1):
        history.note(str(number), Event.IN, "d2c")
    history.clear("0")
    for _ in range(2 * DEPTH_MAX):
        history.note("1", Event.IN, "d2c")
    assert len(history.of("1")) == DEPTH_MAX


def test_made_up_ids_push_each_other_out() -> None:
    history = HubHistory(lambda: 0.0)
    for number in range(DEVICES_MAX + 1):
        history.note(str(number), Event.CONNECT, "5: unknown_device")
    assert history.of("0") == [] and len(history.of("1")) == len(history.of(str(DEVICES_MAX))) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ZPR000001", "ZPR000001"),
        ("SharedAccessSignature sr=x&sig=abc%3D&se=1", "SharedAccessSignature sr=x&sig=...&se=1"),
        ("HostName=h;SharedAccessKey=aGVsbG8=;x=1", "HostName=h;SharedAccessKey=...;x=1"),
        ("a?SIG%3dsecret", "a?SIG%3d..."),
        ("x" * 500, "x" * TEXT_MAX),
    ],
)
def test_texts_by_devices_are_masked_and_short(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_the_endpoint_writes_down_logins_packets_and_ends(hub) -> None:
    async def story(hub):
        device = await hub.device()
        assert (await device.login(client_id="sig=hush", username="nonsense")).code == 5
        device = await hub.online("$iothub/twin/res/#", "$iothub/methods/POST/#")
        device.send(Publish(EVENTS, b"12345", qos=1, packet_id=1))
        await device.next(PubAck)
        device.send(Publish("$iothub/twin/GET/?$rid=1", b""))
        await device.next(Publish)
        device.send(PingReq())
        await device.next(PingResp)
        device.send(Disconnect())
        await device.closed
        peer = hub.events("connect")[1]["sender"]
        assert hub.notes() == [
            f"connect 0: accepted from {peer}",
            "in subscribe twin_responses methods",
            "in d2c",
            "out puback",
            "in twin get",
            "out twin response 200",
            "in ping",
            "close disconnect",
        ]
        assert [entry["bytes"] for entry in hub.endpoint.hub_history.of(SERIAL)][2] == 5
        shown = json.dumps([*hub.endpoint.history_json(), *hub.endpoint.hub_history.of("sig=...")])
        assert "hush" not in shown and "5: bad_username" in shown

    hub.run(story)


def test_the_end_of_a_connection_says_what_the_device_did_wrong(hub) -> None:
    async def story(hub):
        device = await hub.online()
        device.send(Subscribe(1, (("devices/sig=hush/#", 1),)))
        await device.closed
        assert hub.notes()[-1].startswith("close foreign_filter: devices/sig=...")
        device = await hub.online()
        device.send(Publish("nowhere/sig=hush", b""))
        await device.closed
        assert hub.notes()[-1].startswith("close foreign_topic: nowhere/sig=...")
        assert "hush" not in json.dumps([*hub.endpoint.history_json(), *hub.notes()])

    hub.run(story)
