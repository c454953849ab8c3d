import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.bus.api import (
    BusError,
    Delivery,
    Kind,
    LocalBus,
    Route,
    filter_of,
    matches,
    parse_topic,
    topic_of,
)
from emulator.clock import SimLoop

REST = {Kind.METHOD: 2, Kind.METHOD_RESPONSE: 2}


@given(st.text(min_size=1), st.sampled_from(Kind), st.text(), st.text())
def test_any_id_name_and_rid_survives_a_topic(device_id: str, kind: Kind, name: str, rid: str) -> None:
    rest = (name, rid)[: REST.get(kind, 0)]
    try:
        topic = topic_of(device_id, kind, *rest)
    except UnicodeEncodeError:
        return  # lone surrogates cannot come out of MQTT
    assert parse_topic(topic) == Route(device_id, kind, rest)
    assert matches(filter_of(kind), topic) and matches("hub/#", topic)
    assert topic.isascii() and not {"+", "#", "$"} & set(topic)


@given(st.text())
def test_topics_of_strangers_mean_nothing(topic: str) -> None:
    route = parse_topic(topic)
    assert route is None or topic.startswith("hub/")


@pytest.mark.parametrize("topic", ["hub/x", "hub/x/d2c/y/z", "hub/x/method", "hub/x/method/1", "hub//d2c", "x/y/d2c"])
def test_topics_outside_the_table_mean_nothing(topic: str) -> None:
    assert parse_topic(topic) is None


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matching"),
    [
        ("hub/#", "hub", True),
        ("hub/#", "hubs/x", False),
        ("#", "a/b", True),
        ("hub/+/d2c", "hub/x/d2c", True),
        ("hub/+/d2c", "hub/x/y/d2c", False),
        ("a.c", "abc", False),
        ("+", "a", True),
        ("+", "a/b", False),
    ],
)
def test_filters_match_as_in_mqtt(topic_filter: str, topic: str, matching: bool) -> None:
    assert matches(topic_filter, topic) is matching


def test_the_local_bus_refuses_what_is_over_its_limit_and_what_comes_after_its_end() -> None:
    async def main() -> None:
        bus, got = LocalBus(queue_max=2), list[Delivery]()
        await bus.start()
        await bus.subscribe("#", got.append)
        first, second, third = (bus.publish("a", bytes([n])) for n in range(3))
        with pytest.raises(BusError, match="2 messages waiting"):
            await third
        await asyncio.gather(first, second)
        await bus.publish("a", b"again")
        assert [delivery.payload for delivery in got] == [b"\0", b"\1", b"again"]
        await bus.stop()
        with pytest.raises(BusError, match="stopped"):
            await bus.publish("a", b"late")

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())
