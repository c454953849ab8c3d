"""``python -m tests.hub.soak --seconds N``: a hub with two workers under everything at once, and what it is like after.

Devices come and go, telemetry goes up, C2D messages and changes of twins come down. Afterwards nothing may be lost or
left over: no message, no connection, no descriptor, no memory to speak of, not a word on standard error.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.hub.streams import Streams, Tally, clients, streams, until
from tests.programs import CloudProgram, Ended, descendants

DEVICES, STAY, WORKERS = 12, 40, 2
"""A device says goodbye after so many messages, and comes again."""
WARM_UP_S, LOOK_S = 3.0, 0.5


@dataclass(frozen=True, slots=True)
class Weight:
    """Of all processes of a cloud."""

    resident_kib: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Soaked:
    """What went through, and what is left of it."""

    up: Tally
    down: Tally
    logins: int
    repeated: bool
    """The judge or the hub had to connect to Mosquitto again, on a busy machine: some messages may come twice."""
    grown_kib: float
    """Between the end of the warm-up and the end."""
    ended: Ended

    @property
    def complaints(self) -> list[str]:
        """What is not as it should be."""
        wrong = {
            "messages were lost": self.up.lost or self.down.lost,
            "telemetry came twice, and nobody was killed": self.up.twice and not self.repeated,
            "memory has grown": self.grown_kib > grown_kib_max(self.up.acknowledged),
            "the cloud did not end well": self.ended != Ended(0, "", ""),
        }
        return [what for what, is_so in wrong.items() if is_so]


def grown_kib_max(messages: int) -> float:
    """Histories and what the vendor's backend has seen fill up to their limits; a leak would go on."""
    return 16_384 + messages / 100


def soak(seconds: float) -> Soaked:
    """Everything at once for so long. AssertionError: something is lost, or left over."""
    with CloudProgram("--workers", str(WORKERS)) as cloud:
        before = weight(cloud)
        with streams(cloud, DEVICES, stay=STAY) as running:
            running.mark()
            _go_on(running, WARM_UP_S)
            warm = weight(cloud)
            _go_on(running, seconds - WARM_UP_S)
            up, down = running.settle()
            repeated = running.watcher.connections > 1 or clients(cloud)["messages_repeated"] > 0
            logins, grown = running.logins, weight(cloud).resident_kib - warm.resident_kib
        until(lambda: clients(cloud)["connections"] == 0, "connections are left over")
        # Not at once: Mosquitto has a file open while it saves.
        until(lambda: weight(cloud).descriptors <= before.descriptors, "descriptors are left open")
        cloud.press_ctrl_c()
        return Soaked(up, down, logins, repeated, grown, cloud.ended())


def _go_on(running: Streams, seconds: float) -> None:
    """Meanwhile the twins change, and somebody looks."""
    ends, number = time.monotonic() + seconds, 0  # noqa: TID251 - a running cloud has real time
    while time.monotonic() < ends:  # noqa: TID251 - as above
        number += 1
        for device in running.devices:
            path = f"/devices/{device.one.device_id}"
            assert running.cloud.call("PATCH", f"{path}/desired", {"number": number})[0] == 202
            assert running.cloud.call("GET", path)[0] == 200
        clients(running.cloud)
        time.sleep(LOOK_S)  # noqa: TID251 - a thread that plays a client


def weight(cloud: CloudProgram) -> Weight:
    """What the cloud weighs now."""
    pids = (cloud.pid, *descendants(cloud.pid))
    return Weight(clients(cloud)["resident_kib"], sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub.soak", description="Keeps the hub busy.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    soaked = soak(parser.parse_args().seconds)
    print(f"up {soaked.up}; down {soaked.down}; {soaked.logins} logins; {soaked.grown_kib:.0f} KiB more than before")
    for complaint in soaked.complaints:
        print(f"soak: {complaint}", file=sys.stderr)
    return 1 if soaked.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
