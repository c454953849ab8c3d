"""The same work done by others: N MQTT logins over TLS 1.2, three subscriptions each, as one client process.

Run as ``python tests/bench/peers.py NAME`` with a job as JSON on stdin; prints one JSON line with `seconds`.
"""

import asyncio
import json
import ssl
import sys
import time
from typing import Any

FILTERS = (("$iothub/methods/POST/#", 1), ("$iothub/twin/res/#", 1), ("$iothub/twin/PATCH/properties/desired/#", 1))
SETTLE_S = 0.5


def _context(job: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=job["ca"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _ours(job: dict[str, Any]) -> float:
    from datetime import UTC, datetime
    from pathlib import Path

    from emulator.clock import Rtc
    from emulator.net.api import Address, Interface
    from emulator.net.hub import HubConnection
    from emulator.net.loopback import LoopbackHost, LoopbackPlan
    from emulator.net.tls import client_context
    from emulator.profile import load_profile
    from emulator.wire.mqtt import Connect

    plan, profile = LoopbackPlan.from_json(job["loopback"]), load_profile()
    context = client_context(Path(job["ca"]).read_text(encoding="ascii"))
    loop = asyncio.get_running_loop()
    rtc = Rtc(loop.time, built_at=datetime.now(UTC))
    room, open_connections = asyncio.Semaphore(job["at_once"]), []

    async def login(number: int, device: dict[str, str]) -> None:
        async with room:
            host = LoopbackHost(plan, device["id"], link_address="02:00:00:00:00:00")
            host.set_interface(Interface(f"{job['prefix']}.{16 + number // 250}.{1 + number % 250}", 16))
            connect = Connect(device["id"], device["username"], device["password"].encode(), 300, True, None)
            hub = await HubConnection.open(
                host,
                Address(job["hub_address"], 8883),
                server_name=job["hub"],
                context=context,
                rtc=rtc,
                connect=connect,
                profile=profile,
            )
            await hub.subscribe(FILTERS)
            open_connections.append(hub)

    began = time.perf_counter()
    await asyncio.gather(*(login(number, device) for number, device in enumerate(job["devices"])))
    seconds = time.perf_counter() - began
    for hub in open_connections:
        hub.abort()
    return seconds


async def _aiomqtt(job: dict[str, Any]) -> float:
    import logging

    import aiomqtt

    logging.disable(logging.CRITICAL)
    context, room = _context(job), asyncio.Semaphore(job["at_once"])
    context.check_hostname = False  # the endpoint has a loopback address here; chain and dates are still verified
    done: list[aiomqtt.Client] = []
    release = asyncio.Event()

    async def login(device: dict[str, str]) -> None:
        async with room:
            client = aiomqtt.Client(
                job["host"],
                job["port"],
                identifier=device["id"],
                username=device["username"],
                password=device["password"],
                tls_context=context,
                protocol=aiomqtt.ProtocolVersion.V311,
            )
            await client.__aenter__()
            await client.subscribe(list(FILTERS))
        done.append(client)
        if len(done) == len(job["devices"]):
            release.set()
        await release.wait()
        await client.__aexit__(None, None, None)

    began = time.perf_counter()
    tasks = [asyncio.create_task(login(device)) for device in job["devices"]]
    await release.wait()
    seconds = time.perf_counter() - began
    await asyncio.gather(*tasks)
    return seconds


def _locust(job: dict[str, Any]) -> float:
    import gevent
    import gevent.monkey

    gevent.monkey.patch_all()
    from locust.contrib.mqtt import MqttUser
    from locust.env import Environment

    context = _context(job)
    context.check_hostname = False  # as above
    devices = iter(job["devices"])
    subscribed = []

    class Charger(MqttUser):  # type: ignore[misc]
        host, port, tls_context = job["host"], job["port"], context
        use_loop_selectors = True
        protocol = 4

        def __init__(self, environment: Any) -> None:
            device = next(devices)
            self.client_id, self.username, self.password = device["id"], device["username"], device["password"]
            super().__init__(environment)
            self.client.on_subscribe = lambda *_: subscribed.append(1)
            self.client.on_connect = lambda client, *_: client.subscribe([list(entry) for entry in FILTERS][0][0], 1)

    environment = Environment(user_classes=[Charger])
    began = time.perf_counter()
    users = []
    for _ in job["devices"]:
        users.append(Charger(environment))
        while len(users) - len(subscribed) >= job["at_once"]:
            gevent.sleep(0.001)
    while len(subscribed) < len(job["devices"]):
        gevent.sleep(0.001)
    return time.perf_counter() - began


def main(name: str) -> None:
    """Run one peer and print its time."""
    job = json.load(sys.stdin)
    if name == "ours":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seconds = runner.run(_ours(job))
    else:
        seconds = asyncio.run(_aiomqtt(job)) if name == "aiomqtt" else _locust(job)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1])
