import asyncio

import pytest

from tests.contract.hosts import SOON_S, WAYS, Run, Story


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
