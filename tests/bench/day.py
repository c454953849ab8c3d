"""How long a simulated day takes."""

from tests.bench.figure import Figure, figure
from tests.bench.processes import run_module
from tests.bench.scale import Scale


async def days(scale: Scale) -> list[Figure]:
    """A day of an idle charger, from power-on, each run with a seed of its own."""
    runs = [await run_module("day_client", {"seed": 1 + number}) for number in range(scale.runs)]
    note = f"24 hours from power-on without a car: {runs[0]['messages']:.0f} messages, {runs[0]['events']:.0f} events"
    return [figure("sim.charger_day_s", [run["seconds"] for run in runs], note=note)]
