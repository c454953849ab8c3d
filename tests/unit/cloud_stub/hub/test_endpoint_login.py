"""Who gets in and who is thrown out, over real TLS: certificates, policies, changes of the registry."""

import json
from dataclasses import replace

from certs.layout import HUB_HOST
from cloud_stub.hub.client_certificate import parse_authorities
from cloud_stub.state.identity import CaSigned, DeviceSpec, DeviceStatus, SasAuth, SelfSigned
from emulator.wire.iothub import sas_token, username
from emulator.wire.mqtt import ConnAck, Connect, PubAck, Publish, Will
from tests.unit.cloud_stub.hub.people import EXPIRED, authority, person

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"


def without_password(device_id: str) -> Connect:
    return Connect(device_id, username(HUB_HOST, device_id, "2021-04-12"))


def message(device_id: str, packet_id: int = 1) -> Publish:
    return Publish(f"devices/{device_id}/messages/events/", b"{}", qos=1, packet_id=packet_id)


def test_a_self_signed_certificate_logs_in_without_a_password(hub) -> None:
    async def story(hub):
        me = person("whatever")
        hub.registry.create("x509", DeviceSpec(SelfSigned("", me.thumbprints[0])))
        device = await hub.device("x509", shown=(me,))
        device.send(without_password("x509"), message("x509"))
        assert await device.next(ConnAck) == ConnAck(False, 0)
        assert await device.next(PubAck) == PubAck(1)
        (delivery,) = hub.of("d2c")
        method = json.loads(dict(delivery.properties)["iothub-connection-auth-method"])
        assert method == {"scope": "device", "type": "x509", "issuer": "iothub"}

    hub.run(story)


def test_a_chain_up_to_a_registered_authority_logs_in(hub) -> None:
    async def story(hub):
        root = authority("Works CA")
        line = authority("Line 1", signer=root)
        me = person("x509", signer=line)
        hub.registry.create("x509", DeviceSpec(CaSigned()))
        device = await hub.device("x509", shown=(me, line))
        device.send(without_password("x509"))
        assert await device.next(ConnAck) == ConnAck(False, 5)
        hub.endpoint.rules = replace(hub.endpoint.rules, authorities=parse_authorities(root.pem))
        device = await hub.device("x509", shown=(me, line))
        device.send(without_password("x509"))
        assert await device.next(ConnAck) == ConnAck(False, 0)
        assert [record["reply"] for record in hub.events("connect")] == ["5: unknown_authority", "0: accepted"]

    hub.run(story)


def test_certificates_are_judged_at_connect_and_not_in_the_handshake(hub) -> None:
    async def story(hub):
        me, old = person("me"), person("x509", until=EXPIRED)
        hub.registry.create("x509", DeviceSpec(SelfSigned(old.thumbprints[1])))
        for shown in ((), (me,), (old,)):
            device = await hub.device("x509", shown=shown)
            device.send(without_password("x509"))
            assert await device.next(ConnAck) == ConnAck(False, 5)
        replies = [record["reply"] for record in hub.events("connect")]
        assert replies == ["5: no_certificate", "5: wrong_certificate", "5: certificate_dates"]
        charger = await hub.device(shown=(me,))  # a certificate that nobody has asked for does no harm
        assert (await charger.login()).code == 0

    hub.run(story)


def test_a_field_gateway_connects_a_device_with_a_policy(hub) -> None:
    async def story(hub):
        device = await hub.device()
        expiry = int(hub.utc().timestamp()) + 60
        token = sas_token(HUB_HOST, hub.policies["device"].primary_key, expiry, policy="device")
        assert (await device.login(password=token.encode())).code == 0
        device.send(message(SERIAL))
        await device.next(PubAck)
        method = dict(hub.of("d2c")[0].properties)["iothub-connection-auth-method"]
        assert json.loads(method)["scope"] == "hub"

    hub.run(story)


def test_a_device_that_is_disabled_or_deleted_is_cut_off_and_refused(hub) -> None:
    async def story(hub):
        device = await hub.online(will=Will(EVENTS, b"broke"))
        spec = DeviceSpec(SasAuth(*hub.registry.get(SERIAL).keys), DeviceStatus.DISABLED)
        hub.registry.update(SERIAL, spec)
        await device.closed
        assert [delivery.payload for delivery in hub.of("d2c")] == [b"broke"]
        assert (await (await hub.device()).login()).code == 5
        hub.registry.update(SERIAL, replace(spec, status=DeviceStatus.ENABLED))
        device = await hub.online()
        hub.registry.delete(SERIAL)
        await device.closed
        hub.registry.produce(SERIAL)
        device = await hub.online()
        reasons = [record["reply"] for record in hub.events("close")]
        assert reasons == ["disabled", "refused", "deleted"]

    hub.run(story)


def test_a_device_that_was_made_again_is_another_one(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.registry.changed.clear()
        hub.registry.delete(SERIAL)
        hub.registry.produce(SERIAL)
        hub.announce(SERIAL)
        await device.closed
        assert hub.events("close")[-1]["reply"] == "deleted"

    hub.run(story)


def test_new_keys_do_not_end_a_connection_that_stands(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.registry.update(SERIAL, DeviceSpec(SasAuth(b"n" * 32, b"m" * 32)))
        hub.announce("ZPR999999")
        assert await device.quiet()
        assert (await (await hub.device(key=hub.device_key)).login()).code == 5

    hub.run(story)


def test_when_the_state_is_out_of_order_connect_is_answered_with_3(hub) -> None:
    async def story(hub):
        device = await hub.device()
        packet = device.connect_packet
        hub.memory.state.close()
        device.send(packet)
        assert await device.next(ConnAck) == ConnAck(False, 3)
        assert hub.events("connect")[0]["reply"] == "3: unavailable"

    hub.run(story)


def test_a_token_that_has_run_out_counts_a_little_longer_where_the_hub_says_so(hub_with) -> None:
    async def story(hub):
        device = await hub.device(valid_s=0)
        assert (await device.login()).code == 0
        await device.closed
        assert 10 <= hub.now() <= 12

    hub_with(token_skew_s=5.0, token_grace_s=10.0).run(story)


def test_no_will_on_takeover_where_the_hub_says_so(hub_with) -> None:
    async def story(hub):
        old = await hub.online(will=Will(EVENTS, b"broke"))
        await hub.online()
        await old.closed
        assert hub.of("d2c") == []

    hub_with(will_on_takeover=False).run(story)


def test_a_device_without_an_api_version_is_accepted_and_noted(hub) -> None:
    async def story(hub):
        device = await hub.device()
        assert (await device.login(username=f"{HUB_HOST}/{SERIAL}")).code == 0
        assert hub.events("connect")[0]["data"]["api_version"] is None

    hub.run(story)


def test_the_model_that_a_device_names_is_kept_and_stamped(hub) -> None:
    async def story(hub):
        device = await hub.device()
        user = f"{HUB_HOST}/{SERIAL}/?api-version=2020-09-30&model-id=dtmi%3Acom%3Bcharger%3B1"
        assert (await device.login(username=user)).code == 0
        device.send(message(SERIAL))
        await device.next(PubAck)
        assert dict(hub.of("d2c")[0].properties)["dt-dataschema"] == "dtmi:com;charger;1"
        assert hub.memory.twins.get(SERIAL).model_id == "dtmi:com;charger;1"

    hub.run(story)
