import asyncio

import pytest

from tests.contract.hosts import SOON_S, WAYS, Run, Story
from tests.contract.worlds import Told, told_in_both


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> dict[str, dict[str, Told]]:
    """What both worlds tell of the cases of a module: all of them are told at once, when the first is asked for."""
    return told_in_both(request.module.CASES)


@pytest.fixture(params=WAYS)
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
