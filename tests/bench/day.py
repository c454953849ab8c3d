"""How long a simulated day takes, and how much data a charger moves in it."""

from tests.bench.figure import Figure, Peer, figure
from tests.bench.processes import run_module
from tests.bench.scale import Scale

CHARGE_KWH = 20.0
MANUAL_MB = 3.0  # M15: per charger and day


async def days(scale: Scale) -> list[Figure]:
    """A day from power-on, idle and with one charge, each run with a seed of its own."""
    seeds = range(1, 1 + scale.runs)
    idle = [await run_module("day_client", {"seed": seed}) for seed in seeds]
    charged = [await run_module("day_client", {"seed": seed, "charge_kwh": CHARGE_KWH}) for seed in seeds]
    told = f"24 hours from power-on without a car: {idle[0]['messages']:.0f} messages, {idle[0]['events']:.0f} events"
    return [
        figure("sim.charger_day_s", [run["seconds"] for run in idle], note=told),
        figure(
            "data.day_mb",
            [(run["up_bytes"] + run["down_bytes"]) / 1e6 for run in charged],
            peer=Peer("the manual", (MANUAL_MB,)),
            note=_data_note(idle[0], charged[0]),
        ),
    ]


def _data_note(idle: dict[str, float], charged: dict[str, float]) -> str:
    rest_mb = (idle["up_bytes"] + idle["down_bytes"]) / 1e6
    ways = f"{charged['up_bytes'] / 1e6:.2f} MB up, {charged['down_bytes'] / 1e6:.2f} down"
    return (
        f"24 hours from power-on with one charge of {CHARGE_KWH:g} kWh: {charged['messages']:.0f} messages, {ways}, "
        f"IP and TCP headers included; a day without a car takes {rest_mb:.2f} MB"
    )
