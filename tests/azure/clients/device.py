"""A device that is online until the method ``stop`` is called: it tells all that comes, and does what methods ask for.

=========  ======================================================================
method     what it does
=========  ======================================================================
``send``   sends its payload as a message; answers 200 once it is acknowledged
``twin``   answers 200 and the twin that the hub has for it
``report`` reports its payload; answers 200, or 400 and what the SDK says
``ignore`` nothing: its caller gets no answer
others     answers 207 and name and payload
=========  ======================================================================
"""

import json
import os
import threading

from azure.iot.device import IoTHubDeviceClient, MethodRequest, MethodResponse
from azure.iot.device.exceptions import ClientError

stopped = threading.Event()
printing = threading.Lock()


def tell(event, **data):
    with printing:
        print(json.dumps({"event": event, **data}), flush=True)


options = json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))
client = IoTHubDeviceClient.create_from_connection_string(os.environ["DEVICE_CONNECTION_STRING"], **options)


def answer(request: MethodRequest):
    match request.name:
        case "send":
            client.send_message(json.dumps(request.payload))
            return 200, None
        case "twin":
            return 200, client.get_twin()
        case "report":
            try:
                client.patch_twin_reported_properties(request.payload)
            except ClientError as error:
                return 400, repr(error.__cause__)
            return 200, None
        case _:
            return 207, {"name": request.name, "payload": request.payload}


def on_method(request: MethodRequest):
    tell("method", name=request.name, payload=request.payload)
    if request.name != "ignore":
        status, payload = answer(request)
        client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))
    if request.name == "stop":
        stopped.set()


def on_message(message):
    tell(
        "message",
        data=message.data.decode(),
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        content_type=message.content_type,
        ack=message.ack,
        properties=message.custom_properties,
    )


client.on_connection_state_change = lambda: tell("connection", connected=client.connected)
client.on_background_exception = lambda error: tell("background", error=type(error).__name__)
client.on_message_received = on_message  # it connects; what is queued comes at once, and is lost on who listens later
client.on_method_request_received = on_method
client.on_twin_desired_properties_patch_received = lambda patch: tell("desired", patch=patch)
tell("ready")

stopped.wait()
client.shutdown()
tell("ended")
