"""What a charger makes of each answer about trust bundles, and how long it waits before it asks again."""

import json
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from certs.issue import root_authority
from emulator.machines.bundle import BundleFetch, Current, Fetched, Retry
from emulator.profile import load_profile
from emulator.wire.bundle import Bundle, BundleError, BundleReason, encode_reply, sign

SIGNER, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
KEY_PEM = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
TIMING = load_profile().trust
SIX_HOURS_S = 6 * 3600.0


@cache
def root_pem() -> str:
    return root_authority("Root of the test").pem.decode()


@cache
def reply(version: int, *, foreign: bool = False) -> bytes:
    return encode_reply(version, root_pem(), sign(root_pem(), STRANGER if foreign else SIGNER))


def fetch(held: int | None = 8) -> BundleFetch:
    return BundleFetch(TIMING, KEY_PEM, held)


def ask(machine: BundleFetch, **more) -> dict[str, object]:
    return json.loads(machine.ask("ZPR000001", "5.3.0.3", **more))


def test_a_charger_says_what_it_has_and_why_it_asks() -> None:
    assert ask(fetch(), error="tls_expired") == {
        "ver": 8,
        "serial": "ZPR000001",
        "fw": "5.3.0.3",
        "error": "tls_expired",
    }
    assert ask(fetch(None))["ver"] == 0


@pytest.mark.parametrize("held", [None, 8])
def test_a_newer_bundle_is_taken_and_asked_for_by_its_version_afterwards(held: int | None) -> None:
    machine = fetch(held)
    ask(machine)
    assert machine.answered(reply(9)) == Fetched(Bundle(9, root_pem()))
    assert ask(machine)["ver"] == 9


@pytest.mark.parametrize("body", [encode_reply(8, None), encode_reply(11, None), reply(8)], ids=["8", "11", "8 again"])
def test_nothing_newer_leaves_what_it_has(body: bytes) -> None:
    assert fetch().answered(body) == Current(8)


def test_a_charger_without_a_bundle_is_not_content_with_nothing_newer() -> None:
    verdict = fetch(None).answered(encode_reply(8, None))
    assert isinstance(verdict, Retry)
    assert (verdict.reason, verdict.invalid) == (BundleReason.EMPTY, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (reply(7), BundleReason.OLDER),
        (reply(9, foreign=True), BundleReason.BAD_SIGNATURE),
        (b"<html>", BundleReason.MALFORMED),
        (encode_reply(9, "x", sign("x", SIGNER)), BundleReason.NO_CERTIFICATES),
        (b" " * 60_000 + b"x", BundleReason.TOO_LARGE),
    ],
    ids=["older", "foreign", "page", "no certificates", "too large"],
)
def test_what_must_not_be_used_is_refused_as_invalid(body: bytes, reason: BundleReason) -> None:
    machine = fetch()
    verdict = machine.answered(body)
    assert isinstance(verdict, Retry)
    assert (verdict.reason, verdict.invalid, machine.held) == (reason, True, 8)


def test_versions_go_back_only_to_the_one_that_was_asked_for_and_only_once() -> None:
    machine = fetch(9)
    assert ask(machine, override=7)["override"] == 7
    assert isinstance(machine.answered(reply(6)), Retry)
    assert machine.answered(reply(7)) == Fetched(Bundle(7, root_pem()))
    assert "override" not in ask(machine)
    assert isinstance(machine.answered(reply(6)), Retry)
    assert machine.answered(reply(9)) == Fetched(Bundle(9, root_pem()))


def test_lost_and_empty_answers_make_the_wait_grow_by_ten_seconds() -> None:
    machine = fetch()
    waits = [machine.lost("no answer").after_s if n % 2 else machine.answered(b"").after_s for n in range(5)]  # type: ignore[union-attr]
    assert waits == [10, 20, 30, 40, 50]


def test_invalid_answers_make_it_grow_by_a_minute() -> None:
    machine = fetch()
    waits = [machine.answered(b"garbage").after_s for _ in range(4)]  # type: ignore[union-attr]
    assert waits == [10, 70, 130, 190]
    assert machine.lost("no answer").after_s == 250
    assert machine.lost("no answer").after_s == 260


def test_the_wait_ends_at_six_hours() -> None:
    machine = fetch()
    waits = [machine.answered(b"garbage").after_s for _ in range(400)]  # type: ignore[union-attr]
    assert waits[359:362] == [SIX_HOURS_S - 50, SIX_HOURS_S, SIX_HOURS_S]


@pytest.mark.parametrize("good", [reply(9), encode_reply(8, None)], ids=["newer", "nothing newer"])
def test_a_proper_answer_makes_the_next_wait_short_again(good: bytes) -> None:
    machine = fetch()
    for _ in range(5):
        machine.answered(b"garbage")
    machine.answered(good)
    assert machine.lost("no answer").after_s == 10


def test_a_serial_that_no_request_has_room_for_is_an_error() -> None:
    with pytest.raises(BundleError):
        fetch().ask("Z" * 100, "5.3.0.3")


class Asking(RuleBasedStateMachine):
    """Any order of questions, answers, lies and losses."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = fetch(None)
        self.override: int | None = None
        self.wait_s = 0.0
        self.before: int | None = None

    @rule(override=st.none() | st.integers(0, 5))
    def ask(self, override: int | None) -> None:
        self.override = override
        assert len(self.machine.ask("ZPR000001", "5.3.0.3", error="tls_broken", override=override)) <= 100

    @rule(version=st.integers(0, 5), foreign=st.booleans())
    def a_bundle(self, version: int, foreign: bool) -> None:
        held = self.machine.held
        verdict = self.machine.answered(reply(version, foreign=foreign))
        if isinstance(verdict, Fetched):
            assert not foreign
            assert held is None or version > held or version == self.override
        else:
            assert self.machine.held == held
        self.see(verdict)

    @rule(body=st.binary(max_size=60))
    def garbage(self, body: bytes) -> None:
        self.see(self.machine.answered(body))

    @rule(version=st.integers(0, 5))
    def nothing_newer(self, version: int) -> None:
        self.see(self.machine.answered(encode_reply(version, None)))

    @rule()
    def loss(self) -> None:
        self.see(self.machine.lost("no answer"))

    def see(self, verdict: object) -> None:
        if isinstance(verdict, Retry):
            assert verdict.after_s >= max(self.wait_s, TIMING.first_retry_s)
            self.wait_s = verdict.after_s
        else:
            self.wait_s = 0.0

    @invariant()
    def waits_are_bounded(self) -> None:
        assert self.wait_s <= SIX_HOURS_S


TestAsking = Asking.TestCase
TestAsking.settings = settings(max_examples=40, stateful_step_count=30)
