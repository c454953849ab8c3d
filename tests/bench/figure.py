"""The figures that `make bench` reports: what each is, and what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Kind:
    """What a figure measures. `goal` is a minimum where more is better, else a maximum; None: nobody has set one."""

    unit: str
    what: str
    more_is_better: bool = True
    goal: float | None = None


LOGIN = "logins (TCP, TLS 1.2, CONNECT, three SUBSCRIBEs) by one client process at our endpoint"

FIGURES: dict[str, Kind] = {
    "fleet.boots_per_s": Kind(
        "boots/s", "whole boots, from power-on to online, of chargers in one process", goal=250.0
    ),
    "fleet.boots_vs_handshake_limit": Kind("boots/s", "the same, beside bare TLS handshakes at the same endpoint"),
    "fleet.first_connack_s": Kind("s", "from power-on of the fleet to the first login", more_is_better=False),
    "fleet.kib_per_charger": Kind("KiB", "memory of the fleet's process per charger", False, 64.0),
    "endpoint.kib_per_client": Kind("KiB", "memory of the cloud's process per charger that is online", False, 64.0),
    "fleet.cpu_ms_per_boot": Kind("ms", "processor time of the fleet's process per boot", more_is_better=False),
    "cloud.cpu_ms_per_boot": Kind("ms", "processor time of the cloud's process per boot", more_is_better=False),
    "mosquitto.cpu_ms_per_boot": Kind("ms", "processor time of Mosquitto per boot", more_is_better=False),
    "fleet.cpu_ms_per_login": Kind("ms", "processor time of a client process per bare login", more_is_better=False),
    "cloud.cpu_ms_per_login": Kind("ms", "processor time of the cloud's process per bare login", more_is_better=False),
    "cloud.cpu_ms_per_handshake": Kind("ms", "processor time of the cloud's process per TLS handshake", False),
    "fleet.connects_per_s_vs_aiomqtt": Kind("connects/s", LOGIN),
    "fleet.connects_per_s_vs_locust": Kind("connects/s", LOGIN),
    "endpoint.kib_per_idle": Kind("KiB", "memory of the cloud's process per login that says nothing more", False, 64.0),
    "endpoint.kib_per_slow_reader": Kind(
        "KiB", "the same per login that does not read what it is sent, until no more is sent", False, 64.0
    ),
    "endpoint.kib_per_half_open": Kind(
        "KiB", "the same per connection that stops in the middle: of TLS, CONNECT or a message", False, 64.0
    ),
    "endpoint.d2c_msg_per_s": Kind(
        "messages/s",
        "QoS 1 messages from 50 chargers through one endpoint worker and Mosquitto, to PUBACK",
        goal=3000.0,
    ),
    "endpoint.d2c_msg_per_s_lean": Kind(
        "messages/s", "the same with the endpoint in the main process, on the lean bus client"
    ),
    "endpoint.d2c_p99_ms": Kind(
        "ms", "wait for PUBACK that 99 of 100 messages do not exceed, at 1,500 messages/s to one worker", False, 100.0
    ),
    "endpoint.d2c_p99_ms_at_half": Kind("ms", "the same at half the rate that the worker has just reached", False),
    "endpoint.cpu_us_per_msg": Kind("us", "processor time of a worker per message, without its bus client", False),
    "bus.cpu_us_per_msg": Kind("us", "processor time of the lean bus client per message", more_is_better=False),
    "mosquitto.cpu_us_per_msg": Kind("us", "processor time of Mosquitto per message", more_is_better=False),
    "cloud.cpu_us_per_msg": Kind(
        "us", "processor time of the main process per message that a worker sends it: bus client and backend", False
    ),
    "firmware.throughput_mib_s": Kind(
        "MiB/s",
        "a charger's update with an image of 32 MiB over TLS into flash in a file, every block verified, "
        "beside a plain download",
        goal=50.0,
    ),
    "firmware.peak_rss_growth_mib": Kind(
        "MiB", "memory of the charger's process at the peak of an update beyond what it had before", False, 16.0
    ),
    "campaign.seconds": Kind(
        "s", "a release for a fleet at once, until every charger runs it or has failed, reboots included", False
    ),
    "campaign.updates_per_s": Kind("chargers/s", "chargers that got the release meanwhile"),
    "campaign.mib_per_s": Kind(
        "MiB/s", "image bytes that all of them together fetched, verified and stored, while they did"
    ),
    "campaign.failed": Kind("chargers", "chargers whose flash takes nothing, and that say so", False),
    "campaign.done_at_halt": Kind("chargers", "chargers that were done when the campaign halted", False),
    "sim.charger_day_s": Kind("s", "real time of a day of one charger in virtual time", False, 2.0),
    "data.day_mb": Kind("MB", "data of one charger in a day with one charge, beside what the manual says", False),
}
"""Every figure by its name. Names are fixed: others read them in report.json."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else doing the same work in the same session; one value per run."""

    name: str
    runs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as measured: one value per run, at least one. `note` says under which conditions."""

    name: str
    runs: tuple[float, ...]
    peer: Peer | None = None
    note: str = ""

    @property
    def kind(self) -> Kind:
        """What it measures."""
        return FIGURES[self.name]

    @property
    def value(self) -> float:
        """The median of the runs."""
        return median(self.runs)

    @property
    def peer_value(self) -> float | None:
        """The median of the peer's runs."""
        return None if self.peer is None else median(self.peer.runs)

    @property
    def ratio(self) -> float | None:
        """Our value over the peer's."""
        peer = self.peer_value
        return self.value / peer if peer else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        kind = self.kind
        if kind.goal is None:
            return None
        return self.value >= kind.goal if kind.more_is_better else self.value <= kind.goal


def figure(name: str, runs: Sequence[float], *, peer: Peer | None = None, note: str = "") -> Figure:
    """A figure that `FIGURES` knows. ValueError for a name that it does not know, and for no runs."""
    if name not in FIGURES or not runs:
        raise ValueError(f"{name}: {len(runs)} runs of a figure that is {'' if name in FIGURES else 'not '}known")
    return Figure(name, tuple(runs), peer, note)
