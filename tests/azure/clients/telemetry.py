"""Connects, sends one message with everything that a message can carry and one with nothing, and disconnects."""

import json
import os

from azure.iot.device import IoTHubDeviceClient, Message

options = json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))
client = IoTHubDeviceClient.create_from_connection_string(os.environ["DEVICE_CONNECTION_STRING"], **options)

client.connect()
print(json.dumps({"event": "connected", "is_connected": client.connected}), flush=True)

message = Message('{"temperature": 21.5}', message_id="m 1", content_encoding="utf-8", content_type="application/json")
message.correlation_id = "c/1"
message.user_id = "somebody"
message.custom_properties["alert"] = "no"
message.custom_properties["sign & måte"] = "a=b&c/d?e+f%20"
client.send_message(message)
client.send_message("plain")
print(json.dumps({"event": "acknowledged"}), flush=True)

client.disconnect()
client.shutdown()
print(json.dumps({"event": "ended", "is_connected": client.connected}), flush=True)
