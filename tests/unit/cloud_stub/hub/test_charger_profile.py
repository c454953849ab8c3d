"""The charger's own way to speak to the hub (iothub-mqtt.md section 1.21), as it must always work."""

import asyncio
import json

from certs.layout import HUB_HOST
from emulator.wire.iothub import sas_token
from emulator.wire.mqtt import ConnAck, Connect, PingReq, PingResp, PubAck, Publish, SubAck, Subscribe, Will

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/$.ct=application%2Fjson&$.ce=utf-8&ri=default&ii=AAECAwQFBgcICQoLDA0ODw"
FILTERS = ("$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
WEEK_S = 7 * 86_400
KEEP_ALIVE_S, PING_S = 2_200, 1_100


async def charger(hub):
    """Connect as the open firmware does: 7-day token, resource unencoded and with capital letters, will of QoS 1."""
    device = await hub.device()
    expiry = int(hub.utc().timestamp()) + WEEK_S
    token = sas_token(f"ZapCloud.azure-devices.net/devices/{SERIAL}", hub.device_key, expiry)
    assert "%2" not in token.partition("&sig=")[0]
    user = f"{HUB_HOST}/{SERIAL}/?api-version=2018-06-30"
    will = Will(EVENTS, b'{"offline":1}', qos=1)
    device.send(Connect(SERIAL, user, token.encode(), KEEP_ALIVE_S, True, will))
    assert await device.next(ConnAck) == ConnAck(False, 0)
    for number, topic_filter in enumerate(FILTERS, start=1):
        device.send(Subscribe(number, ((topic_filter, 2),)))
        assert await device.next(SubAck) == SubAck(number, (1,))
    return device


def test_the_whole_profile(hub) -> None:
    async def story(hub):
        device = await charger(hub)
        device.send(Publish("$iothub/twin/GET/?$rid=4200", b"", qos=1, packet_id=9))
        twin = await device.next(Publish)
        assert twin.topic == "$iothub/twin/res/200/?$rid=4200" and twin.qos == 0
        assert json.loads(twin.payload)["desired"]["$version"] == 1
        assert await device.next(PubAck) == PubAck(9)

        device.send(Publish(EVENTS, b'{"ObservationId":1}', qos=1, packet_id=10))
        assert await device.next(PubAck) == PubAck(10)
        (delivery,) = hub.of("d2c")
        properties = dict(delivery.properties)
        sent = {"$.ct": "application/json", "$.ce": "utf-8", "ri": "default", "ii": "AAECAwQFBgcICQoLDA0ODw"}
        assert {name: properties[name] for name in sent} == sent

        call = asyncio.ensure_future(hub.methods.invoke(SERIAL, "104", None))
        asked = await device.next(Publish)
        name, _, rid = asked.topic.removeprefix("$iothub/methods/POST/").partition("/?$rid=")
        assert (name, asked.payload, asked.qos) == ("104", b"null", 0)
        device.send(Publish(f"$iothub/methods/res/0/?$rid={rid}", b"", qos=1, packet_id=11))
        result = await call
        assert (result.status, result.payload) == (0, None)

    hub.run(story)


def test_pings_at_half_the_keep_alive_keep_it_under_the_hubs_cap(hub) -> None:
    async def story(hub):
        device = await charger(hub)
        for _ in range(5):
            await hub.sleep(PING_S)
            device.send(PingReq())
            await device.next(PingResp)
        began = hub.now()
        await device.closed
        assert 1_767 <= hub.now() - began <= 1_769
        assert [each.payload for each in hub.of("d2c")] == [b'{"offline":1}']
        assert dict(hub.of("d2c")[0].properties)["iothub-MessageType"] == "Will"

    hub.run(story)


def test_a_charger_that_stays_for_a_week_is_cut_off_after_the_grace(hub) -> None:
    async def story(hub):
        device = await charger(hub)
        pings = int((WEEK_S + 600) // PING_S)
        for _ in range(pings):
            await hub.sleep(PING_S)
            device.send(PingReq())
            await device.next(PingResp)
        await device.closed
        assert WEEK_S + 600 <= hub.now() <= WEEK_S + 602
        assert hub.events("close")[0]["reply"] == "sas_expired"

    hub.run(story)
