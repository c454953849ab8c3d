"""The tests of docker-compose.yml run inside it, in the service `tests` (`make compose-test`), and nowhere else."""

import os
from collections.abc import Iterator

import pytest

if "COMPOSE_PROJECT" not in os.environ:
    collect_ignore_glob = ["test_*.py", "stack.py", "engine.py"]
else:
    from tests.compose.stack import Stack

    @pytest.fixture(scope="session")
    def running() -> Iterator[Stack]:
        """The stack, once all its chargers are online."""
        with Stack.from_environment(os.environ) as stack:
            stack.wait_online(within_s=120)
            yield stack

    @pytest.fixture
    def stack(running: Stack) -> Iterator[Stack]:
        """The same, made whole again afterwards."""
        yield running
        running.heal()
        running.wait_online(within_s=120)
