"""What a health check is told of a charger that is not online."""

from typing import Any

import pytest

from emulator.bench.condition import Condition
from emulator.trace import TraceEvent
from tests.toy import stage


def last_word(*events: tuple[str, dict[str, Any]]) -> str:
    condition = Condition()
    for name, data in events:
        condition.see(TraceEvent(0.0, None, "ZPR000001", name, data))
    return condition.why_not


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (("device.power_on", {}), "boots"),
        (stage("link"), "connects: link is through"),
        (stage("names", "degraded", "fallback_dns"), "connects: names is through"),
        (stage("hub", "failed", "tls_unknown_ca", detail="self-signed"), "hub failed: tls_unknown_ca (self-signed)"),
        (stage("time", "failed", "ntp_silent"), "time failed: ntp_silent"),
        (("device.greeting_failed", {"why": "timed_out", "detail": ""}), "the hub does not acknowledge: timed_out"),
        (("device.offline", {"why": "reset", "detail": "RST"}), "the session at the hub ended: reset (RST)"),
        (("device.online", {"connection": 1}), "the session at the hub has just ended"),
        (("device.power_cut", {}), "the power is off"),
        (("device.reboot", {"reason": "command 102", "after_s": 3.0}), "restarts: command 102"),
        (("device.shut_down", {}), "was shut down"),
        (("device.publish", {"type": 2}), "restarts: test"),
        (("boot.retry", {"why": "ntp_silent", "after_s": 10.0}), "restarts: test"),
    ],
)
def test_the_last_word_counts(event: tuple[str, dict[str, Any]], word: str) -> None:
    assert last_word(("device.reboot", {"reason": "test"}), event) == word


def test_before_anything_happened() -> None:
    assert last_word() == "boots"
