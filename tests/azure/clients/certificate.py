"""A device with a certificate instead of a key: it sends one message and leaves, or tells why it could not."""

import json
import os

from azure.iot.device import X509, IoTHubDeviceClient
from azure.iot.device.exceptions import ClientError

options = json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))
client = IoTHubDeviceClient.create_from_x509_certificate(
    x509=X509(os.environ["CERTIFICATE_FILE"], os.environ["KEY_FILE"]),
    hostname=os.environ["HUB"],
    device_id=os.environ["DEVICE_ID"],
    **options,
)
try:
    client.send_message("with a certificate")
    print(json.dumps({"event": "acknowledged"}), flush=True)
except ClientError as error:
    print(json.dumps({"event": "refused", "error": type(error).__name__}), flush=True)
client.shutdown()
