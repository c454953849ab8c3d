"""Tries to connect once and tells what came of it."""

import json
import os

from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError

client = IoTHubDeviceClient.create_from_connection_string(os.environ["DEVICE_CONNECTION_STRING"])
try:
    client.connect()
except ClientError as error:
    print(json.dumps({"event": "refused", "error": type(error).__name__, "why": repr(error.__cause__)}), flush=True)
else:
    print(json.dumps({"event": "connected"}), flush=True)
client.shutdown()
