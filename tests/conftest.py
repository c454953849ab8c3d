"""How the suite runs: reproducible hypothesis, and tests that say what they need of the machine."""

import os

import pytest
from hypothesis import settings

from tests.requirements import REQUIREMENTS, lacking, unknown

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# No deadline: how fast the machine is today says nothing about the code. In CI every run draws the same examples.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if IN_CI else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A misspelt requirement is an error, not a test that never runs."""
    for item in items:
        for mark in item.iter_markers("needs"):
            if wrong := unknown(mark.args):
                known = ", ".join(REQUIREMENTS)
                raise pytest.UsageError(f"{item.nodeid}: needs {wrong[0]!r}; known are {known}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, and say why; in CI nothing is skipped for that reason."""
    reason = lacking(name for mark in item.iter_markers("needs") for name in mark.args)
    if reason is None:
        return
    if IN_CI:
        pytest.fail(f"{reason} (CI=true: nothing is skipped)", pytrace=False)
    pytest.skip(reason)
