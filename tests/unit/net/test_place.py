"""Sites and places as data: what can be set, and how a mistake is named."""

from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.local import FACTORY
from emulator.net.lte_cell import Sim
from emulator.net.place import Place, Setup


def test_the_default_site_is_the_one_that_a_charger_is_sold_for() -> None:
    (point,) = Setup().wifi.access_points
    assert (point.ssid, point.password, point.channel) == (FACTORY.ssid, FACTORY.password, 6)
    assert Place().wifi.signal_dbm == -55.0 and Place().lte.sim is Sim.ACTIVE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wifi.access_points": [{"channel": 14}]}, "wifi.access_points.0.channel"),
        ({"wifi.access_points": [{"channel": 0}]}, "wifi.access_points.0.channel"),
        ({"wifi.access_points": [{"password": "short"}]}, "wifi.access_points.0.password"),
        ({"wifi.access_points": [{"ssid": ""}]}, "wifi.access_points.0.ssid"),
        ({"wifi.access_points": [{"standard": "ac"}]}, "wifi.access_points.0.standard"),
        ({"wifi.access_points": [{}, {}]}, "two access points have the same name"),
        ({"wifi.access_points": [{"reboot_every_s": 30.0}]}, "longer than reboot_s"),
        ({"wifi.access_point": []}, "no such key"),
        ({"wifi.access_points.0.channel": 1}, "no such key"),
        ({"lte.attach_s": 0}, "lte.attach_s"),
        ({"lte.operator": ""}, "lte.operator"),
    ],
)
def test_a_site_that_cannot_be_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^site: .*{words}") as caught:
        Setup().with_changes(changes, where="site")
    assert "\n" not in str(caught.value) and "short" not in str(caught.value)


def test_a_place_that_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"^place: wifi\.signal_dbm: "):
        Place().with_changes({"wifi.signal_dbm": 20.0}, where="place")
    assert Place().with_changes({"wifi.levels_dbm": {"ap-1": -71.0}}, where="place").wifi.levels_dbm == {"ap-1": -71.0}
    assert Place().with_changes({"lte.sim": "absent"}, where="place").lte.sim is Sim.ABSENT
