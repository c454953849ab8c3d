"""The table of refusals as far as paho-mqtt can say it, against a running cloud; then what takes two to say.

Sections are those of iothub-mqtt.md: 1.5 the decision at CONNECT, 1.10 the topics, 1.15 what ends a connection.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from emulator.wire.mqtt import Connect, Decoder, MqttError, Packet, PubAck, Publish, SubAck, Subscribe
from tests.hub.badge import Badge
from tests.hub.dialled import BackEnd, badge
from tests.hub.negative import CASES, Case
from tests.hub.paho_device import REASONS, WITHIN_S, PahoDevice
from tests.hub.streams import until
from tests.programs import CloudProgram

NUMBERS = count(1)
VERSIONS = {"MQTT 3.1": MQTTProtocolVersion.MQTTv31, "MQTT 5": MQTTProtocolVersion.MQTTv5}
"""Cases that paho plays by speaking another version itself."""
BYTES_ONLY = frozenset({"MQTT of level 3", "a protocol of another name", "second CONNECT"})
METHODS = "$iothub/methods/POST/#"


def packets_of(case: Case, one: Badge) -> list[Packet]:
    """What the case says; empty if that is not MQTT 3.1.1."""
    decoder = Decoder(1 << 20)
    try:
        return [packet for piece in case.say(one) for packet in decoder.feed(piece)]
    except MqttError:
        return []


def sayable(case: Case) -> bool:
    """Whether paho can be made to say it."""
    sample = Badge("hub.example", "ZPR000001", bytes(32), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    kinds = (Publish, Subscribe) if case.login else (Connect,)
    return case.quick and case.name not in BYTES_ONLY and isinstance(next(iter(packets_of(case, sample)), None), kinds)


REFUSALS = [case for case in CASES if sayable(case) and not case.login]
AFTER_LOGIN = [case for case in CASES if sayable(case) and case.login]


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudProgram]:
    with CloudProgram("--bus", "local", "--hub", "token_grace_s=0") as running:
        yield running


@pytest.fixture
def one(cloud: CloudProgram) -> Badge:
    """A device of its own for each story."""
    return badge(cloud, f"ZPR{next(NUMBERS):06}")


def good(one: Badge, **changes: Any) -> Connect:
    """The CONNECT that is accepted; what is not given is right."""
    (connect,) = Decoder(1 << 16).feed(one.connect(**changes))
    assert isinstance(connect, Connect)
    return connect


@pytest.fixture(autouse=True)
def nothing_known(cloud: CloudProgram) -> None:
    """The hub knows a connection by address and port, and the kernel gives a port out again."""
    assert cloud.call("DELETE", "/history/hub")[0] == 200


def end_of(cloud: CloudProgram, device: PahoDevice) -> str:
    """The reason that the hub has written down for this connection: of the refusal, or of its end."""

    def reasons() -> list[str]:
        history = cloud.call("GET", "/history/hub")[1]["history"]
        seen = [each for each in history if each["sender"] == device.address]
        refusals = [each["data"]["reason"] for each in seen if each["data"].get("reason")]
        return [*refusals, *(each["reply"] for each in seen if each["data"]["event"] == "close")]

    until(lambda: bool(reasons()), f"nothing is known of {device.address}")
    return reasons()[0]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_paho_is_refused_with_the_code_of_the_table(cloud: CloudProgram, one: Badge, case: Case) -> None:
    version = VERSIONS.get(case.name, MQTTProtocolVersion.MQTTv311)
    said = next(iter(packets_of(case, one))) if case.name not in VERSIONS else good(one)
    assert isinstance(said, Connect)
    with PahoDevice(cloud, said, protocol=version) as device:
        assert device.answer() == (REASONS[case.answer[3]], False)
        assert device.was_cut_off() and end_of(cloud, device) == case.why


@pytest.mark.parametrize("case", AFTER_LOGIN, ids=lambda case: case.name)
def test_paho_is_cut_off_or_served_as_the_table_says(cloud: CloudProgram, one: Badge, case: Case) -> None:
    with PahoDevice(cloud, good(one)) as device:
        device.logged_in()
        match packets_of(case, one)[0]:
            case Publish(topic, payload, qos, retain):
                device.publish(topic, payload, qos, retain)
            case Subscribe(_, filters):
                device.subscribe(list(filters))
        if case.ends:
            assert device.was_cut_off() and end_of(cloud, device) == case.why
            return
        match Decoder(100).feed(case.answer)[0]:
            case PubAck():
                device.acknowledged.get(timeout=WITHIN_S)
            case SubAck(_, codes):
                assert device.granted.get(timeout=WITHIN_S) == list(codes)
        assert device.is_served(one.events)


def test_most_of_the_table_can_be_said_by_paho() -> None:
    assert len(REFUSALS) > 25 and len(AFTER_LOGIN) > 35


# Section 1.5, the rows that need a registry, a stored session or a fault


def test_a_stored_session_is_said_to_be_present_and_a_clean_one_is_not(cloud: CloudProgram, one: Badge) -> None:
    for clean, present in ((False, False), (False, True), (True, False), (False, False)):
        with PahoDevice(cloud, good(one, clean_session=clean)) as device:
            assert device.answer() == ("Success", present)
            if not clean:
                device.subscribe(METHODS, 0)
                assert device.granted.get(timeout=WITHIN_S) == [0]


def test_a_disabled_device_is_refused_with_5(cloud: CloudProgram, one: Badge) -> None:
    change(cloud, one, status="disabled")
    with PahoDevice(cloud, good(one)) as device:
        assert device.answer()[0] == REASONS[5] and device.was_cut_off()
        assert end_of(cloud, device) == "disabled"


def test_a_disabled_device_is_refused_with_3_where_the_hub_says_so() -> None:
    with CloudProgram("--bus", "local", "--hub", "disabled_code=3") as cloud:
        one = badge(cloud, "ZPR000001")
        change(cloud, one, status="disabled")
        with PahoDevice(cloud, good(one)) as device:
            assert device.answer()[0] == REASONS[3] and device.was_cut_off()


@pytest.mark.parametrize(
    ("authentication", "why"),
    [
        ({"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "A" * 40}}, "no_certificate"),
        ({"type": "certificateAuthority"}, "no_certificate"),
    ],
)
def test_who_must_show_a_certificate_and_has_none_is_refused(
    cloud: CloudProgram, one: Badge, authentication: dict[str, Any], why: str
) -> None:
    change(cloud, one, authentication=authentication)
    for password, reason in ((None, why), (one.token().encode(), "sas_on_x509")):
        with PahoDevice(cloud, good(one, password=password)) as device:
            assert device.answer()[0] == REASONS[5] and device.was_cut_off()
            assert end_of(cloud, device) == reason


@pytest.mark.parametrize("code", [2, 3, 4, 5])  # to 1, paho says CONNECT again as MQTT 3.1
def test_any_code_can_be_had_of_a_fault(cloud: CloudProgram, one: Badge, code: int) -> None:
    with fault(cloud, "hub.connack", one, code=code), PahoDevice(cloud, good(one)) as device:
        assert device.answer()[0] == REASONS[code] and device.was_cut_off()


# Section 1.15, what ends a connection that has done nothing wrong


def test_a_second_login_of_the_same_device_ends_the_first(cloud: CloudProgram, one: Badge) -> None:
    with PahoDevice(cloud, good(one)) as first:
        first.logged_in()
        with PahoDevice(cloud, good(one)) as second:
            assert second.logged_in().is_served(one.events)
            assert first.was_cut_off() and end_of(cloud, first) == "takeover"


def test_a_token_that_runs_out_ends_it(cloud: CloudProgram, one: Badge) -> None:
    with PahoDevice(cloud, good(one, password=one.token(valid_s=2).encode())) as device:
        device.logged_in()
        assert device.was_cut_off() and end_of(cloud, device) == "sas_expired"


def test_silence_ends_it(cloud: CloudProgram, one: Badge) -> None:
    with PahoDevice(cloud, good(one, keep_alive_s=1)) as device:
        device.logged_in().loop_stop()  # paho sends its PINGREQs from this loop
        assert end_of(cloud, device) == "keep_alive"


@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_a_device_that_is_disabled_or_deleted_is_cut_off(cloud: CloudProgram, one: Badge, how: str) -> None:
    with PahoDevice(cloud, good(one)) as device:
        device.logged_in()
        if how == "disabled":
            change(cloud, one, status="disabled")
        else:
            with BackEnd(cloud) as back_end:
                assert back_end.call("DELETE", f"/devices/{one.device_id}", **{"If-Match": "*"})[0] == 204
        assert device.was_cut_off() and end_of(cloud, device) == how


def test_new_keys_count_at_the_next_login_and_not_before(cloud: CloudProgram, one: Badge) -> None:
    new = replace(one, key=b"n" * 32)
    with PahoDevice(cloud, good(one)) as device:
        device.logged_in()
        keys = {"primaryKey": b64encode(new.key).decode(), "secondaryKey": b64encode(new.key).decode()}
        change(cloud, one, authentication={"type": "sas", "symmetricKey": keys})
        assert device.is_served(one.events)
    with PahoDevice(cloud, good(one)) as device:
        assert device.answer()[0] == REASONS[5]
    with PahoDevice(cloud, good(new)) as device:
        assert device.logged_in().is_served(one.events)


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [("hub.quota", {}, "quota"), ("hub.close_after", {"publishes": 1}, "injected")],
)
def test_a_message_may_be_the_end_of_it(
    cloud: CloudProgram, one: Badge, kind: str, more: dict[str, Any], why: str
) -> None:
    with PahoDevice(cloud, good(one)) as device, fault(cloud, kind, one, **more):
        device.logged_in().publish(one.events, b"{}", 1)
        assert device.was_cut_off() and end_of(cloud, device) == why


def change(cloud: CloudProgram, one: Badge, **changes: Any) -> None:
    """Change the device's identity in the registry."""
    with BackEnd(cloud) as back_end:
        path = f"/devices/{one.device_id}"
        device = back_end.call("GET", path)[1]
        assert back_end.call("PUT", path, {**device, **changes}, **{"If-Match": "*"})[0] == 200


@contextmanager
def fault(cloud: CloudProgram, kind: str, one: Badge, **more: Any) -> Iterator[None]:
    """A fault that strikes this device."""
    status, made = cloud.call("POST", "/faults", {"kind": kind, "who": one.device_id, **more})
    assert status == 201, made
    yield
    cloud.call("DELETE", f"/faults/{made['id']}")
