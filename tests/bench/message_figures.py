"""What runs of messages say, pure.

The processor time of a message has three parts: endpoint, bus client and Mosquitto. Mosquitto's is its process's. The
bus client lives in the endpoint's process, so what it costs is found by leaving it away: the same cloud gets the same
messages at the same pace with the bus inside the process. What a worker spends beyond that is the endpoint's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.figure import FIGURES, Figure, Peer, figure
from tests.bench.latency import Waits
from tests.bench.message import WINDOW
from tests.bench.processes import CpuUse

CLIENTS = 50
PACE_PER_S = (FIGURES["endpoint.d2c_msg_per_s"].goal or 0.0) / 2
"""At which everybody is compared: half the goal."""
WORKER, LEAN, AIOMQTT, LOCAL = "worker", "lean", "mosquitto", "local"
"""One worker on the lean bus client, and the endpoint in the main process with each of the buses."""

_CpuOf = Callable[[CpuUse], float]


def _main(used: CpuUse) -> float:
    return used.cloud_s


def _mosquitto(used: CpuUse) -> float:
    return used.mosquitto_s


def _workers(used: CpuUse) -> float:
    return used.workers_s


@dataclass(frozen=True, slots=True)
class Sent:
    """One run: messages with their PUBACKs, and what they took until the backend had the last of them."""

    messages: int
    seconds: float
    client_cpu_s: float
    used: CpuUse
    waits: Waits

    @property
    def per_s(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def client_us(self) -> float:
        """Processor time of a message in the process that sends them."""
        return 1_000_000 * self.client_cpu_s / self.messages

    def us(self, cpu_of: _CpuOf) -> float:
        """Processor time of a message in a process of the cloud."""
        return 1_000_000 * cpu_of(self.used) / self.messages


@dataclass(frozen=True, slots=True)
class Round:
    """One run of everything. `fast` as fast as can be, `paced` at `PACE_PER_S`, `half` at half of the fast worker."""

    fast: Mapping[str, Sent]
    paced: Mapping[str, Sent]
    half: Sent
    bare_per_s: float


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """All figures about messages."""
    return [*_rates(rounds), *_waits(rounds), *_split(rounds)]


def _rates(rounds: Sequence[Round]) -> list[Figure]:
    worker, lean, aiomqtt = (tuple(each.fast[name].per_s for each in rounds) for name in (WORKER, LEAN, AIOMQTT))
    bare = Peer("aiomqtt straight to Mosquitto", tuple(each.bare_per_s for each in rounds))
    note = "workers always have the lean bus client; here no process but Mosquitto's is beside the endpoint's"
    return [
        figure("endpoint.d2c_msg_per_s", worker, peer=bare, note=_work([each.fast[WORKER] for each in rounds])),
        figure("endpoint.d2c_msg_per_s_lean", lean, peer=Peer("bus client aiomqtt", aiomqtt), note=note),
    ]


def _waits(rounds: Sequence[Round]) -> list[Figure]:
    paced, half = [each.paced[WORKER] for each in rounds], [each.half for each in rounds]
    return [
        figure("endpoint.d2c_p99_ms", [sent.waits.p99_ms for sent in paced], note=_spread(paced)),
        figure("endpoint.d2c_p99_ms_at_half", [sent.waits.p99_ms for sent in half], note=_spread(half)),
    ]


def _split(rounds: Sequence[Round]) -> list[Figure]:
    paced = [each.paced for each in rounds]
    lean, aiomqtt = ([sent[name].us(_main) - sent[LOCAL].us(_main) for sent in paced] for name in (LEAN, AIOMQTT))
    workers = [sent[WORKER].us(_workers) for sent in paced]
    return [
        figure(
            "endpoint.cpu_us_per_msg",
            [worker - client for worker, client in zip(workers, lean, strict=True)],
            note=f"a worker takes {median(workers):.0f} us, less what its bus client takes",
        ),
        figure(
            "bus.cpu_us_per_msg",
            lean,
            peer=Peer("aiomqtt", tuple(aiomqtt)),
            note="the cloud in one process on this bus, less the same with the bus inside the process",
        ),
        figure("mosquitto.cpu_us_per_msg", [sent[WORKER].us(_mosquitto) for sent in paced]),
        figure("cloud.cpu_us_per_msg", [sent[WORKER].us(_main) for sent in paced]),
    ]


def _work(runs: Sequence[Sent]) -> str:
    worker, broker, main = (median(sent.us(cpu_of) for sent in runs) for cpu_of in (_workers, _mosquitto, _main))
    return (
        f"{runs[0].messages} messages from {CLIENTS} clients, {WINDOW} of each in flight; processor time of each: "
        f"{worker:.0f} us in the worker, {broker:.0f} us in Mosquitto, {main:.0f} us in the main process, which gets "
        f"all of them, and {median(sent.client_us for sent in runs):.0f} us in the clients' process; "
        "the peer has neither TLS nor hub"
    )


def _spread(runs: Sequence[Sent]) -> str:
    per_s, p50, longest = (
        median(values)
        for values in zip(*((sent.per_s, sent.waits.p50_ms, sent.waits.max_ms) for sent in runs), strict=True)
    )
    return (
        f"{per_s:,.0f} messages/s, from the moment when each is due to its PUBACK, as its client sees it; "
        f"half of them within {p50:.1f} ms, all within {longest:.0f} ms"
    )
