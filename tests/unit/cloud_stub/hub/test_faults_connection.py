"""Connections that end, or seem not to, for no fault of the device's."""

from emulator.errors import NetReason
from emulator.wire.mqtt import ConnAck, PingReq, PubAck, Publish, Will

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"


def close_reasons(hub) -> list[tuple[str, str]]:
    return [(record["reply"], record["data"]["detail"]) for record in hub.events("close")]


def test_a_device_is_disabled_or_deleted_for_a_while(hub) -> None:
    async def story(hub):
        for kind, reason in (("hub.device_disabled", "disabled"), ("hub.device_deleted", "deleted")):
            device = await hub.online()
            undo = hub.inject(kind=kind, who=SERIAL)
            await device.closed
            assert await (await hub.device()).login() == ConnAck(False, 5)
            undo()
            assert hub.events("close")[-2]["reply"] == reason
        await hub.online()
        refused = [record["reply"] for record in hub.events("connect") if record["reply"] != "0: accepted"]
        assert refused == ["5: disabled", "5: unknown_device"]

    hub.run(story)


def test_a_fault_of_identity_leaves_others_alone(hub) -> None:
    async def story(hub):
        hub.registry.produce("ZPR000002")
        other = await hub.online(serial="ZPR000002")
        device = await hub.online()
        hub.inject(kind="hub.device_disabled", who=SERIAL)
        await device.closed
        assert await other.quiet()

    hub.run(story)


def test_a_token_is_cut_some_time_after_the_login_and_on_connections_that_stand(hub) -> None:
    async def story(hub):
        standing = await hub.online(keep_alive_s=0)
        hub.inject(kind="hub.token_cut", after_s=100.0)
        began = hub.now()
        await standing.closed
        assert 99.9 <= hub.now() - began <= 101
        again = await hub.online(keep_alive_s=0)
        began = hub.now()
        await again.closed
        assert 99.9 <= hub.now() - began <= 101
        assert close_reasons(hub) == [("sas_expired", "injected: hub.token_cut")] * 2

    hub.run(story)


def test_a_connection_that_stands_is_cut_at_once(hub) -> None:
    async def story(hub):
        device = await hub.online(will=Will(EVENTS, b"broke"))
        hub.inject(kind="hub.token_cut", count=1)
        began = hub.now()
        await device.closed
        assert hub.now() - began < 0.1 and [each.payload for each in hub.of("d2c")] == [b"broke"]
        await hub.online()

    hub.run(story)


def test_two_devices_with_one_id_throw_each_other_out(hub) -> None:
    async def story(hub):
        hub.inject(kind="hub.takeover", who=SERIAL, after_s=30.0, count=3)
        for _ in range(3):
            device = await hub.online()
            began = hub.now()
            error = await device.closed
            assert error is not None and error.reason is NetReason.RESET
            assert 29.9 <= hub.now() - began <= 31
        assert {reason for reason, _ in close_reasons(hub)} == {"takeover"}
        assert await (await hub.online()).quiet(100)

    hub.run(story)


def test_a_half_open_connection_hears_nothing_not_even_its_end(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.inject(kind="hub.half_open", count=1)
        await hub.sleep(2)
        device.send(PingReq(), Publish(EVENTS, b"{}", qos=1, packet_id=1))
        assert await device.quiet(5_000) and hub.of("d2c") == []
        assert hub.endpoint.online == 0 and hub.endpoint.connections == 1
        again = await hub.online()
        assert await again.quiet() and hub.endpoint.connections == 2
        device.abort()
        await hub.sleep(1)
        assert hub.endpoint.connections == 1
        assert close_reasons(hub)[0] == ("half_open", "injected: hub.half_open")

    hub.run(story)


def test_stop_ends_half_open_connections_too(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.inject(kind="hub.half_open", after_s=10.0)
        await hub.sleep(20)
        await hub.endpoint.stop()
        await device.closed
        assert hub.endpoint.connections == 0
        await hub.endpoint.start(hub.net.host("other", "10.0.0.2"))

    hub.run(story)


def test_the_hubs_clock_is_off(hub) -> None:
    async def story(hub):
        for offset_s, valid_s, code in ((100.0, 99, 5), (100.0, 101, 0), (-100.0, -99, 0), (-100.0, -101, 5)):
            undo = hub.inject(kind="hub.clock_skew", offset_s=offset_s, who=SERIAL)
            device = await hub.device(valid_s=valid_s)
            assert (await device.login()).code == code
            undo()

    hub.run(story)


def test_a_connection_lives_by_the_clock_that_let_it_in(hub_with) -> None:
    async def story(hub):
        hub.inject(kind="hub.clock_skew", offset_s=-1_000.0)
        device = await hub.device(valid_s=10)
        await device.login(keep_alive_s=0)
        began = hub.now()
        await device.closed
        assert 1_009 <= hub.now() - began <= 1_011

    hub_with(token_grace_s=0.0).run(story)


def test_faults_leave_messages_alone_that_they_are_not_about(hub) -> None:
    async def story(hub):
        hub.inject(kind="hub.quota", who="ZPR999999")
        hub.inject(kind="hub.close_after", publishes=100)
        device = await hub.online()
        device.send(Publish(EVENTS, b"{}", qos=1, packet_id=1))
        assert await device.next(PubAck) == PubAck(1)

    hub.run(story)
