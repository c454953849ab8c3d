"""All tables of cases in the third world: the charger on an interface of its own, and the kernel's router behind it.

What a case tells there must be what it tells in virtual time, row by row, and so what `test_worlds_*.py` say of it.
What must differ is in `tests.contract.three_worlds`, with the reason. The comparison is left as a page.
"""

from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.contract import (
    test_worlds_dhcp,
    test_worlds_dns,
    test_worlds_link_and_site,
    test_worlds_ntp,
    test_worlds_tls,
)
from tests.contract.three_worlds import COLUMNS, DIFFERENT, PAGE, page
from tests.contract.worlds import Table, Told, in_words, told_in

pytestmark = [pytest.mark.needs("root", "nft", "mosquitto"), pytest.mark.slow]

TABLES: Mapping[str, Table] = {
    "dhcp": test_worlds_dhcp.CASES,
    "dns": test_worlds_dns.CASES,
    "ntp": test_worlds_ntp.CASES,
    "hub and trust": test_worlds_tls.CASES,
    "link and site": test_worlds_link_and_site.CASES,
}
SCENARIOS = [pytest.param(name, case, id=f"{name}: {case}") for name, table in TABLES.items() for case in table]

Tell = Callable[[str], Mapping[str, Mapping[str, Told]]]


@pytest.fixture(scope="module")
def tell(request: pytest.FixtureRequest) -> Iterator[Tell]:
    """Tells a table in all worlds, when the first case of it is asked for; in the end the page is written."""
    told: dict[str, Mapping[str, Mapping[str, Told]]] = {}

    def in_all(name: str) -> Mapping[str, Mapping[str, Told]]:
        if name not in told:
            told[name] = {world: told_in(world, TABLES[name]) for world in COLUMNS}
        return told[name]

    yield in_all
    written = request.config.rootpath / PAGE
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(page(TABLES, told), encoding="utf-8")


@pytest.mark.parametrize(("table", "case"), SCENARIOS)
def test_the_lab_tells_what_virtual_time_tells(tell: Tell, table: str, case: str) -> None:
    told, difference = tell(table), DIFFERENT.get((table, case))
    expected = TABLES[table][case].rows
    if difference is not None:
        expected = difference.rows or expected
    assert in_words(told["lab"][case].rows) == in_words(expected)
    assert (told["lab"][case].tried == told["sim"][case].tried) is (difference is None)


def test_there_are_enough_scenarios_and_every_difference_is_about_one() -> None:
    assert len(SCENARIOS) >= 25
    assert set(DIFFERENT) <= {(name, case) for name, table in TABLES.items() for case in table}
