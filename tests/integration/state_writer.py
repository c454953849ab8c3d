"""A process of a hub that changes everything it remembers as fast as it can, and says each change once it is kept."""

import sys
from pathlib import Path

from cloud_stub.hub.memory import hub_memory
from cloud_stub.state.c2d import Ack, C2dMessage
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys
from emulator.clock import system_utc


def main(path: Path, writer: str) -> None:
    """Report twins, queue messages and make devices until killed."""
    memory = hub_memory(State(path), derived_keys(b"s" * 32), system_utc)
    memory.registry.produce_all([writer])
    memory.sessions.begin(writer, clean=False)
    number = 0
    while True:
        number += 1
        version = memory.twins.report(writer, f'{{"n":{number}}}'.encode())
        memory.registry.produce(f"{writer}-{number}")
        if number % 3 == 0:
            for delivery in memory.queues.due(writer):
                memory.queues.complete(writer, delivery.lock)
        memory.queues.send(writer, C2dMessage(b"x" * 1000, str(number), ack=Ack.FULL))
        print(number, version, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
