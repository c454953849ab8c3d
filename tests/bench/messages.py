"""Messages from chargers that are logged in, through endpoint and bus, beside the bare bus."""

from string import ascii_uppercase

from tests.bench.figure import Figure, Peer, figure
from tests.bench.login_job import LoginJob
from tests.bench.message import WINDOW
from tests.bench.processes import Cloud, CpuUse, cloud, run_module
from tests.bench.scale import Scale

CLIENTS = 50


async def messages(scale: Scale) -> list[Figure]:
    """Through the endpoint and straight to its Mosquitto, in turn."""
    ours: list[float] = []
    bare: list[float] = []
    used: list[CpuUse] = []
    async with cloud() as place:
        for number in range(scale.runs):
            before = place.cpu()
            ours.append(await _through_endpoint(place, scale.messages, ascii_uppercase[number]))
            used.append(place.cpu() - before)
            bare.append(await _straight(place, scale.messages))
    cpu_ms = 1000 * sum(use.cloud_s for use in used) / (scale.runs * scale.messages)
    note = (
        f"{scale.messages} messages from {CLIENTS} clients, {WINDOW} of each in flight; "
        f"{cpu_ms:.2f} ms of the cloud's processor time each; the peer has neither TLS nor hub"
    )
    peer = Peer("aiomqtt straight to Mosquitto", tuple(bare))
    return [figure("endpoint.d2c_msg_per_s", ours, peer=peer, note=note)]


async def _through_endpoint(place: Cloud, count: int, letter: str) -> float:
    devices = await place.remote.produce(CLIENTS, f"BM{letter}")
    job = LoginJob.of(place.ready, devices, at_once=CLIENTS, messages=count)
    await place.drained()
    took = await run_module("login_ours", job.as_json())
    return count / took["seconds"]


async def _straight(place: Cloud, count: int) -> float:
    job = {**place.ready["mosquitto"], "clients": CLIENTS, "messages": count}
    took = await run_module("message_aiomqtt", job)
    return count / took["seconds"]
