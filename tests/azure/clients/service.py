"""A back end. It reads calls, one a line, makes them with azure-iot-hub, and prints what came of each.

A call is a JSON list: the name of a method of one of the clients below, then its arguments. An argument
``{"model": "Twin", ...}`` is that model with the other keys.
"""

import json
import os
import sys

from azure.iot.hub import IoTHubHttpRuntimeManager, IoTHubJobManager, IoTHubRegistryManager, models
from msrest.exceptions import HttpOperationError

CLIENTS = [
    kind.from_connection_string(os.environ["SERVICE_CONNECTION_STRING"])
    for kind in (IoTHubRegistryManager, IoTHubHttpRuntimeManager, IoTHubJobManager)
]


def argument(value):
    if isinstance(value, list):
        return [argument(item) for item in value]
    if isinstance(value, dict) and "model" in value:
        fields = {key: argument(item) for key, item in value.items() if key != "model"}
        return getattr(models, value["model"])(**fields)
    return value


def plain(value):
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return {key: plain(item) for key, item in vars(value).items()} if hasattr(value, "__dict__") else value


def outcome(name, *arguments):
    (client,) = (client for client in CLIENTS if hasattr(client, name))
    try:
        return {"event": "result", "result": plain(getattr(client, name)(*map(argument, arguments)))}
    except HttpOperationError as error:
        response = error.response
        code = response.headers.get("iothub-errorcode")
        return {"event": "refused", "status": response.status_code, "code": code, "body": response.json()}


for line in sys.stdin:
    print(json.dumps(outcome(*json.loads(line)), default=str), flush=True)
