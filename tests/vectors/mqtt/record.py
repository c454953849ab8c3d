"""Records MQTT 3.1.1 packets made by paho-mqtt and Mosquitto: ``python tests/vectors/mqtt/record.py``.

Uses nothing of this project, so that the vectors are evidence from outside. Needs /usr/sbin/mosquitto.
"""

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

HERE = Path(__file__).parent
FILTERS = ["$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"]
EVENTS = "devices/ZPR000001/messages/events/$.ct=application%2Fjson&$.ce=utf-8&ri=default&ii=AAAAAAAAAAAAAAAAAAAAAA"
DOWN_QOS_1 = bytes.fromhex("3206000174000978")  # PUBLISH of "x" to "t", id 9
DOWN_QOS_2 = bytes.fromhex("340600017400" + "0a78")  # the same of QoS 2, id 10


def read_packet(stream: socket.socket) -> bytes:
    """One whole packet, cut by its remaining length."""
    data = stream.recv(1, socket.MSG_WAITALL)
    length = shift = 0
    while True:
        digit = stream.recv(1, socket.MSG_WAITALL)
        data += digit
        length |= (digit[0] & 0x7F) << shift
        shift += 7
        if digit[0] < 0x80:
            return data + (stream.recv(length, socket.MSG_WAITALL) if length else b"")


def paho_client(listener: socket.socket, keep_alive_s: int) -> paho.Client:
    """A client that says all that CONNECT can say."""
    client = paho.Client(CallbackAPIVersion.VERSION2, "ZPR000001", clean_session=False, protocol=paho.MQTTv311)
    client.username_pw_set("hub.example/ZPR000001/?api-version=2018-06-30", "not-a-secret")
    client.will_set(EVENTS, b'{"EventType":30}', qos=1)
    client.connect("127.0.0.1", listener.getsockname()[1], keepalive=keep_alive_s)
    client.loop_start()
    return client


def record_paho() -> dict[str, str]:
    """A paho client on a listener that answers with bytes written by hand."""
    packets: dict[str, bytes] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = paho_client(listener, 300)
        peer = listener.accept()[0]
        packets["connect"] = read_packet(peer)
        peer.sendall(bytes.fromhex("20020000"))
        while not client.is_connected():
            time.sleep(0.01)
        client.subscribe([(topic, 2) for topic in FILTERS])
        packets["subscribe"] = read_packet(peer)
        client.publish(EVENTS, b"zero", qos=0, retain=True)
        packets["publish_qos_0_retained"] = read_packet(peer)
        client.publish(EVENTS, b"one" * 50, qos=1)
        packets["publish_qos_1"] = read_packet(peer)
        client.publish(EVENTS, b"", qos=2)
        packets["publish_qos_2_empty"] = read_packet(peer)
        peer.sendall(b"\x50\x02" + packets["publish_qos_2_empty"][-2:])
        packets["pubrel"] = read_packet(peer)
        peer.sendall(DOWN_QOS_1)
        packets["puback_9"] = read_packet(peer)
        peer.sendall(DOWN_QOS_2)
        packets["pubrec_10"] = read_packet(peer)
        peer.sendall(bytes.fromhex("6202000a"))
        packets["pubcomp_10"] = read_packet(peer)
        client.unsubscribe(FILTERS[:2])
        packets["unsubscribe"] = read_packet(peer)
        client.disconnect()
        packets["disconnect"] = read_packet(peer)
        client.loop_stop()
        peer.close()
        pinging = paho_client(listener, 1)
        peer = listener.accept()[0]
        read_packet(peer)
        peer.sendall(bytes.fromhex("20020000"))
        packets["pingreq"] = read_packet(peer)
        pinging.disconnect()
        pinging.loop_stop()
        peer.close()
    return {name: packet.hex() for name, packet in packets.items()}


@contextlib.contextmanager
def mosquitto() -> Iterator[tuple[int, int]]:
    """A broker with two ports: one that lets everybody in, one that lets nobody in."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write("per_listener_settings true\n")
        for port, anonymous in zip(ports, ("true", "false"), strict=True):
            config.write(f"listener {port} 127.0.0.1\nallow_anonymous {anonymous}\n")
        config.flush()
        broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", config.name])
        try:
            time.sleep(1.0)
            yield ports
        finally:
            broker.terminate()
            broker.wait()


def record_mosquitto(sent: dict[str, str]) -> dict[str, str]:
    """What Mosquitto answers to the packets that paho made."""
    packets: dict[str, bytes] = {}
    with mosquitto() as (open_port, shut_port):
        with socket.create_connection(("127.0.0.1", shut_port)) as peer:
            peer.sendall(bytes.fromhex(sent["connect"]))
            packets["connack_refused"] = read_packet(peer)
        for name in ("connack_new", "connack_session_present"):
            with socket.create_connection(("127.0.0.1", open_port)) as peer:
                peer.sendall(bytes.fromhex(sent["connect"]))
                packets[name] = read_packet(peer)
                peer.sendall(bytes.fromhex(sent["disconnect"]))
        with socket.create_connection(("127.0.0.1", open_port)) as peer:
            peer.sendall(bytes.fromhex(sent["connect"]))
            read_packet(peer)
            for asked, answered in (
                ("subscribe", "suback"),
                ("pingreq", "pingresp"),
                ("publish_qos_1", "puback"),
                ("publish_qos_2_empty", "pubrec"),
                ("pubrel", "pubcomp"),
                ("unsubscribe", "unsuback"),
            ):
                peer.sendall(bytes.fromhex(sent[asked]))
                packets[answered] = read_packet(peer)
            peer.sendall(bytes.fromhex("8206000b00017402"))  # SUBSCRIBE to "t", QoS 2
            read_packet(peer)
            peer.sendall(DOWN_QOS_1)
            packets["publish_down"] = next(p for p in (read_packet(peer), read_packet(peer)) if p[0] >> 4 == 3)
    return {name: packet.hex() for name, packet in packets.items()}


if __name__ == "__main__":
    by_paho = record_paho()
    by_mosquitto = record_mosquitto(by_paho)
    for name, packets in (("paho", by_paho), ("mosquitto", by_mosquitto)):
        (HERE / f"{name}.json").write_text(json.dumps(packets, indent=2) + "\n")
