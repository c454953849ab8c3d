"""The asyncio client: reads its twin, reports, sends, waits for one C2D message, and leaves."""

import asyncio
import json
import os

from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient


async def main():
    options = json.loads(os.environ.get("CLIENT_OPTIONS", "{}"))
    client = IoTHubDeviceClient.create_from_connection_string(os.environ["DEVICE_CONNECTION_STRING"], **options)
    messages = asyncio.Queue[Message]()
    loop = asyncio.get_running_loop()  # handlers run on another one
    client.on_message_received = lambda message: loop.call_soon_threadsafe(messages.put_nowait, message)
    await client.connect()
    twin = await client.get_twin()
    await client.patch_twin_reported_properties({"from": "asyncio"})
    await client.send_message("from asyncio")
    print(json.dumps({"event": "ready", "twin": twin}), flush=True)
    message = await messages.get()
    print(json.dumps({"event": "message", "data": message.data.decode()}), flush=True)
    await client.shutdown()


asyncio.run(main())
