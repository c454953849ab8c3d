"""The benchmark report: medians, goals, the rows that others read, and a page that stands alone."""

import json
from fnmatch import fnmatchcase

import pytest

from emulator.errors import UsageError
from tests.bench.figure import FIGURES, Figure, Peer, figure
from tests.bench.page import BOOT_SPLIT, render
from tests.bench.report import COLUMNS, Report, as_json, boot_split, cells, in_order, number
from tests.bench.suite import BENCHMARKS, chosen

BOOTS = figure("fleet.boots_per_s", [240.0, 260.0, 251.0], note="1000 chargers <one process>")
MEMORY = figure("fleet.kib_per_charger", [70.0])
LOCUST = figure("fleet.connects_per_s_vs_locust", [600.0, 800.0, 700.0], peer=Peer("locust", (280.0, 300.0)))


def report(*figures: Figure, failures: tuple[tuple[str, str], ...] = ()) -> Report:
    return Report(figures, failures, (("Python", "CPython 3.11.7"),))


def spent(**ms: float) -> list[Figure]:
    """Figures of processor time; ``fleet_boot=4`` is `fleet.cpu_ms_per_boot`."""
    return [figure(f"{name.replace('_', '.cpu_ms_per_')}", [value]) for name, value in ms.items()]


def test_a_figure_is_the_median_of_its_runs_and_so_is_its_peer() -> None:
    assert (LOCUST.value, LOCUST.peer_value) == (700.0, 290.0)
    assert LOCUST.ratio == pytest.approx(700 / 290)


def test_without_a_peer_there_is_no_ratio() -> None:
    assert (BOOTS.peer_value, BOOTS.ratio) == (None, None)


def test_a_goal_is_a_minimum_where_more_is_better_and_else_a_maximum() -> None:
    assert (BOOTS.met, MEMORY.met, LOCUST.met) == (True, False, None)
    assert figure("fleet.boots_per_s", [250.0]).met
    assert figure("fleet.kib_per_charger", [64.0]).met


@pytest.mark.parametrize(("name", "runs"), [("fleet.unheard_of", [1.0]), ("fleet.boots_per_s", [])])
def test_only_known_figures_with_a_run_are_made(name: str, runs: list[float]) -> None:
    with pytest.raises(ValueError, match=name):
        figure(name, runs)


def test_json_has_the_keys_that_others_read() -> None:
    boots, locust = json.loads(json.dumps(as_json([BOOTS, LOCUST])))
    read = ("name", "value", "unit", "peer", "peer_value", "ratio")
    assert [boots[key] for key in read] == ["fleet.boots_per_s", 251.0, "boots/s", None, None, None]
    assert [locust[key] for key in read[:-1]] == [LOCUST.name, 700.0, "connects/s", "locust", 290.0]
    assert locust["ratio"] == pytest.approx(2.41, abs=0.01)
    assert (boots["goal"], boots["met"], boots["runs"]) == (250.0, True, [240.0, 260.0, 251.0])


def test_a_row_of_the_table_shows_spread_and_goal() -> None:
    row = dict(zip(COLUMNS, cells(BOOTS), strict=True))
    assert (row["median"], row["runs"], row["goal"]) == ("251", "240 to 260 (3)", "at least 250: met")
    assert dict(zip(COLUMNS, cells(MEMORY), strict=True))["goal"] == "at most 64: MISSED"


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (5938.6, "5,939"), (46.46, "46.5"), (1.283, "1.28"), (0.0, "0.00")]
)
def test_numbers_have_the_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text


def test_figures_come_in_the_order_of_the_table() -> None:
    assert in_order([LOCUST, MEMORY, BOOTS]) == (BOOTS, MEMORY, LOCUST)


def test_the_split_says_what_a_boot_takes_beyond_the_login() -> None:
    figures = spent(fleet_boot=4.5, cloud_boot=4.0, mosquitto_boot=0.2)
    figures += spent(fleet_login=1.25, cloud_login=1.0, cloud_handshake=0.9)
    assert "takes 3.25 ms in the fleet and 3.00 ms in the cloud" in boot_split(report(*figures))
    assert boot_split(report(*figures[:-1])) == ""
    assert {each.name for each in figures} == set(BOOT_SPLIT)


def test_the_page_stands_alone_and_escapes_what_it_is_told() -> None:
    page = render(report(BOOTS, MEMORY, LOCUST, failures=(("day", "no world <sim>"),)))
    assert "1 of 2 goals met" in page
    assert "&lt;one process&gt;" in page
    assert "day could not run: no world &lt;sim&gt;" in page
    assert not any(word in page for word in ("http://", "https://", "src=", "$"))


def test_bars_of_a_picture_share_a_scale() -> None:
    page = render(report(LOCUST))
    assert 'class="bar ours" style="width:100.0%"' in page
    assert 'class="bar peer" style="width:41.4%"' in page


def test_a_page_without_figures_is_a_page() -> None:
    assert "0 of 0 goals met" in render(report())


def test_every_figure_comes_out_of_one_benchmark() -> None:
    assert sorted(name for each in BENCHMARKS for name in each.figures) == sorted(FIGURES)


def test_benchmarks_are_chosen_by_their_figures() -> None:
    assert chosen([]) == list(BENCHMARKS)
    assert [each.name for each in chosen(["sim.charger_day_s"])] == ["day"]
    assert [each.name for each in chosen(["fleet.*"])] == ["storm", "logins"]
    assert [each.name for each in chosen(["firmware.*"])] == ["firmware"]
    assert not any(fnmatchcase(name, "weather.*") for name in FIGURES)
    with pytest.raises(UsageError, match="no such figure"):
        chosen(["weather.*"])
