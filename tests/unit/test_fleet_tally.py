"""What a fleet counts of the firmware updates of its chargers."""

from emulator.fleet_tally import FleetCounter, Tally, merged
from emulator.trace import TraceEvent


def tally_of(*events: tuple[str, dict[str, object]]) -> Tally:
    counter = FleetCounter(1, 1, lambda: 0.0)
    for name, data in events:
        counter(TraceEvent(0.0, None, "ZPR000001", name, data))
    return counter.finish(())


def firmware(word: str, why: str | None = None, attempt: int = 1, **notes: object) -> tuple[str, dict[str, object]]:
    """The last stage of a boot."""
    return f"boot.firmware.{word}", {"seconds": 0.1, "why": why, "attempt": attempt, **notes}


GOOD = [("update.started", {}), ("update.installed", {}), firmware("passed", confirmed=True), firmware("passed")]
BAD: list[tuple[str, dict[str, object]]] = [("update.started", {}), ("update.rejected", {"reason": "flash"})]
BACK = [
    ("update.started", {}),
    ("update.installed", {}),
    firmware("degraded", "firmware_unconfirmed"),
    firmware("degraded", "firmware_rolled_back"),
    firmware("degraded", "firmware_rolled_back", attempt=2),
]


def test_an_update_that_is_confirmed_one_that_is_refused_and_one_that_is_given_up() -> None:
    assert tally_of(*GOOD).updates == {"begun": 1, "installed": 1, "confirmed": 1}
    refused = tally_of(*BAD)
    assert (refused.updates, refused.updates_failed) == ({"begun": 1, "rejected": 1}, {"flash": 1})
    assert tally_of(*BACK).updates == {"begun": 1, "installed": 1, "rolled_back": 1}, "a reconnect says it again"


def test_the_sum_over_all_processes() -> None:
    total = merged(Tally.from_json(tally_of(*each).to_json()) for each in (GOOD, BAD, BAD, BACK))
    assert total.updates == {"begun": 4, "installed": 2, "confirmed": 1, "rejected": 2, "rolled_back": 1}
    assert total.updates_failed == {"flash": 2}


def test_who_starts_again_after_an_update_is_no_part_of_the_storm() -> None:
    again = tally_of(("device.online", {}), ("device.offline", {}), ("device.online", {}))
    assert (again.boots, again.storm_boots, again.online) == (2, 1, 1)
