"""What a Pro at rest reports, value by value, and which sets it reports it in."""

import asyncio

import pytest

from emulator.device.car import Car
from emulator.device.observations import (
    CARD_SHOWN,
    ECHO,
    FULL,
    GREETING,
    LOCAL,
    OBSERVATIONS,
    POWER,
    STARTUP,
    Cadence,
    by_cadence,
)
from tests.unit.device.bench import INSTALLATION, Bench, play

AT_REST = {
    120: "0",
    147: None,
    150: "Wifi",
    151: "0",
    153: "0.5",
    201: "28.000",
    205: "31.000",
    270: "35.000",
    501: "230.000",
    502: "230.000",
    503: "230.000",
    507: "0.000",
    508: "0.000",
    509: "0.000",
    510: "32",
    511: "6",
    513: "0.000",
    519: "4",
    520: "3",
    522: "4",
    523: "10",
    547: "6",
    548: "4",
    553: "0.000",
    702: "12",
    708: "0.000",
    710: "1",
    711: "1",
    712: "0",
    714: "0",
    715: "4",
    718: "0",
    721: "",
    722: "",
    723: None,
    749: "0",
    800: INSTALLATION,
    801: "default",
    802: "",
    803: "0",
    804: "0",
    805: "0",
    807: None,
    808: "start: power-on",
    809: None,
    811: "1",
    815: "1",
    823: "1",
    822: None,
    830: None,
    851: "0",
    866: "0",
    908: "3.4.0.0",
    909: "1.2.0.0",
    911: "5.3.0.3",
    916: "1",
    917: "1",
    918: "1",
    930: None,
    931: None,
    981: None,
}
CHARGING = {
    501: "230.000",
    507: "16.000",
    508: "16.000",
    509: "16.000",
    513: "11040.000",
    519: "4",
    702: "6",
    708: "16.000",
    710: "3",
    714: "20",
}


def test_a_charger_at_rest() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        values = {id_: bench.charger.value(id_) for id_ in OBSERVATIONS}
        assert values.pop(952) == bench.charger.env.host.link_address
        assert '"ProductVariant":"Pro2"' in (values.pop(100) or "")
        assert values == AT_REST

    play(story)


def test_a_charger_that_charges() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.plug_in(Car(cable_a=20))
        bench.command("501", ["16", "4"])
        await asyncio.sleep(10)
        assert {id_: bench.charger.value(id_) for id_ in CHARGING} == CHARGING

    play(story)


@pytest.mark.parametrize(("phases", "lines"), [(1, "100"), (2, "010"), (3, "001"), (4, "111")])
def test_current_flows_on_the_lines_that_were_granted(phases: int, lines: str) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.plug_in(Car())
        bench.command("501", ["10", str(phases)])
        await asyncio.sleep(10)
        assert "".join("1" if bench.charger.value(id_) == "10.000" else "0" for id_ in (507, 508, 509)) == lines

    play(story)


def test_ids_are_keys_and_every_set_is_made_of_rows() -> None:
    assert all(id_ == row.id for id_, row in OBSERVATIONS.items())
    for ids in (*GREETING, STARTUP, FULL, LOCAL, POWER, ECHO):
        assert set(ids) <= set(OBSERVATIONS)
    for row in OBSERVATIONS.values():
        companions = row.companions if isinstance(row.companions, tuple) else sum(row.companions.values(), ())
        assert set(companions) <= set(OBSERVATIONS)


def test_capabilities_never_travel_without_the_firmware_version() -> None:
    assert OBSERVATIONS[100].sent_with("any") == (911,)
    assert all(911 in ids for ids in (*GREETING, FULL, LOCAL, POWER, ECHO) if 100 in ids)


def test_the_operation_mode_takes_along_what_belongs_to_it() -> None:
    row = OBSERVATIONS[710]
    assert (row.sent_with("1"), row.sent_with("5"), row.sent_with("3")) == ((501, 502, 503), (553,), ())


def test_every_row_is_sent_by_somebody() -> None:
    sets = {id_ for ids in (*GREETING, ECHO, *CARD_SHOWN) for id_ in ids}
    by_itself = {id_ for cadence in Cadence if cadence is not Cadence.IN_SETS for id_ in by_cadence(cadence)}
    assert set(OBSERVATIONS) == sets | by_itself
