"""The two MQTT machines against each other over a wire in memory, and against disorder."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.mqtt import (
    Acked,
    ConnectAsked,
    Connected,
    Disconnected,
    Ended,
    EndReason,
    Event,
    Granted,
    InflightFull,
    MqttClient,
    MqttServer,
    NotConnected,
    PingAsked,
    PublishAsked,
    Received,
    Refused,
    ServerEvent,
    SubscribeAsked,
    UnsubscribeAsked,
    Unsubscribed,
)
from emulator.machines.mqtt_events import next_packet_id
from emulator.wire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    MqttError,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
)

CONNECT = Connect("ZPR000001", "hub/ZPR000001/?api-version=2018-06-30", b"token", 300, will=Will("t", b"gone", 1))
METHODS = "$iothub/methods/POST/#"
CAP_S = 1767.0


def new_client(connect: Connect = CONNECT, inflight_max: int = 16) -> MqttClient:
    return MqttClient(connect, max_packet_bytes=10_000, ack_timeout_s=10.0, inflight_max=inflight_max)


def new_server(now: float = 0.0, inflight_max: int = 16) -> MqttServer:
    return MqttServer(
        max_packet_bytes=10_000, connect_timeout_s=60.0, keep_alive_cap_s=CAP_S, now=now, inflight_max=inflight_max
    )


def open_client(connect: Connect = CONNECT, inflight_max: int = 16, now: float = 0.0) -> MqttClient:
    client = new_client(connect, inflight_max)
    client.start(now)
    client.output()
    assert client.receive(encode(ConnAck(False, 0)), now) == [Connected(False)]
    return client


def open_server(keep_alive_s: int = 300, inflight_max: int = 16) -> MqttServer:
    server = new_server(inflight_max=inflight_max)
    connect = Connect("ZPR000001", keep_alive_s=keep_alive_s)
    assert server.receive(encode(connect), 0.0) == [ConnectAsked(connect)]
    server.accept(False, 0.0)
    assert server.output() == encode(ConnAck(False, 0))
    return server


@dataclass
class Pair:
    """A client and a server with a wire between them that delivers `chunk` bytes at a time, 0 for all at once."""

    chunk: int
    client: MqttClient = field(default_factory=new_client)
    server: MqttServer = field(default_factory=new_server)
    at_client: list[Event] = field(default_factory=list)
    at_server: list[ServerEvent] = field(default_factory=list)
    now: float = 0.0

    def exchange(self) -> None:
        """Move bytes both ways until nobody says anything more."""
        for _ in range(1_000):
            up, down = self.client.output(), self.server.output()
            if not up and not down:
                return
            for part in self._parts(up):
                self._serve(self.server.receive(part, self.now))
            for part in self._parts(down):
                self.at_client += self.client.receive(part, self.now)
        raise AssertionError("the machines never stop talking")

    def _serve(self, events: list[ServerEvent]) -> None:
        """What every server does at once: answer pings."""
        for event in events:
            if isinstance(event, PingAsked):
                self.server.pong()
            else:
                self.at_server.append(event)

    def log_in(self) -> None:
        self.client.start(self.now)
        self.exchange()
        self.server.accept(False, self.now)
        self.exchange()

    def _parts(self, data: bytes) -> list[bytes]:
        size = self.chunk or len(data) or 1
        return [data[at : at + size] for at in range(0, len(data), size)]

    def client_events(self) -> list[Event]:
        events, self.at_client = self.at_client, []
        return events

    def server_events(self) -> list[ServerEvent]:
        events, self.at_server = self.at_server, []
        return events


@pytest.fixture(params=[0, 1, 7], ids=["whole", "byte by byte", "seven bytes"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(chunk=request.param)


def test_a_session_from_login_to_disconnect(pair: Pair) -> None:
    pair.log_in()
    assert pair.server_events() == [ConnectAsked(CONNECT)]
    assert pair.client_events() == [Connected(False)]

    subscribed = pair.client.subscribe([(METHODS, 2)], pair.now)
    pair.exchange()
    assert pair.server_events() == [SubscribeAsked(subscribed, ((METHODS, 2),))]
    pair.server.grant(subscribed, [1])
    pair.exchange()
    assert pair.client_events() == [Granted(subscribed, (1,))]

    published = pair.client.publish("events", b"up", qos=1, now=pair.now)
    assert pair.client.publish("events", b"lost", qos=0, now=pair.now, retain=True) == 0
    pair.exchange()
    assert pair.server_events() == [
        PublishAsked(Publish("events", b"up", 1, packet_id=published)),
        PublishAsked(Publish("events", b"lost", retain=True)),
    ]
    pair.server.ack(published)
    pair.exchange()
    assert pair.client_events() == [Acked(published)]

    delivered = pair.server.publish("method", b"down", qos=1, now=pair.now, dup=True)
    pair.exchange()
    assert pair.client_events() == [Received("method", b"down", 1, False, True)]
    assert pair.server_events() == [Acked(delivered)]

    unsubscribed = pair.client.unsubscribe([METHODS], pair.now)
    pair.exchange()
    assert pair.server_events() == [UnsubscribeAsked(unsubscribed, (METHODS,))]
    pair.server.ack_unsubscribe(unsubscribed)
    pair.exchange()
    assert pair.client_events() == [Unsubscribed(unsubscribed)]

    pair.client.disconnect(pair.now)
    pair.exchange()
    assert pair.server_events() == [Disconnected()]
    assert pair.client.ended and pair.server.ended
    assert pair.client.deadline() is None and pair.server.deadline() is None


def test_a_refusal_ends_both_sides(pair: Pair) -> None:
    pair.client.start(0.0)
    pair.exchange()
    pair.server.refuse(5)
    pair.exchange()
    assert pair.client_events() == [Refused(5), Ended(EndReason.REFUSED, "CONNACK code 5")]
    assert pair.client.ended and pair.server.ended


def test_an_idle_day_is_nothing_but_pings(pair: Pair) -> None:
    pair.log_in()
    pair.client_events(), pair.server_events()
    pings = 0
    while pair.now < 86_400:
        deadlines = [d for d in (pair.client.deadline(), pair.server.deadline()) if d is not None]
        assert min(deadlines) > pair.now
        pair.now = min(deadlines)
        pair.at_client += pair.client.wake(pair.now)
        pair.at_server += pair.server.wake(pair.now)
        pings += 1
        pair.exchange()
    assert pings == 86_400 / 150
    assert (pair.at_client, pair.at_server) == ([], [])


def test_garbage_ends_either_side_after_what_came_before_it() -> None:
    message, garbage = encode(Publish("t", b"x")), b"\xff\xff"
    client_events = open_client().receive(message + garbage, 1.0)
    server_events = open_server().receive(message + garbage, 1.0)
    assert client_events[0] == Received("t", b"x", 0, False, False)
    assert server_events[0] == PublishAsked(Publish("t", b"x"))
    for [last] in (client_events[1:], server_events[1:]):
        assert isinstance(last, Ended) and last.reason is EndReason.MALFORMED


def test_answers_that_come_twice_do_no_harm() -> None:
    client, server = open_client(), open_server()
    ours = [client.publish("t", b"", qos=1, now=0.0), client.subscribe([("t", 1)], 0.0)]
    answers = encode(PubAck(ours[0])) + encode(SubAck(ours[1], (1,)))
    assert client.receive(answers + answers, 1.0) == [Acked(ours[0]), Granted(ours[1], (1,))]
    assert client.receive(encode(PingResp()), 1.0) == []
    theirs = server.publish("t", b"", qos=1, now=0.0)
    assert server.receive(encode(PubAck(theirs)) * 2, 1.0) == [Acked(theirs)]


def test_requests_in_flight_are_bounded_and_go_on_after_an_answer() -> None:
    client, server = open_client(inflight_max=2), open_server(inflight_max=2)
    first = client.publish("t", b"", qos=1, now=0.0)
    client.subscribe([("t", 0)], 0.0)
    for ask in (
        lambda: client.publish("t", b"", qos=1, now=0.0),
        lambda: client.subscribe([("t", 0)], 0.0),
        lambda: client.unsubscribe(["t"], 0.0),
    ):
        with pytest.raises(InflightFull):
            ask()
    assert client.publish("t", b"", qos=0, now=0.0) == 0
    client.receive(encode(PubAck(first)), 0.0)
    assert client.publish("t", b"", qos=1, now=0.0) not in (0, first)

    first = server.publish("t", b"", qos=1, now=0.0)
    server.publish("t", b"", qos=1, now=0.0)
    with pytest.raises(InflightFull):
        server.publish("t", b"", qos=1, now=0.0)
    server.receive(encode(PubAck(first)), 0.0)
    server.publish("t", b"", qos=1, now=0.0)


def test_a_request_that_cannot_be_encoded_leaves_no_trace() -> None:
    client, server = open_client(inflight_max=1), open_server(inflight_max=1)
    for refused in (
        lambda: client.publish("a/#", b"", qos=1, now=0.0),
        lambda: client.publish("a", b"", qos=2, now=0.0),
        lambda: client.subscribe([], 0.0),
        lambda: client.unsubscribe(["a#"], 0.0),
        lambda: server.publish("a/#", b"", qos=1, now=0.0),
        lambda: server.publish("a", b"", qos=2, now=0.0),
    ):
        with pytest.raises(MqttError):
            refused()
    assert client.output() == server.output() == b""
    client.publish("a", b"", qos=1, now=0.0)
    server.publish("a", b"", qos=1, now=0.0)


def test_asking_too_early_or_too_late_is_an_error_and_answering_too_late_is_not() -> None:
    client, server = new_client(), new_server()
    with pytest.raises(NotConnected):
        client.publish("t", b"", qos=0, now=0.0)
    with pytest.raises(NotConnected):
        server.publish("t", b"", qos=0, now=0.0)
    client = open_client()
    client.disconnect(1.0)
    with pytest.raises(NotConnected):
        client.subscribe([("t", 0)], 1.0)
    with pytest.raises(NotConnected):
        client.start(1.0)
    server = open_server()
    server.receive(encode(Disconnect()), 1.0)
    with pytest.raises(NotConnected):
        server.publish("t", b"", qos=1, now=2.0)
    server.ack(1)
    server.grant(1, (1,))
    server.ack_unsubscribe(1)
    server.accept(False, 2.0)
    server.refuse(5)
    assert server.output() == b""


def test_packet_ids_go_round_and_skip_those_in_use() -> None:
    assert next_packet_id(0) == 1
    assert next_packet_id(65_535) == 1
    assert next_packet_id(65_534, {65_535}, {1, 2}) == 3


chunks = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            encode(packet)
            for packet in (
                CONNECT,
                ConnAck(False, 0),
                ConnAck(False, 5),
                Publish("t", b"x"),
                Publish("t", b"x", 1, packet_id=1),
                Publish("t", b"x", 2, packet_id=2),
                PubAck(1),
                PubRec(1),
                PubRel(2),
                PubComp(2),
                Subscribe(1, (("t", 1),)),
                SubAck(1, (1,)),
                SubAck(2, (1, 1)),
                Unsubscribe(2, ("t",)),
                UnsubAck(2),
                PingReq(),
                PingResp(),
                Disconnect(),
            )
        ]
    ),
)
acts = st.one_of(
    st.tuples(st.just("receive"), chunks),
    st.tuples(st.just("wait"), st.floats(0, 500)),
    st.tuples(st.sampled_from(["publish", "subscribe", "unsubscribe", "answer", "refuse", "disconnect"]), st.none()),
)


def act_client(client: MqttClient, act: str, now: float) -> None:
    match act:
        case "publish":
            client.publish("t", b"x", qos=1, now=now)
        case "subscribe":
            client.subscribe([("t", 1)], now)
        case "unsubscribe":
            client.unsubscribe(["t"], now)
        case "disconnect":
            client.disconnect(now)


def act_server(server: MqttServer, act: str, now: float) -> None:
    match act:
        case "publish":
            server.publish("t", b"x", qos=1, now=now)
        case "subscribe":
            server.grant(1, (1,))
        case "unsubscribe":
            server.ack_unsubscribe(2)
        case "answer":
            server.accept(False, now)
        case "disconnect":
            server.ack(1)
        case "refuse":
            server.refuse(5)


def started_client() -> MqttClient:
    client = new_client()
    client.start(0.0)
    return client


@given(st.sampled_from([started_client, open_client, new_server, open_server]), st.lists(acts, max_size=25))
def test_nothing_that_happens_raises_or_spins(
    make: Callable[[], MqttClient | MqttServer], story: list[tuple[str, bytes | float | None]]
) -> None:
    machine = make()
    now, over = 0.0, False
    for act, value in story:
        events: list[Event] | list[ServerEvent] = []
        if isinstance(value, bytes):
            events = machine.receive(value, now)
        elif isinstance(value, float):
            now += value
        else:
            with contextlib.suppress(NotConnected, InflightFull):
                act_client(machine, act, now) if isinstance(machine, MqttClient) else act_server(machine, act, now)
        events = [*events, *machine.wake(now)]
        assert not (over and events), "something came after the end"
        over = machine.ended
        ends = [event for event in events if isinstance(event, Ended | Disconnected)]
        assert len(ends) <= 1 and (not ends or (over and events[-1] is ends[0]))
        deadline = machine.deadline()
        assert (deadline is None) if over else (deadline is None or deadline > now)
        Decoder(10_000).feed(machine.output())  # whatever is said is MQTT
