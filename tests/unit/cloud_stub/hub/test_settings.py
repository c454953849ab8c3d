from datetime import UTC, datetime

import pytest

from cloud_stub.hub.rules import ForeignFilters, HubRules
from cloud_stub.hub.settings import HubSettings, parse_settings
from cloud_stub.hub.throttle import Operation
from cloud_stub.state.c2d import C2dRules, FirstSession
from emulator.errors import UsageError
from tests.unit.cloud_stub.hub.people import authority, person

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOST = "zapcloud.azure-devices.net"


def test_the_defaults_are_those_of_the_rules() -> None:
    settings = parse_settings(())
    assert settings.rules(HOST) == HubRules(HOST) and settings.c2d == C2dRules()
    assert settings.throttle(now=lambda: 0.0, utc=lambda: NOON) is None


def test_every_setting_comes_through_and_survives_the_way_to_another_process(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority("Works CA").pem + authority("Other CA").pem)
    texts = ["disabled_code=3", "token_skew_s=5", "token_grace_s=0", "foreign_filters=grant_and_ignore"]
    texts += ["will_on_takeover=false", f"authorities={file}", "tier=S2", "units=3", "c2d_depth=5", "c2d_lock_s=10"]
    texts += ["c2d_first_session=queue", "c2d_clean_discards=yes", "c2d_ttl_s=60", "c2d_deliveries=2"]
    settings = parse_settings(texts)
    assert HubSettings.model_validate(settings.to_json()) == settings
    rules = settings.rules(HOST)
    assert (rules.disabled_code, rules.token_skew_s, rules.token_grace_s) == (3, 5.0, 0.0)
    assert rules.foreign_filters is ForeignFilters.GRANT_AND_IGNORE and not rules.will_on_takeover
    assert len(rules.authorities) == 2
    assert settings.c2d == C2dRules(5, 60.0, 10.0, 2, FirstSession.QUEUE, True)


def test_processes_share_the_limits_of_a_tier() -> None:
    settings = parse_settings(["tier=S1"])
    half = settings.throttle(now=lambda: 0.0, utc=lambda: NOON, processes=2)
    assert half is not None and half.quota_left == 200_000
    assert half.wait_s(Operation.CONNECT, 50 * 60.0) == 0.0
    assert half.wait_s(Operation.CONNECT, 50.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "--hub nonsense: must be KEY=VALUE"),
        ("colour=blue", "--hub colour: .*known are disabled_code"),
        ("disabled_code=4", "--hub disabled_code: "),
        ("token_grace_s=nan", "--hub token_grace_s: "),
        ("tier=S9", "--hub tier: "),
        ("units=0", "--hub units: "),
        ("c2d_lock_s=1", "--hub c2d_lock_s: "),
        ("authorities=/nowhere/ca.pem", "authorities: /nowhere/ca.pem: No such file"),
    ],
)
def test_bad_settings_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_settings([text])


def test_a_file_of_authorities_must_hold_authorities(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    for content in (b"", b"nonsense", person("nobody").pem, bytes((1 << 20) + 1)):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="authorities"):
            parse_settings([f"authorities={file}"])
