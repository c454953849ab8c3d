"""The cloud as clients see it that we did not write: paho-mqtt as the charger, mosquitto_sub at the bus."""

import contextlib
import json
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest
from queue import Queue
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.programs import WITHOUT_STDIN, CloudProgram, Program, descendants, left_over
from tests.requirements import program

pytestmark = pytest.mark.needs("mosquitto", "mosquitto_sub")

WITHIN_S = 10.0
VERSION = "$SYS/broker/version"
PROPERTIES = ("-V", "mqttv5", "-F", "%t|%P|%p")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProgram]:
    """One cloud for all stories; each has a charger of its own. At the end Ctrl-C must end all of it."""
    temporary = tmp_path_factory.mktemp("tmp")
    with CloudProgram("--bus", "mosquitto", env={"TMPDIR": str(temporary)}, before=WITHOUT_STDIN) as running:
        children = descendants(running.pid)
        assert children, "no mosquitto was started"
        yield running
        running.press_ctrl_c()
        ended = running.ended()
        assert (ended.status, ended.output, ended.errors) == (0, "", "")
        assert left_over(children) == []
        assert list(temporary.iterdir()) == []


class Charger(Client):
    """paho-mqtt with its events in queues. It finds the hub's host name at the real address of the cloud."""

    def __init__(self, cloud: CloudProgram, serial: str, key: bytes) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, serial, protocol=MQTTv311, clean_session=True, reconnect_on_failure=False
        )
        self.connects: Queue[ReasonCode] = Queue()
        self.disconnects: Queue[ReasonCode] = Queue()
        self.grants: Queue[list[int]] = Queue()
        self.acknowledged: Queue[int] = Queue()
        self.messages: Queue[MQTTMessage] = Queue()
        self.on_connect = self._connected
        self.on_disconnect = self._disconnected
        self.on_subscribe = self._granted
        self.on_publish = self._acknowledged
        self.on_message = self._message
        self.events = f"devices/{serial}/messages/events/"
        self._hub, self._real = cloud.ready["hub"], (cloud.ready["mqtt"]["host"], cloud.ready["mqtt"]["port"])
        context = ssl.create_default_context(cafile=cloud.ready["ca"])
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
        self.tls_set_context(context)
        token = sas_token(f"{self._hub}/devices/{serial}", key)
        self.username_pw_set(f"{self._hub}/{serial}/?api-version=2018-06-30", token)

    def _create_socket_connection(self) -> socket.socket:
        """paho's own hook below TLS: what a resolver would have answered."""
        return socket.create_connection(self._real, timeout=WITHIN_S)

    def log_in(self) -> None:
        self.connect(self._hub, 8883, keepalive=60)
        self.loop_start()

    def cut(self) -> None:
        """The network is gone, without a goodbye on any layer."""
        connection = self.socket()
        assert isinstance(connection, ssl.SSLSocket)
        connection.shutdown(socket.SHUT_RDWR)

    def _connected(
        self, _: Client, data: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.connects.put(code)

    def _disconnected(
        self, _: Client, data: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.disconnects.put(code)

    def _granted(self, _: Client, data: Any, mid: int, codes: list[ReasonCode], properties: Properties | None) -> None:
        self.grants.put([code.value for code in codes])

    def _acknowledged(self, _: Client, data: Any, mid: int, code: ReasonCode, properties: Properties | None) -> None:
        self.acknowledged.put(mid)

    def _message(self, _: Client, data: Any, message: MQTTMessage) -> None:
        self.messages.put(message)


Produce = Callable[..., Charger]


@pytest.fixture
def produce(cloud: CloudProgram, request: pytest.FixtureRequest) -> Iterator[Produce]:
    """Makes a charger by the control API; `key` is the one it uses if not its own."""
    made: list[Charger] = []

    def one(serial: str, key: bytes | None = None) -> Charger:
        status, answer = cloud.call("POST", "/devices", {"serial": serial})
        assert status == 201
        own = b64decode(answer["devices"][0]["key"])
        made.append(Charger(cloud, serial, own if key is None else key))
        return made[-1]

    yield one
    for charger in made:
        charger.disconnect()
        charger.loop_stop()


@contextlib.contextmanager
def watching(cloud: CloudProgram, *options: str) -> Iterator[Program]:
    """A mosquitto_sub on everything that passes the bus."""
    host, port = cloud.ready["mosquitto"]["host"], str(cloud.ready["mosquitto"]["port"])
    command = (program("mosquitto_sub"), "-h", host, "-p", port, "-t", "hub/#", "-t", VERSION, *(options or ("-v",)))
    with Program("stdbuf", "-oL", *command) as bus:
        assert bus.line().startswith(VERSION)  # a retained message: from now on it misses nothing
        yield bus


def sas_token(resource: str, key: bytes) -> str:
    """Written from the hub's documentation, not with the code under test."""
    expiry = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())  # noqa: TID251 - an outside client has the real time
    signed = f"{quote_plus(resource)}\n{expiry}".encode()
    signature = b64encode(digest(key, signed, sha256)).decode()
    return f"SharedAccessSignature sr={quote_plus(resource)}&sig={quote_plus(signature)}&se={expiry}"


def online(charger: Charger) -> Charger:
    charger.log_in()
    assert not charger.connects.get(timeout=WITHIN_S).is_failure
    return charger


def subscribed(charger: Charger, topic_filter: str, qos: int = 0) -> list[int]:
    charger.subscribe(topic_filter, qos)
    return charger.grants.get(timeout=WITHIN_S)


def test_it_logs_in_over_tls_1_2_with_the_name_of_the_hub(cloud: CloudProgram, produce: Produce) -> None:
    charger = online(produce("ZPR100001"))
    connection = charger.socket()
    assert isinstance(connection, ssl.SSLSocket) and connection.version() == "TLSv1.2"
    _, shown = cloud.call("GET", "/devices/ZPR100001")
    assert shown["online"] is True
    _, seen = cloud.call("GET", "/history/hub")
    names = [each["data"]["server_name"] for each in seen["history"] if "server_name" in each["data"]]
    assert names[-1] == cloud.ready["hub"] == "zapcloud.azure-devices.net"


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # by paho
@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("wrong_host", "Hostname mismatch"),
        ("unknown_root", "self-signed certificate"),
        ("expired", "certificate has expired"),
    ],
)
def test_it_does_verify_the_certificate(cloud: CloudProgram, produce: Produce, bad: str, complaint: str) -> None:
    charger = produce("ZPR100002")
    _, fault = cloud.call("POST", "/faults", {"kind": "hub.certificate", "bad": bad})
    try:
        with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
            charger.log_in()
    finally:
        cloud.call("DELETE", f"/faults/{fault['id']}")
    online(charger)


def test_telemetry_and_a_method_call_pass_the_bus(cloud: CloudProgram, produce: Produce) -> None:
    charger = online(produce("ZPR100003"))
    assert subscribed(charger, "$iothub/methods/POST/#") == [0]
    with watching(cloud) as bus, ThreadPoolExecutor() as caller:
        sent = charger.publish(f"{charger.events}ri={quote('a b')}", b'{"x":1}', qos=1)
        assert charger.acknowledged.get(timeout=WITHIN_S) == sent.mid
        assert bus.line_with("hub/") == 'hub/ZPR100003/d2c {"x":1}'

        call = caller.submit(cloud.call, "POST", "/devices/ZPR100003/methods/200", {"payload": {"force": True}})
        asked = charger.messages.get(timeout=WITHIN_S)
        assert asked.topic.startswith("$iothub/methods/POST/200/?$rid=") and json.loads(asked.payload) == {
            "force": True
        }
        rid = asked.topic.rpartition("=")[2]
        charger.publish(f"$iothub/methods/res/207/?$rid={rid}", b'{"done":"yes"}')
        assert call.result(WITHIN_S) == (200, {"status": 207, "payload": {"done": "yes"}})

        request, response = bus.line_with("/method/"), bus.line_with("/method-response/")
        topic, _, payload = request.partition(" ")
        bus_rid = topic.removeprefix("hub/ZPR100003/method/200/")
        assert json.loads(payload) == {"force": True}
        assert response == f'hub/ZPR100003/method-response/207/{bus_rid} {{"done":"yes"}}'


def test_a_method_nobody_answers_is_a_timeout_and_an_unheard_one_is_offline(
    cloud: CloudProgram, produce: Produce
) -> None:
    charger = online(produce("ZPR100004"))
    status, answer = cloud.call("POST", "/devices/ZPR100004/methods/102", {"timeout_s": 5})
    assert (status, answer["code"]) == (503, 404103)
    subscribed(charger, "$iothub/methods/POST/#")
    status, answer = cloud.call("POST", "/devices/ZPR100004/methods/102", {"timeout_s": 0.2})
    assert (status, answer["code"]) == (503, 504101)


def test_the_wrong_key_is_refused_with_code_5(cloud: CloudProgram, produce: Produce) -> None:
    charger = produce("ZPR100005", key=bytes(32))
    charger.log_in()
    assert str(charger.connects.get(timeout=WITHIN_S)) == "Not authorized"
    charger.disconnects.get(timeout=WITHIN_S)
    _, seen = cloud.call("GET", "/history/hub")
    (login,) = [each["data"] for each in seen["history"] if each["request"] == "CONNECT ZPR100005"]
    assert (login["code"], login["reason"]) == (5, "wrong_signature")


def test_no_credentials_are_refused_the_same_way(produce: Produce) -> None:
    charger = produce("ZPR100006")
    charger.username_pw_set(None, None)
    charger.log_in()
    assert str(charger.connects.get(timeout=WITHIN_S)) == "Not authorized"


@pytest.mark.parametrize("topic", ["hub/ZPR100007/d2c", "devices/ZPR999999/messages/events/", "$iothub/nonsense", "x"])
def test_a_publish_outside_the_catalogue_ends_the_connection(cloud: CloudProgram, produce: Produce, topic: str) -> None:
    charger = online(produce("ZPR100007"))
    charger.publish(topic, b"?", qos=1)
    assert charger.disconnects.get(timeout=WITHIN_S).is_failure
    assert charger.acknowledged.empty()


def test_a_subscription_outside_the_catalogue_ends_it_too(produce: Produce) -> None:
    charger = online(produce("ZPR100008"))
    charger.subscribe("#", 0)
    assert charger.disconnects.get(timeout=WITHIN_S).is_failure


def test_qos_2_is_granted_as_1_and_publishing_with_it_ends_the_connection(produce: Produce) -> None:
    charger = online(produce("ZPR100009"))
    assert subscribed(charger, "devices/ZPR100009/messages/devicebound/#", 2) == [1]
    charger.publish(charger.events, b"exactly once", qos=2)
    assert charger.disconnects.get(timeout=WITHIN_S).is_failure


def test_the_twin_is_read_reported_and_pushed(cloud: CloudProgram, produce: Produce) -> None:
    charger = online(produce("ZPR100010"))
    subscribed(charger, "$iothub/twin/res/#")
    subscribed(charger, "$iothub/twin/PATCH/properties/desired/#")

    def answer_to(topic: str, payload: bytes = b"") -> tuple[str, bytes]:
        charger.publish(topic, payload)
        message = charger.messages.get(timeout=WITHIN_S)
        return message.topic, bytes(message.payload)

    topic, twin = answer_to("$iothub/twin/GET/?$rid=7")
    assert topic == "$iothub/twin/res/200/?$rid=7"
    assert json.loads(twin)["reported"] == {"$version": 1}
    version = json.loads(twin)["desired"]["$version"]
    topic, _ = answer_to("$iothub/twin/PATCH/properties/reported/?$rid=8", b'{"led":"on"}')
    assert topic == "$iothub/twin/res/204/?$rid=8&$version=2"

    assert cloud.call("PUT", "/devices/ZPR100010/desired", {"led": "off"})[0] == 202
    pushed = charger.messages.get(timeout=WITHIN_S)
    assert pushed.topic == f"$iothub/twin/PATCH/properties/desired/?$version={version + 1}"
    assert json.loads(pushed.payload) == {"led": "off", "$version": version + 1}
    _, twin = answer_to("$iothub/twin/GET/?$rid=9")
    assert json.loads(twin)["desired"].items() >= {"led": "off", "$version": version + 1}.items()
    assert json.loads(twin)["reported"] == {"led": "on", "$version": 2}


def test_the_second_login_of_a_device_ends_the_first(cloud: CloudProgram, produce: Produce) -> None:
    first = online(produce("ZPR100011"))
    second = online(produce("ZPR100011"))
    assert first.disconnects.get(timeout=WITHIN_S).is_failure
    sent = second.publish(second.events, b"still here", qos=1)
    assert second.acknowledged.get(timeout=WITHIN_S) == sent.mid
    assert cloud.call("GET", "/devices/ZPR100011")[1]["online"] is True


def test_the_will_of_a_charger_that_was_cut_off_is_told_and_that_of_one_that_says_goodbye_is_not(
    cloud: CloudProgram, produce: Produce
) -> None:
    with watching(cloud, *PROPERTIES) as bus:
        charger = produce("ZPR100012")
        charger.will_set(charger.events, b"gone", qos=1)
        online(charger).cut()
        topic, properties, payload = bus.line_with("gone").split("|")
        assert (topic, payload) == ("hub/ZPR100012/d2c", "gone")
        assert "iothub-MessageType:Will" in properties
        assert "iothub-connection-device-id:ZPR100012" in properties
        assert '"disconnected"' in bus.line_with("ZPR100012/connection")

        polite = produce("ZPR100013")
        polite.will_set(polite.events, b"gone", qos=1)
        online(polite).disconnect()
        lines = [bus.line_with("ZPR100013"), bus.line_with("ZPR100013")]
        assert [line.split("|")[0] for line in lines] == ["hub/ZPR100013/connection"] * 2


def test_a_message_with_its_bag_reaches_the_bus_with_what_the_hub_stamps(cloud: CloudProgram, produce: Produce) -> None:
    charger = online(produce("ZPR100014"))
    with watching(cloud, *PROPERTIES) as bus:
        bag = "%24.ct=application%2Fjson&iothub-connection-device-id=forged"
        charger.publish(charger.events + bag, b"{}", qos=1)
        _, properties, _ = bus.line_with("/d2c").split("|")
    assert "$.ct:application/json" in properties
    assert "iothub-connection-device-id:ZPR100014" in properties
    assert "forged" not in properties
