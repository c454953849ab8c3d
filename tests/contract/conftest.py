import asyncio

import pytest

from tests.contract.hosts import PARAMS, SOON_S, WAYS, Run, Story
from tests.contract.three_worlds import DIFFERENT, PAGE
from tests.contract.worlds import Told, told_in_both


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> dict[str, dict[str, Told]]:
    """What both worlds tell of the cases of a module: all of them are told at once, when the first is asked for."""
    return told_in_both(request.module.CASES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the worlds tell differently, whether or not anybody opens the page."""
    told = [report for reports in terminalreporter.stats.values() for report in reports if hasattr(report, "nodeid")]
    if any("test_worlds_lab.py" in report.nodeid and report.when == "call" for report in told):
        terminalreporter.section(f"three worlds ({PAGE})")
        for (table, case), difference in DIFFERENT.items():
            terminalreporter.line(f"{table}, {case}: {difference.because}")


@pytest.fixture(params=PARAMS)
def run(request: pytest.FixtureRequest) -> Run:
    """Tells a story on a fresh network of each kind."""
    loop_factory, make_site = WAYS[request.param]

    def tell(story: Story) -> None:
        async def told() -> None:
            with make_site() as site:
                try:
                    async with asyncio.timeout(10 * SOON_S):
                        await story(site)
                finally:
                    for host in site.hosts:
                        host.link_down()  # ends every connection that the story left open
                    await asyncio.sleep(0.01)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(told())

    return tell
