"""What a worker process is told when it starts, and the lines that go between it and the main process.

Every line is one JSON object. The first one that a worker reads is its job, then come commands; from ``serve`` on it
serves. The end of its standard input ends it.

======================================  ====  ======================================
line                                    way   meaning
======================================  ====  ======================================
``{"serve": true}``                     down  begin to serve
``{"inject": number, "fault": {...}}``  down  make a fault active
``{"heal": number}``                    down  take it back
``{"ask": n, "what": "count", ...}``    down  answer with ``{"answer": n, ...}``
``{"ready": true}``                     up    it serves
``{"failed": "one line"}``              up    it cannot serve, and ends
``{"struck": number}``                  up    a fault has struck
``{"answer": n, ...}``                  up    what was asked for
======================================  ====  ======================================
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cloud_stub.straight import plan_from_json
from emulator.net.loopback import LoopbackPlan
from emulator.wire.address import Address

LINE_BYTES_MAX = 1 << 26
"""Far above a full history; a longer line is no line of ours."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """One worker's place in the cloud."""

    label: str
    """Which worker it is, and its how-manieth start: ``2.1``. No two processes of one cloud have the same."""
    plan: LoopbackPlan
    address: str
    """The hub's address in the world; the worker shares its port there."""
    broker: Address
    bus: Literal["mosquitto", "lean"]
    state: Path
    """The hub's database, which all workers share."""
    journal: Path
    """Where this place keeps what it has acknowledged and the broker may still lose."""
    certs: Path
    hub_host: str
    secret: bytes = field(repr=False)
    seed: str
    settings: Message = field(default_factory=dict)
    """`HubSettings` as JSON."""
    processes: int = 1
    """How many workers share the limits of the hub's tier."""

    def line(self) -> bytes:
        """As it travels over the worker's standard input. Holds a secret: never print it."""
        return encoded(
            {
                "label": self.label,
                "plan": self.plan.to_json(),
                "address": self.address,
                "broker": [self.broker.host, self.broker.port],
                "bus": self.bus,
                "state": str(self.state),
                "journal": str(self.journal),
                "certs": str(self.certs),
                "hub_host": self.hub_host,
                "secret": b64encode(self.secret).decode(),
                "seed": self.seed,
                "settings": dict(self.settings),
                "processes": self.processes,
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> "WorkerJob":
        """The inverse of `line`."""
        data = json.loads(line)
        host, port = data["broker"]
        return cls(
            label=data["label"],
            plan=plan_from_json(data["plan"]),
            address=data["address"],
            broker=Address(host, port),
            bus=data["bus"],
            state=Path(data["state"]),
            journal=Path(data["journal"]),
            certs=Path(data["certs"]),
            hub_host=data["hub_host"],
            secret=b64decode(data["secret"]),
            seed=data["seed"],
            settings=data["settings"],
            processes=data["processes"],
        )


def encoded(message: Message) -> bytes:
    """A line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
