"""The hub's user names, topics and property bags."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.iothub import (
    C2D,
    D2C,
    DESIRED_FILTER,
    METHODS_FILTER,
    TWIN_RESPONSES_FILTER,
    Bag,
    DesiredPatch,
    HubTopicError,
    HubUser,
    MethodCall,
    MethodResponse,
    MethodStatusError,
    TwinGet,
    TwinPatch,
    TwinResponse,
    charger_events_topic,
    desired_topic,
    devicebound_filter,
    devicebound_topic,
    encode_bag,
    events_topic,
    installation_token,
    method_response_topic,
    method_topic,
    parse_bag,
    parse_cloud_topic,
    parse_device_topic,
    parse_username,
    twin_get_topic,
    twin_reported_topic,
    twin_response_topic,
    username,
)
from emulator.wire.mqtt import Decoder, Publish, encode

SERIAL = "ZPR000001"
NIL_GUID = "00000000-0000-0000-0000-000000000000"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
bags = st.dictionaries(texts.filter(bool), st.none() | texts, max_size=5)
rids = st.text(st.characters(exclude_characters="&+#\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
method_names = st.text(st.characters(exclude_characters="/+#\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


def over_mqtt(topic: str) -> str:
    """The topic as the other side of an MQTT connection gets it."""
    [packet] = Decoder(100_000).feed(encode(Publish(topic, b"")))
    assert isinstance(packet, Publish)
    return packet.topic


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("hub.net/dev/?api-version=2018-06-30", HubUser("hub.net", "dev", None, {"api-version": "2018-06-30"})),
        (
            "hub.net/dev/api-version=2016-11-14&x=1",
            HubUser("hub.net", "dev", None, {"api-version": "2016-11-14", "x": "1"}),
        ),
        ("hub.net/dev", HubUser("hub.net", "dev")),
        ("hub.net/dev/mod/?api-version=1", HubUser("hub.net", "dev", "mod", {"api-version": "1"})),
        ("hub.net/dev/mod", HubUser("hub.net", "dev", "mod")),
        ("localhost:18884/dev/?api-version=1", HubUser("localhost:18884", "dev", None, {"api-version": "1"})),
        ("Hub.net/De%76/?a=1&a=2", HubUser("Hub.net", "De%76", None, {"a": "1"})),
        ("h/?dev/?api-version=1", HubUser("h", "?dev", None, {"api-version": "1"})),
        (
            "h/d/?api-version=1&DeviceClientType=azure%2Fiot%20sdk&model-id=dtmi%3Ax%3B1",
            HubUser("h", "d", None, {"api-version": "1", "DeviceClientType": "azure/iot sdk", "model-id": "dtmi:x;1"}),
        ),
        ("h/d/?", HubUser("h", "d", None, {})),
    ],
)
def test_user_names_as_clients_write_them(text: str, user: HubUser) -> None:
    assert parse_username(text) == user


def test_the_charger_writes_its_user_name_so() -> None:
    text = username("zapcloud.azure-devices.net", SERIAL, "2018-06-30")
    assert text == "zapcloud.azure-devices.net/ZPR000001/?api-version=2018-06-30"
    assert parse_username(text) == HubUser("zapcloud.azure-devices.net", SERIAL, None, {"api-version": "2018-06-30"})


@pytest.mark.parametrize("text", ["", "hub", "hub/", "/dev", "a/b/c/d", "a/b/c/d/?api-version=1", "hub/dev/?a=%ff"])
def test_what_is_no_user_name(text: str) -> None:
    with pytest.raises(HubTopicError):
        parse_username(text)


def test_the_charger_publishes_to_exactly_this_topic() -> None:
    topic = "devices/ZPR000001/messages/events/$.ct=application%2Fjson&$.ce=utf-8&ri=default&ii=AAAAAAAAAAAAAAAAAAAAAA"
    assert charger_events_topic(SERIAL, "default", NIL_GUID) == topic
    assert charger_events_topic(SERIAL, "default", NIL_GUID, ping_reply=True) == topic + "&pi=PR"
    bag: Bag = {"$.ct": "application/json", "$.ce": "utf-8", "ri": "default", "ii": "A" * 22}
    assert parse_device_topic(topic, SERIAL) == D2C(bag)


def test_installation_tokens_are_guids_in_dotnet_order() -> None:
    # printf 33221100554477668899aabbccddeeff | xxd -r -p | base64 | tr +/ -_ | cut -c1-22
    assert installation_token("00112233-4455-6677-8899-aabbccddeeff") == "MyIRAFVEd2aImaq7zN3u_w"
    assert installation_token(NIL_GUID) == "A" * 22
    with pytest.raises(HubTopicError):
        installation_token("not-a-guid")


@pytest.mark.parametrize(
    ("text", "bag"),
    [
        ("", {}),
        ("?a=1", {"a": "1"}),
        ("a", {"a": None}),
        ("a=", {"a": ""}),
        ("a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a+b=c+d%20e", {"a+b": "c+d e"}),
        ("%24.ct=application%2Fjson&%24.ce=utf-8", {"$.ct": "application/json", "$.ce": "utf-8"}),
        ("$.ct=application%2fjson", {"$.ct": "application/json"}),
        ("a=1&a=2", {"a": "1"}),
    ],
)
def test_bags_as_devices_write_them(text: str, bag: dict[str, str | None]) -> None:
    assert parse_bag(text) == bag


@pytest.mark.parametrize("text", ["=1", "a=%ff", "%ff"])
def test_what_is_no_bag(text: str) -> None:
    with pytest.raises(HubTopicError):
        parse_bag(text)


@pytest.mark.parametrize("pairs", [[("", "1")], [("a", "\ud800")], [("\ud800", None)]])
def test_properties_that_no_bag_can_hold(pairs: list[tuple[str, str | None]]) -> None:
    with pytest.raises(HubTopicError):
        encode_bag(pairs)


@given(bags, st.booleans())
def test_bags_survive_the_way_through_a_topic(bag: dict[str, str | None], escape_dollar: bool) -> None:
    text = encode_bag(bag.items(), escape_dollar=escape_dollar)
    assert parse_bag(text) == bag
    assert parse_device_topic(over_mqtt(events_topic(SERIAL, text)), SERIAL) == D2C(bag)


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("devices/ZPR000001/messages/events", D2C({})),
        ("devices/ZPR000001/messages/events/", D2C({})),
        ("devices/ZPR000001/messages/events/a=1", D2C({"a": "1"})),
        ("devices/ZPR000001/messages/events/a=1/", D2C({"a": "1"})),
        ("$iothub/twin/GET/?$rid=4200", TwinGet("4200")),
        ("$iothub/twin/GET/?$rid=a%20b/?c", TwinGet("a%20b/?c")),
        ("$iothub/twin/PATCH/properties/reported/?$rid=1", TwinPatch("1")),
        ("$iothub/methods/res/200/?$rid=1", MethodResponse(200, "1")),
        ("$iothub/methods/res/-2/?x=1&$rid=1", MethodResponse(-2, "1")),
    ],
)
def test_topics_that_a_device_publishes_to(topic: str, message: object) -> None:
    assert parse_device_topic(topic, SERIAL) == message


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "telemetry",
        "devices/ZPR000002/messages/events/",
        "devices/zpr000001/messages/events/",
        "devices/ZPR000001/messages/eventsx",
        "devices/ZPR000001/messages/events/a/b",
        "devices/ZPR000001/messages/events/=1",
        "devices/ZPR000001/messages/devicebound/",
        "$iothub/twin/GET",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/$rid=1",
        "$iothub/twin/GET/?$rid=",
        "$iothub/twin/GET/?rid=1",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/methods/res/200",
        "$iothub/methods/res/200/?$rid=",
        "$iothub/methods/POST/1/?$rid=1",
    ],
)
def test_topics_that_cost_a_device_its_connection(topic: str) -> None:
    with pytest.raises(HubTopicError):
        parse_device_topic(topic, SERIAL)


@pytest.mark.parametrize("status", ["", "ok", "2.0", "+1", "1_0", "٣", "9999999999"])
def test_a_method_status_that_is_no_integer_is_an_error_for_the_caller(status: str) -> None:
    with pytest.raises(MethodStatusError) as caught:
        parse_device_topic(f"$iothub/methods/res/{status}/?$rid=7", SERIAL)
    assert caught.value.rid == "7"


@given(rids, st.integers(-999, 999))
def test_what_a_device_says_is_understood(rid: str, status: int) -> None:
    assert parse_device_topic(over_mqtt(twin_get_topic(rid)), SERIAL) == TwinGet(rid)
    assert parse_device_topic(over_mqtt(twin_reported_topic(rid)), SERIAL) == TwinPatch(rid)
    assert parse_device_topic(over_mqtt(method_response_topic(status, rid)), SERIAL) == MethodResponse(status, rid)


@given(rids, method_names, st.integers(0, 999), st.none() | st.integers(0, 10**9 - 1))
def test_what_the_hub_says_is_understood(rid: str, name: str, status: int, version: int | None) -> None:
    assert parse_cloud_topic(over_mqtt(method_topic(name, rid))) == MethodCall(name, rid)
    answer = over_mqtt(twin_response_topic(status, rid, version))
    assert parse_cloud_topic(answer) == TwinResponse(status, rid, version)
    assert parse_cloud_topic(over_mqtt(desired_topic(version or 0))) == DesiredPatch(version or 0)


@given(texts, bags.filter(lambda bag: not bag.keys() & {"$.to", "$.mid"}))
def test_cloud_to_device_messages_are_understood(message_id: str, bag: dict[str, str | None]) -> None:
    topic = over_mqtt(devicebound_topic(SERIAL, message_id, bag.items()))
    assert parse_cloud_topic(topic) == C2D(
        {"$.to": "/devices/ZPR000001/messages/deviceBound", "$.mid": message_id, **bag}
    )


def test_the_hub_writes_its_topics_so() -> None:
    assert twin_response_topic(204, "4200", 7) == "$iothub/twin/res/204/?$rid=4200&$version=7"
    assert method_topic("501", "1") == "$iothub/methods/POST/501/?$rid=1"
    assert desired_topic(3) == "$iothub/twin/PATCH/properties/desired/?$version=3"
    assert devicebound_topic("d", "m", [("iothub-ack", "full")]) == (
        "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&%24.mid=m&iothub-ack=full"
    )


def test_each_topic_of_the_hub_is_in_a_filter_that_devices_subscribe_to() -> None:
    for topic, subscribed in (
        (method_topic("501", "1"), METHODS_FILTER),
        (twin_response_topic(200, "1"), TWIN_RESPONSES_FILTER),
        (desired_topic(1), DESIRED_FILTER),
        (devicebound_topic("d", "m"), devicebound_filter("d")),
    ):
        assert topic.startswith(subscribed.removesuffix("#"))


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "$iothub/methods/POST//?$rid=1",
        "$iothub/methods/POST/1/",
        "$iothub/twin/res/ok/?$rid=1",
        "$iothub/twin/res/200/?$version=1",
        "$iothub/twin/res/204/?$rid=1&$version=x",
        "$iothub/twin/PATCH/properties/desired/?",
        "$iothub/twin/PATCH/properties/desired/?$version=",
        "devices/d/messages/events/",
        "devices/d/messages/devicebound/=1",
    ],
)
def test_what_the_hub_never_says(topic: str) -> None:
    with pytest.raises(HubTopicError):
        parse_cloud_topic(topic)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a\0"])
def test_method_names_that_no_topic_can_hold(name: str) -> None:
    with pytest.raises(HubTopicError):
        method_topic(name, "1")


@pytest.mark.parametrize("rid", ["", "1&$rid=2"])
def test_request_ids_that_would_not_come_back(rid: str) -> None:
    for topic in (twin_get_topic, twin_reported_topic):
        with pytest.raises(HubTopicError):
            topic(rid)


pieces = st.sampled_from(
    f"devices / {SERIAL} messages events devicebound $iothub twin GET res methods POST PATCH properties desired "
    "reported ? $rid= $version= & 200 % = %ff".split()
)


@given(st.text() | st.lists(pieces, max_size=14).map("".join))
def test_garbage_gives_values_or_hub_topic_error(text: str) -> None:
    for read in (
        parse_username,
        parse_bag,
        parse_cloud_topic,
        installation_token,
        lambda topic: parse_device_topic(topic, SERIAL),
    ):
        with contextlib.suppress(HubTopicError):
            read(text)
