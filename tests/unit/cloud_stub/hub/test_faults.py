import pytest

from cloud_stub.hub.faults import FAULTS
from emulator.errors import NetError, NetReason, UsageError
from emulator.faults import fault_from
from emulator.wire.mqtt import ConnAck, PubAck, Publish

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"bad": "expired"}, NetReason.TLS_EXPIRED),
        ({"bad": "not_yet_valid"}, NetReason.TLS_NOT_YET_VALID),
        ({"bad": "wrong_host"}, NetReason.TLS_WRONG_HOST),
        ({"bad": "unknown_root"}, NetReason.TLS_UNKNOWN_CA),
        ({"bad": "intercepted"}, NetReason.TLS_UNKNOWN_CA),
        ({"version": "1.1"}, NetReason.TLS_VERSION),
        ({"version": "1.3"}, NetReason.TLS_VERSION),
    ],
)
def test_bad_certificates_and_versions_end_the_handshake_until_they_are_healed(hub, fault, reason) -> None:
    async def story(hub):
        undo = hub.inject(kind="hub.certificate" if "bad" in fault else "hub.tls_version", **fault)
        with pytest.raises(NetError) as caught:
            await hub.device()
        assert caught.value.reason is reason
        await hub.sleep(1)
        assert [record["data"]["event"] for record in hub.endpoint.history_json()] == ["tcp", "tls"]
        undo()
        await hub.online()

    hub.run(story)


def test_a_silent_hub_accepts_tcp_and_says_nothing(hub) -> None:
    async def story(hub):
        hub.inject(kind="hub.silent", count=1)
        with pytest.raises(NetError) as caught:
            await hub.device()
        assert caught.value.reason is NetReason.TIMED_OUT
        await hub.sleep(1)
        assert hub.endpoint.connections == 0
        await hub.online()

    hub.run(story)


def test_faults_of_the_login(hub) -> None:
    async def story(hub):
        undo = hub.inject(kind="hub.connack", code=3)
        assert await (await hub.device()).login() == ConnAck(False, 3)
        undo()
        undo = hub.inject(kind="hub.wrong_key", who=SERIAL)
        assert await (await hub.device()).login() == ConnAck(False, 5)
        undo()
        undo = hub.inject(kind="hub.stall_connect", who=SERIAL)
        stalled = await hub.device()
        stalled.send(stalled.connect_packet)
        assert await stalled.quiet(30)
        undo()
        await hub.online()
        replies = [record["reply"] for record in hub.events("connect")]
        assert replies == ["3: injected", "5: wrong_signature", "none: stalled", "0: accepted"]

    hub.run(story)


def test_a_lost_puback_is_a_message_that_the_bus_has(hub) -> None:
    async def story(hub):
        hub.inject(kind="hub.drop_puback", count=1)
        device = await hub.online()
        device.send(Publish(EVENTS, b"{}", qos=1, packet_id=1))
        device.send(Publish(EVENTS, b"{}", qos=1, packet_id=2))
        assert await device.next(PubAck) == PubAck(2)
        assert len(hub.of("d2c")) == 2

    hub.run(story)


def test_faults_before_the_login_cannot_name_a_device(hub) -> None:
    async def story(hub):
        with pytest.raises(UsageError, match=r"hub\.silent strikes before"):
            hub.inject(kind="hub.silent", who=SERIAL)

    hub.run(story)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "hub.certificate"},
        {"kind": "hub.certificate", "bad": "ugly"},
        {"kind": "hub.tls_version", "version": "1.2"},
        {"kind": "hub.connack", "code": 0},
        {"kind": "hub.connack", "code": 256},
    ],
)
def test_bad_fault_parameters_are_named(data) -> None:
    table = {fault.kind: fault for fault in FAULTS}
    with pytest.raises(UsageError, match=r"fault: (bad|version|code)"):
        fault_from(data, table)
