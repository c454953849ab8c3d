"""Sends a message through a proxy and with roots of trust that the program itself names, instead of its environment."""

import json
import os
from pathlib import Path

from azure.iot.device import IoTHubDeviceClient, ProxyOptions

client = IoTHubDeviceClient.create_from_connection_string(
    os.environ["DEVICE_CONNECTION_STRING"],
    proxy_options=ProxyOptions("SOCKS5", "127.0.0.1", int(os.environ["PROXY_PORT"])),
    server_verification_cert=Path(os.environ["CA_FILE"]).read_text(encoding="ascii"),
)
client.send_message("configured")
print(json.dumps({"event": "acknowledged"}), flush=True)
client.shutdown()
