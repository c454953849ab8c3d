"""When the charger gives up and starts again: both limits, with and without car, and that a charge is never cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.watchdog import Bark, Watchdog
from emulator.profile import load_profile

TIMING = load_profile("pro").watchdog
HOUR = 3600.0


def see(
    dog: Watchdog, now: float, *, online: bool = False, link: bool = True, car: bool = False, charging: bool = False
) -> Bark | None:
    return dog.see(now, online=online, link_seen=link, car=car, charging=charging)


@pytest.mark.parametrize(("link", "limit_s"), [(True, 3900.0), (False, 86_400.0)])
def test_the_limit_depends_on_whether_a_link_was_seen(link: bool, limit_s: float) -> None:
    dog = Watchdog(TIMING, 0.0)
    assert see(dog, 1.0, link=link) is None
    assert dog.deadline() == limit_s
    assert see(dog, limit_s - 0.1, link=link) is None
    assert see(dog, limit_s, link=link) == Bark(limit_s, link, limit_s, limit_s)


def test_it_barks_once() -> None:
    dog = Watchdog(TIMING, 0.0)
    assert see(dog, 4000.0) is not None
    assert dog.deadline() is None
    assert see(dog, 5000.0) is None


def test_a_link_that_comes_late_makes_it_bark_at_once() -> None:
    dog = Watchdog(TIMING, 0.0)
    assert see(dog, 2 * HOUR, link=False) is None
    assert see(dog, 2 * HOUR + 1, link=True) is not None


def test_a_session_starts_the_count_anew() -> None:
    dog = Watchdog(TIMING, 0.0)
    see(dog, 10.0, online=True)
    assert dog.deadline() is None
    see(dog, 5000.0)
    assert dog.deadline() == 8900.0


def test_a_charge_is_never_broken_off() -> None:
    dog = Watchdog(TIMING, 0.0)
    assert see(dog, 1.0, car=True, charging=True) is None
    assert dog.deadline() is None
    assert see(dog, 100_000.0, car=True, charging=True) is None
    assert see(dog, 100_100.0, car=True) is None  # the car is full, and stays
    assert dog.deadline() == 104_000.0
    bark = see(dog, 104_000.0, car=True)
    assert bark == Bark(104_000.0, True, None, 3900.0)


def test_a_car_that_left_counts_from_when_it_left_off_charging() -> None:
    dog = Watchdog(TIMING, 0.0)
    see(dog, 1.0, car=True, charging=True)
    see(dog, 5000.0, car=True)
    see(dog, 6000.0)
    assert dog.deadline() == 8900.0


MOMENTS = st.lists(
    st.tuples(st.floats(0, 100_000), st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=60
)


@given(MOMENTS)
def test_it_never_barks_online_or_at_a_charging_car_and_its_deadline_holds(moments: list) -> None:
    dog, now = Watchdog(TIMING, 0.0), 0.0
    for step_s, online, link, car, charging in moments:
        now += step_s
        charging = charging and car
        before = dog.deadline()
        bark = see(dog, now, online=online, link=link, car=car, charging=charging)
        if bark is not None:
            assert not online and not charging
            assert bark.offline_s >= 3900 and bark.idle_s is not None and bark.idle_s >= 3900
            return
        after = dog.deadline()
        assert after is None or after > now
        assert before is None or after is None or after >= min(before, now)
