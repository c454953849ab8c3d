"""The benchmark of firmware updates, without running it: what is timed, and that memory is the most of all sizes."""

from tests.bench.firmware import SIZES_MIB, TIMED_MIB, Fetched, Round, figures
from tests.bench.report import cells


def fetched(size_mib: int, *, mib_per_s: float = 80.0, growth_mib: float = 0.0) -> Fetched:
    return Fetched(size_mib, size_mib / mib_per_s, 0.010 * size_mib, 0.002 * size_mib, growth_mib)


def a_round(*, mib_per_s: float, growths_mib: tuple[float, ...]) -> Round:
    ours = {
        size: fetched(size, mib_per_s=mib_per_s if size == TIMED_MIB else 1.0, growth_mib=growth)
        for size, growth in zip(SIZES_MIB, growths_mib, strict=True)
    }
    return Round(ours, fetched(TIMED_MIB, mib_per_s=160.0))


ROUNDS = [
    a_round(mib_per_s=90.0, growths_mib=(3.0, 4.0, 5.0)),
    a_round(mib_per_s=40.0, growths_mib=(9.0, 4.0, 4.5)),
    a_round(mib_per_s=80.0, growths_mib=(3.5, 6.0, 4.0)),
]


def test_the_speed_is_that_of_one_size_beside_the_peer() -> None:
    speed, _ = figures(ROUNDS)
    assert (speed.value, speed.peer_value, speed.ratio, speed.met) == (80.0, 160.0, 0.5, True)
    assert "10.0 ms of processor time per MiB in the charger, 2.0 ms in the cloud" in speed.note


def test_memory_is_the_most_of_all_sizes() -> None:
    _, growth = figures(ROUNDS)
    assert growth.runs == (5.0, 9.0, 6.0)
    assert growth.met
    assert "3.5 for an image of 8 MiB, 4.0 for an image of 32 MiB, 4.5 for an image of 64 MiB" in growth.note
    assert "at most 16: met" in cells(growth)
