"""Records MQTT 5 packets made by paho-mqtt and Mosquitto: ``python -m tests.vectors.mqtt.record5``.

Uses nothing of this project, so that the vectors are evidence from outside. Needs /usr/sbin/mosquitto.
"""

import json
import socket
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.vectors.mqtt.record import mosquitto, read_packet

HERE = Path(__file__).parent
PAIRS = [("$.ct", "application/json"), ("ø", "€"), ("twice", "1"), ("twice", "2")]


def record_paho() -> dict[str, str]:
    """A paho client on a listener that answers with bytes written by hand."""
    packets: dict[str, bytes] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = paho.Client(CallbackAPIVersion.VERSION2, "cloud", protocol=paho.MQTTv5)
        limits = Properties(PacketTypes.CONNECT)
        limits.MaximumPacketSize = 1_048_576
        client.connect("127.0.0.1", listener.getsockname()[1], keepalive=2, clean_start=True, properties=limits)
        client.loop_start()
        peer = listener.accept()[0]
        packets["connect"] = read_packet(peer)
        peer.sendall(bytes.fromhex("2003000000"))
        while not client.is_connected():
            time.sleep(0.01)
        number = Properties(PacketTypes.SUBSCRIBE)
        number.SubscriptionIdentifier = 300
        client.subscribe("hub/+/d2c", options=SubscribeOptions(qos=1, noLocal=True), properties=number)
        packets["subscribe"] = read_packet(peer)
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = PAIRS
        client.publish("hub/x/d2c", b"zero", qos=0, properties=properties)
        packets["publish_qos_0"] = read_packet(peer)
        client.publish("hub/x/d2c", b"one" * 50, qos=1, properties=properties)
        packets["publish_qos_1"] = read_packet(peer)
        peer.sendall(bytes.fromhex("3207000174000900" + "78"))  # PUBLISH of "x" to "t", id 9
        packets["puback_9"] = read_packet(peer)
        packets["pingreq"] = read_packet(peer)
        client.disconnect()
        packets["disconnect"] = read_packet(peer)
        client.loop_stop()
        peer.close()
    return {name: packet.hex() for name, packet in packets.items()}


def record_mosquitto(sent: dict[str, str]) -> dict[str, str]:
    """What Mosquitto answers to the packets that paho made."""
    packets: dict[str, bytes] = {}
    with mosquitto() as (open_port, shut_port):
        with socket.create_connection(("127.0.0.1", shut_port)) as peer:
            peer.sendall(bytes.fromhex(sent["connect"]))
            packets["connack_refused"] = read_packet(peer)
        with (
            socket.create_connection(("127.0.0.1", open_port)) as peer,
            socket.create_connection(("127.0.0.1", open_port)) as other,
        ):
            peer.sendall(bytes.fromhex(sent["connect"]))
            packets["connack"] = read_packet(peer)
            other.sendall(bytes.fromhex(sent["connect"].replace(b"cloud".hex(), b"other".hex())))
            read_packet(other)
            for asked, answered in (
                ("publish_qos_1", "puback_nobody_listens"),
                ("subscribe", "suback"),
                ("pingreq", "pingresp"),
            ):
                peer.sendall(bytes.fromhex(sent[asked]))
                packets[answered] = read_packet(peer)
            other.sendall(bytes.fromhex(sent["publish_qos_1"]))
            packets["puback"] = read_packet(other)
            packets["publish_down"] = read_packet(peer)
            other.sendall(bytes.fromhex("82060001000000" + "00"))  # SUBSCRIBE to an empty filter
            packets["disconnect_malformed"] = read_packet(other)
    return {name: packet.hex() for name, packet in packets.items()}


if __name__ == "__main__":
    by_paho = record_paho()
    (HERE / "paho5.json").write_text(json.dumps(by_paho, indent=1) + "\n")
    (HERE / "mosquitto5.json").write_text(json.dumps(record_mosquitto(by_paho), indent=1) + "\n")
