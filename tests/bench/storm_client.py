"""The fleet's process: options as JSON on stdin, the report of the fleet on stdout."""

import asyncio
import json
import sys

import uvloop

from emulator.fleet import FleetOptions, run_fleet


def main() -> None:
    """Run the fleet that stdin asks for."""
    options = FleetOptions(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run_fleet(options))), flush=True)


if __name__ == "__main__":
    main()
