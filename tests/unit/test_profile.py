"""Profiles: every value is checked, and what is wrong is named by section and key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.profile import load_profile, parse_profile


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network.hub_host", ""),
        ("network.hub_host", "a b"),
        ("network.hub_port", 0),
        ("network.ntp_port", 65536),
        ("network.connect_timeout_s", 0),
        ("dhcp.budget_s", -1),
        ("dhcp.jitter_s", float("inf")),
        ("dns.attempts", 0),
        ("dns.attempts", "2"),
        ("dns.cache_max", 0),
        ("ntp.tries", -3),
        ("ntp.tries", True),
        ("ntp.tries", 101),
        ("ntp.wait_s", 0.0),
        ("clock.drift_ppm_max", -1.0),
        ("ntp.gate", "loose"),
        ("hub.keep_alive_s", 70000),
        ("hub.keep_alive_s", "300"),
        ("hub.installation_id", "x"),
        ("hub.ack_timeout_s", float("nan")),
        ("hub.sas_lifetime_s", 0),
        ("backoff.first_s", 0),
        ("telemetry.outbox_max", 0),
        ("electrical.network_type", 77),
        ("electrical.max_current_a", -32.0),
        ("firmware.block_bytes", 0),
        ("firmware.version", "new"),
        ("firmware.built_at", "2025-03-01T00:00:00"),
        ("firmware.built_at", "yesterday"),
    ],
)
def test_a_value_that_cannot_be_is_named_in_one_line(key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^step 2: {key}: ") as caught:
        load_profile().with_changes({key: value}, where="step 2")
    assert "\n" not in str(caught.value)


def test_a_fallback_server_is_an_ip_address() -> None:
    with pytest.raises(UsageError, match=r"profile: dns\.fallbacks\.1: "):
        load_profile().with_changes({"dns.fallbacks": ["8.8.8.8", "dns.google"]})


@pytest.mark.parametrize("key", ["ntp.colour", "colour.ntp", "ntp", ""])
def test_a_key_that_does_not_exist_is_named(key: str) -> None:
    with pytest.raises(UsageError, match=f"profile: {key}: no such key"):
        load_profile().with_changes({key: 1})


def test_changes_may_come_from_json() -> None:
    profile = load_profile().with_changes(
        {"firmware.built_at": "2019-01-01T00:00:00Z", "dns.fallbacks": ["9.9.9.9"], "dns.try_timeout_s": 1}
    )
    assert profile.firmware.built_at == datetime(2019, 1, 1, tzinfo=UTC)
    assert profile.dns.fallbacks == ("9.9.9.9",) and profile.dns.try_timeout_s == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "Invalid value"),
        ("hub = 3", "hub: must be a table"),
        ("[hub]\nkeep_alive_s = 3", r"hub\.keep_alive_s: must be"),
        ("[hub]\nkeep_alive_s = {value = -1, tag = 'G'}", "network: Field required"),
    ],
)
def test_a_file_that_is_no_profile(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^mine: .*{words}"):
        parse_profile(text, where="mine")


def test_a_file_that_cannot_be_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"p\.toml: "):
        load_profile(str(path))
    with pytest.raises(UsageError, match="no such profile or file"):
        load_profile("nowhere")
