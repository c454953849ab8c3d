"""The benchmark of messages, without running it: when each is due, how long they waited, and who worked on them."""

import pytest

from tests.bench.latency import Waits, due_times, waits
from tests.bench.message_figures import AIOMQTT, LEAN, LOCAL, WORKER, Round, Sent, figures
from tests.bench.page import render
from tests.bench.processes import CpuUse
from tests.bench.report import Report, message_split


def sent(*, cloud_s: float, workers_s: float = 0.0, seconds: float = 2.0, p99_ms: float = 8.0) -> Sent:
    """10,000 messages."""
    return Sent(10_000, seconds, 0.25, CpuUse(cloud_s, 0.3, workers_s), Waits(2.0, p99_ms, 30.0))


ROUND = Round(
    fast={
        WORKER: sent(cloud_s=0.4, workers_s=0.8),
        LEAN: sent(cloud_s=1.0, seconds=1.6),
        AIOMQTT: sent(cloud_s=2.0, seconds=2.5),
    },
    paced={
        WORKER: sent(cloud_s=0.7, workers_s=1.5),
        LEAN: sent(cloud_s=2.0),
        AIOMQTT: sent(cloud_s=2.9),
        LOCAL: sent(cloud_s=1.5),
    },
    half=sent(cloud_s=0.5, p99_ms=20.0),
    bare_per_s=9_000.0,
)


def test_clients_take_turns_at_one_pace() -> None:
    first, second = (list(due_times(3, 100.0, number=number, clients=2)) for number in range(2))
    assert first == pytest.approx([0.0, 0.02, 0.04])
    assert second == pytest.approx([0.01, 0.03, 0.05])


def test_without_a_pace_everything_is_due_at_once() -> None:
    assert list(due_times(3, 0.0, number=4, clients=5)) == [0.0, 0.0, 0.0]


def test_waits_are_told_in_milliseconds() -> None:
    spread = waits([number / 1000 for number in range(101)])
    assert (spread.p50_ms, spread.p99_ms, spread.max_ms) == pytest.approx((50.0, 99.0, 100.0))


def test_one_wait_is_a_spread() -> None:
    assert waits([0.25]) == Waits(250.0, 250.0, 250.0)


def test_rates_stand_beside_those_of_the_other_bus_client_and_of_no_hub() -> None:
    found = {each.name: each for each in figures([ROUND])}
    rate, lean = found["endpoint.d2c_msg_per_s"], found["endpoint.d2c_msg_per_s_lean"]
    assert (rate.value, rate.peer_value, rate.met) == (5_000.0, 9_000.0, True)
    assert (lean.value, lean.peer_value) == (6_250.0, 4_000.0)
    assert "80 us in the worker, 30 us in Mosquitto, 40 us in the main process" in rate.note
    assert "25 us in the clients' process" in rate.note


def test_waits_are_told_for_half_the_goal_and_half_of_what_was_reached() -> None:
    found = {each.name: each for each in figures([ROUND])}
    assert (found["endpoint.d2c_p99_ms"].value, found["endpoint.d2c_p99_ms"].met) == (8.0, True)
    assert found["endpoint.d2c_p99_ms_at_half"].value == 20.0


def test_the_bus_client_costs_what_a_cloud_without_it_saves_and_the_worker_the_rest() -> None:
    found = {each.name: each for each in figures([ROUND])}
    bus = found["bus.cpu_us_per_msg"]
    assert (bus.value, bus.peer_value) == pytest.approx((50.0, 140.0))
    assert found["endpoint.cpu_us_per_msg"].value == pytest.approx(100.0)
    assert found["mosquitto.cpu_us_per_msg"].value == pytest.approx(30.0)
    assert found["cloud.cpu_us_per_msg"].value == pytest.approx(70.0)


def test_the_split_of_a_message_is_told_in_shares_and_drawn() -> None:
    report = Report(tuple(figures([ROUND])), (), ())
    text = message_split(report)
    assert "100 us (56%) of processor time in the endpoint, 50.0 us (28%) in its bus client" in text
    assert "30.0 us (17%) in Mosquitto" in text
    page = render(report)
    assert "Where the processor time of a message goes" in page
    assert "Where the processor time of a boot goes" not in page
    assert page.count("bus.cpu_us_per_msg") == 2, "a row, and a bar of the shared picture"


def test_without_all_parts_there_is_no_split_of_a_message() -> None:
    assert message_split(Report(tuple(figures([ROUND])[:-1]), (), ())) == ""
