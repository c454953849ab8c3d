"""How an update goes, step by step, without a network."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.update_steps import (
    ANSWERS,
    Arrived,
    Described,
    Event,
    Failed,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Inspect,
    Install,
    Kept,
    Located,
    Refused,
    Reject,
    Step,
    Stored,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.machines.updater import HOST_FAILURES_MAX, PassedOver
from emulator.wire.update_reason import UpdateReason
from tests.firmware_images import (
    IMAGE,
    MANIFEST,
    SIGNER,
    STRANGER,
    STRANGERS_ID,
    blocks_of,
    package,
)
from tests.unit.machines.update_talk import (
    DESCRIBED,
    ETAG,
    HOSTS,
    LOCATION,
    NOW,
    TIMING,
    honest_answer,
    run_until,
    signed,
    updater,
)

CUTS = st.integers(0, 30)


def test_a_good_update_asks_for_every_byte_once_and_installs() -> None:
    machine, stored = updater(), bytearray()
    step, kinds = machine.start(0), ["FetchLocation"]
    while not isinstance(step, Install | Reject):
        step = machine.handle(honest_answer(step), 0)
        kinds.append(type(step).__name__)
        if isinstance(step, WriteBlock):
            assert step.block.first == len(stored)
            stored += step.data
    assert step == Install(MANIFEST)
    assert bytes(stored) == IMAGE
    assert kinds == [
        *("FetchLocation", "FetchManifest", "Inspect"),
        *["FetchBlock", "WriteBlock"] * 6,
        *("Verify", "Install"),
    ]


def test_the_last_range_asks_for_what_is_left() -> None:
    machine = updater()
    step = run_until(machine, FetchBlock)
    spans = []
    while not isinstance(step, Verify):
        if isinstance(step, FetchBlock):
            spans.append((step.first, step.last))
        step = machine.handle(honest_answer(step), 0)
    assert spans == [*((first, first + 4095) for first in range(0, 20_480, 4096)), (20_480, 20_687)]


@pytest.mark.parametrize("kind", [FetchManifest, FetchBlock])
def test_a_failed_fetch_is_tried_again_after_a_pause(kind: type[Step]) -> None:
    machine = updater()
    step = run_until(machine, kind)
    for attempt in range(3):
        now = attempt * 10.0
        assert machine.handle(Failed("HTTP 503"), now) == Wait(now + TIMING.retry_s)
        assert machine.handle(Waited(), now + TIMING.retry_s) == step
    assert not isinstance(machine.handle(honest_answer(step), 50.0), Reject)


def test_a_location_that_does_not_come_is_asked_for_at_the_next_host_and_at_the_first_again() -> None:
    machine = updater()
    step, asked = machine.start(0), []
    for _ in range(4):
        assert isinstance(step, FetchLocation)
        asked.append(step.host)
        assert isinstance(machine.handle(Failed("HTTP 503"), 0), Wait)
        step = machine.handle(Waited(), 0)
    assert asked == [*HOSTS, HOSTS[0]]


@pytest.mark.parametrize("kind", [FetchManifest, FetchBlock])
def test_where_the_image_does_not_come_from_the_next_host_is_asked_for_another_place(kind: type[Step]) -> None:
    machine = updater()
    step = run_until(machine, kind)
    for _ in range(HOST_FAILURES_MAX):
        assert isinstance(step, kind)
        machine.handle(Failed("reset"), 0)
        step = machine.handle(Waited(), 0)
    assert step == FetchLocation(HOSTS[1])


def test_a_host_that_refuses_is_passed_over_and_its_refusal_remembered() -> None:
    machine = updater()
    machine.start(0)
    assert machine.handle(Refused(UpdateReason.FOREIGN_REDIRECT, "to example.net"), 0) == FetchLocation(HOSTS[1])
    assert machine.handle(Located(LOCATION), 0) == FetchManifest(LOCATION)
    assert machine.passed_over == [PassedOver(UpdateReason.FOREIGN_REDIRECT, "to example.net")]


def test_when_no_host_does_better_the_first_refusal_ends_the_update() -> None:
    machine = updater()
    machine.start(0)
    machine.handle(Failed("reset"), 0)
    machine.handle(Waited(), 0)
    machine.handle(Refused(UpdateReason.MALFORMED, "location reply"), 0)
    end = machine.handle(Refused(UpdateReason.REFUSED, "HTTP 404"), 0)
    assert end == Reject(UpdateReason.MALFORMED, "location reply")


@pytest.mark.parametrize("reason", [UpdateReason.TLS, UpdateReason.TOO_SLOW])
@pytest.mark.parametrize("kind", [FetchLocation, FetchManifest, FetchBlock])
def test_what_cannot_be_trusted_is_put_up_with_for_a_while(kind: type[Step], reason: UpdateReason) -> None:
    machine = updater()
    step, now = run_until(machine, kind), 0.0
    while not isinstance(step, Reject):
        answer = honest_answer(step)
        if isinstance(step, kind):
            answer = Failed("not so", reason)
        elif isinstance(step, Wait):
            now = step.until
        step = machine.handle(answer, now)
    assert step == Reject(reason, "not so")
    assert TIMING.patience_s <= now < TIMING.patience_s + 5 * TIMING.retry_s


def test_progress_makes_patient() -> None:
    machine = updater()
    step, now = run_until(machine, FetchBlock), 0.0
    while isinstance(step, FetchBlock):
        machine.handle(Failed("slow", UpdateReason.TOO_SLOW), now)
        now += TIMING.patience_s - 1
        step = machine.handle(Waited(), now)
        machine.handle(honest_answer(step), now)
        step = machine.handle(Stored(), now)
    assert isinstance(step, Verify)


def test_what_the_slot_holds_already_is_not_fetched_again() -> None:
    machine = updater()
    run_until(machine, Inspect)
    step = machine.handle(Kept(4), 0)
    assert isinstance(step, FetchBlock) and step.index == 4
    machine = updater()
    run_until(machine, Inspect)
    assert machine.handle(Kept(6), 0) == Verify(MANIFEST)


def test_another_image_between_two_blocks_is_noticed_whatever_it_holds() -> None:
    machine = updater()
    step = run_until(machine, FetchBlock)
    machine.handle(honest_answer(step), 0)
    step = machine.handle(Stored(), 0)
    assert isinstance(step, FetchBlock) and step.etag == ETAG
    end = machine.handle(Arrived(IMAGE[4096:8192], len(IMAGE), len(IMAGE), '"two"'), 0)
    assert isinstance(end, Reject) and end.reason is UpdateReason.CHANGED


def test_no_word_about_the_length_of_the_whole_is_needed() -> None:
    machine = updater()
    step = run_until(machine, FetchBlock)
    while isinstance(step, FetchBlock | WriteBlock):
        is_block = isinstance(step, FetchBlock)
        step = machine.handle(Arrived(IMAGE[step.first : step.last + 1], None) if is_block else Stored(), 0)  # type: ignore[union-attr]
    assert isinstance(step, Verify)


@pytest.mark.parametrize("kind", [Inspect, WriteBlock, Verify])
def test_flash_that_fails_ends_the_update(kind: type[Step]) -> None:
    machine = updater()
    run_until(machine, kind)
    assert machine.handle(Refused(UpdateReason.FLASH, "worn"), 0) == Reject(UpdateReason.FLASH, "worn")


@pytest.mark.parametrize("kind", [FetchLocation, FetchManifest, FetchBlock])
def test_the_timer_over_the_whole_update_ends_the_trying(kind: type[Step]) -> None:
    machine = updater()
    run_until(machine, kind)
    now = 0.0
    step: Step = machine.handle(Failed("HTTP 503"), now)
    while isinstance(step, Wait):
        assert step.until <= machine.deadline()
        now = step.until
        step = machine.handle(Waited(), now)
        if not isinstance(step, Reject):
            step = machine.handle(Failed("HTTP 503"), now)
    assert isinstance(step, Reject)
    assert step.reason is UpdateReason.TIMED_OUT
    assert now == TIMING.timeout_s


@pytest.mark.parametrize("kind", [FetchManifest, FetchBlock])
def test_a_final_refusal_is_not_argued_with(kind: type[Step]) -> None:
    machine = updater()
    run_until(machine, kind)
    refused = machine.handle(Refused(UpdateReason.REFUSED, "HTTP 401"), 0)
    assert refused == Reject(UpdateReason.REFUSED, "HTTP 401")


def test_a_bad_manifest_ends_the_update_before_the_image_is_touched() -> None:
    stories = {
        UpdateReason.UNSIGNED: (DESCRIBED.manifest, b""),
        UpdateReason.BAD_SIGNATURE: (DESCRIBED.manifest, bytes(64)),
        UpdateReason.UNKNOWN_KEY: signed(STRANGER, key_id=STRANGERS_ID),
        UpdateReason.OLDER: signed(SIGNER, version="5.0"),
        UpdateReason.NOT_FROM_HERE: signed(SIGNER, min_version="5.3.1"),
        UpdateReason.WRONG_SERIAL: signed(SIGNER, serial_prefixes=("ZGB",)),
        UpdateReason.EXPIRED: signed(SIGNER, not_after=datetime(2025, 12, 31, tzinfo=UTC)),
        UpdateReason.MALFORMED: signed(SIGNER, version="5.5"),
    }
    for reason, described in stories.items():
        machine = updater()
        run_until(machine, FetchManifest)
        step = machine.handle(Described(*described, NOW), 0)
        assert isinstance(step, Reject)
        assert step.reason is reason


def test_a_bad_block_is_never_stored() -> None:
    block = IMAGE[:4096]
    stories = [
        (Arrived(b"\xff" + block[1:], len(IMAGE)), UpdateReason.WRONG_HASH),
        (Arrived(block[:-1], len(IMAGE)), UpdateReason.SHORT),
        (Arrived(block, len(IMAGE) - 1), UpdateReason.SHORT),
        (Arrived(block, len(IMAGE) + 1), UpdateReason.ENDLESS),
        (Arrived(block, None, len(IMAGE) - 1), UpdateReason.SHORT),
        (Arrived(block, len(IMAGE), len(IMAGE) + 1), UpdateReason.ENDLESS),
        (Arrived(block + b"more", len(IMAGE)), UpdateReason.ENDLESS),
        (Arrived(blocks_of(package(version="5.3.9").image)[0], len(IMAGE)), UpdateReason.MIXED),
    ]
    for arrived, reason in stories:
        machine = updater()
        run_until(machine, FetchBlock)
        step = machine.handle(arrived, 0)
        assert isinstance(step, Reject)
        assert step.reason is reason


def test_flash_that_kept_something_else_is_noticed() -> None:
    machine = updater()
    run_until(machine, Verify)
    step = machine.handle(Hashed(bytes(32)), 0)
    assert isinstance(step, Reject)
    assert step.reason is UpdateReason.WRONG_HASH


def test_an_answer_to_another_question_is_our_own_mistake() -> None:
    assert set(ANSWERS) == {FetchLocation, FetchManifest, Inspect, FetchBlock, WriteBlock, Verify, Wait}
    answers: list[Event] = [DESCRIBED, Kept(0), Arrived(b"", 0), Stored(), Hashed(b""), Waited()]
    for answer in answers:
        with pytest.raises(ValueError, match="does not answer FetchLocation"):
            machine = updater()
            machine.start(0)
            machine.handle(answer, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["honest", "failed", "altered", "resumed", "refused"]), st.floats(0, 600)),
        max_size=60,
    )
)
def test_only_a_complete_and_honest_image_is_ever_installed(story: list[tuple[str, float]]) -> None:
    machine, now, stored = updater(), 0.0, bytearray()
    step = machine.start(now)
    for how, seconds in [*story, *[("honest", 0.0)] * 60]:
        if isinstance(step, Install | Reject):
            break
        answer = honest_answer(step)
        if how == "failed" and isinstance(step, FetchLocation | FetchManifest | FetchBlock):
            answer = Failed("reset")
        elif how == "altered" and isinstance(answer, Arrived):
            answer = Arrived(bytes([answer.data[0] ^ 1]) + answer.data[1:], answer.total_bytes)
        elif how == "resumed" and isinstance(step, Inspect):
            stored[:] = IMAGE[: 3 * 4096]
            answer = Kept(3)
        elif how == "refused" and isinstance(step, FetchLocation):
            answer = Refused(UpdateReason.REFUSED, "HTTP 404")
        now = max(now + seconds, step.until if isinstance(step, Wait) else 0.0)
        step = machine.handle(answer, now)
        if isinstance(step, WriteBlock):
            stored[step.block.first :] = step.data
    assert isinstance(step, Install | Reject)
    if isinstance(step, Install):
        assert bytes(stored) == IMAGE
        assert now < TIMING.timeout_s


@given(st.lists(CUTS, max_size=8))
def test_however_often_the_power_fails_no_block_is_fetched_twice_and_the_next_try_completes(cuts: list[int]) -> None:
    """A cut falls before the given number of answers; what was stored is there after it."""
    stored, fetched, step = bytearray(), list[int](), updater().start(0)
    for steps in (*cuts, 1000):
        machine = updater()
        step = machine.start(0)
        for _ in range(steps):
            if isinstance(step, Install):
                break
            answer = honest_answer(step)
            if isinstance(step, Inspect):
                answer = Kept(-(-len(stored) // 4096))
            elif isinstance(step, WriteBlock):
                assert step.block.first == len(stored)
                stored += step.data
                fetched.append(step.block.index)
            step = machine.handle(answer, 0)
    assert isinstance(step, Install)
    assert bytes(stored) == IMAGE
    assert fetched == list(range(6))
