"""What the resolver remembers, and for how long."""

from typing import Any

import pytest

from emulator.machines.resolver import Cache, DnsReason, Ignored, Resolved, Tried, Unresolved
from tests.unit.machines.look_up import GOOGLE, HUB, PRIMARY, TIMING


def resolved(name: str = HUB, ttl_s: int = 60) -> Resolved:
    return Resolved(
        name, ("40.74.0.1",), ttl_s, PRIMARY, (Tried(PRIMARY, "answered"),), (Ignored(PRIMARY, "wrong_id", 1),)
    )


def cache(**changes: Any) -> Cache:
    return Cache(TIMING.model_copy(update=changes))


def test_the_cache_keeps_a_name_for_its_time() -> None:
    kept = cache()
    kept.put(resolved(), 100.0)
    expected = Resolved(HUB, ("40.74.0.1",), 60, PRIMARY, (Tried(PRIMARY, "cached"),))
    assert kept.get("ZAPCLOUD.azure-devices.net.", 159.9) == expected
    assert kept.get(HUB, 160.0) is None
    assert kept.get(HUB, 100.0) is None, "what is over is gone"


def test_an_answer_without_lifetime_is_not_kept_and_replaces_what_was() -> None:
    kept = cache()
    kept.put(resolved(), 100.0)
    kept.put(resolved(ttl_s=0), 100.0)
    assert kept.get(HUB, 100.0) is None


def test_no_answer_is_kept_for_longer_than_the_profile_allows() -> None:
    kept = cache(ttl_max_s=1000.0)
    kept.put(resolved(ttl_s=2**31 - 1), 0.0)
    assert kept.get(HUB, 999.9) is not None
    assert kept.get(HUB, 1000.0) is None


def test_a_negative_answer_is_kept_too_but_not_for_long() -> None:
    tried = (Tried(PRIMARY, "nxdomain"), Tried(GOOGLE, "no_address"))
    kept = cache(negative_ttl_max_s=10.0)
    kept.put(Unresolved(HUB, DnsReason.NOT_FOUND, tried, ttl_s=300), 0.0)
    cached = (Tried(PRIMARY, "cached"), Tried(GOOGLE, "cached"))
    assert kept.get(HUB, 9.9) == Unresolved(HUB, DnsReason.NOT_FOUND, cached, ttl_s=300)
    assert kept.get(HUB, 10.0) is None


@pytest.mark.parametrize(("ttl_s", "ttl_max_s"), [(0, 10.0), (300, 0.0)], ids=["nobody said how long", "switched off"])
def test_a_negative_answer_may_not_be_kept_at_all(ttl_s: int, ttl_max_s: float) -> None:
    kept = cache(negative_ttl_max_s=ttl_max_s)
    kept.put(Unresolved(HUB, DnsReason.FAILED, (), ttl_s=ttl_s), 0.0)
    assert kept.get(HUB, 0.0) is None


def test_the_cache_has_a_limit_and_the_first_goes_first() -> None:
    kept = cache(cache_max=2)
    for name in ("a.net", "b.net", "a.net", "c.net"):
        kept.put(resolved(name), 0.0)
    assert [kept.get(name, 1.0) is not None for name in ("a.net", "b.net", "c.net")] == [True, False, True]
