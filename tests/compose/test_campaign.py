"""A release is rolled out to chargers in containers, by a firmware server that is not where the hub is."""

from typing import Any

from tests.compose.stack import HTTPS, Stack, eventually

NEW = "5.4.0.0"
CAMPAIGN = {"id": "spring", "version": NEW, "size_bytes": 1 << 20, "command": 201, "calls_per_s": 0.25}
"""One charger every four seconds."""
BEGUN = ("downloading", "installing", "installed")


def shown(stack: Stack) -> dict[str, Any]:
    return stack.control(HTTPS, "GET", "/campaigns/spring")


def test_a_campaign_updates_all_chargers_and_goes_on_where_it_was_killed(stack: Stack) -> None:
    assert {charger.bench.snapshot()["firmware"]["version"] for charger in stack.chargers} != {NEW}
    begun = stack.control(HTTPS, "POST", "/campaigns", CAMPAIGN)
    assert begun["devices"]["all"] == len(stack.chargers)
    eventually(lambda: sum(shown(stack)["devices"][standing] for standing in BEGUN) >= 2, within_s=60)
    stack.service("https").kill()
    stack.service("https").start()
    eventually(lambda: stack.reachable(HTTPS), within_s=60)
    devices = shown(stack)["devices"]
    assert devices["failed"] == 0 and devices["offered"], "it was in the middle"
    eventually(lambda: shown(stack)["state"] == "completed", within_s=180)
    assert shown(stack)["devices"]["installed"] == len(stack.chargers)
    assert {charger.bench.snapshot()["firmware"]["version"] for charger in stack.chargers} == {NEW}
    for charger in stack.chargers:
        charger.bench.wait_for("boot.firmware.passed", version=NEW, within_s=1)
