"""How an update goes, step by step, without a network."""

import hashlib
from dataclasses import replace
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.updater import (
    ANSWERS,
    Arrived,
    Described,
    Event,
    Failed,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Install,
    Located,
    Refused,
    Reject,
    Step,
    Stored,
    Updater,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.profile import load_profile
from emulator.wire.firmware import Location, Running, UpdateReason, describe, encode_manifest, sign

SIGNER = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
PUBLIC = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
TIMING = load_profile().firmware
RUNNING = Running("5.3.0.3", 1, "zaptec-pro", slot_bytes=100_000, block_bytes=4096)
IMAGE = Random("image").randbytes(10_000)
MANIFEST = describe(IMAGE, version="5.4.0.0", security_counter=1, hardware="zaptec-pro", block_bytes=4096)
LOCATION = Location("https://devices.zaptec.com/image.bin", "5.4.0.0")
DESCRIBED = Described(encode_manifest(MANIFEST), sign(encode_manifest(MANIFEST), SIGNER))


def updater() -> Updater:
    return Updater(TIMING, RUNNING, PUBLIC)


def honest_answer(step: Step) -> Event:
    """What a good server and a good flash answer."""
    match step:
        case FetchLocation():
            return Located(LOCATION)
        case FetchManifest():
            return DESCRIBED
        case FetchBlock():
            return Arrived(IMAGE[step.first : step.last + 1], len(IMAGE))
        case WriteBlock():
            return Stored()
        case Verify():
            return Hashed(hashlib.sha256(IMAGE).digest())
        case Wait():
            return Waited()
        case _:
            raise AssertionError("the update is over")


def run_until(machine: Updater, kind: type[Step], now: float = 0.0) -> Step:
    """Answer honestly until a step of this kind is asked for."""
    step = machine.start(now)
    while not isinstance(step, kind):
        step = machine.handle(honest_answer(step), now)
    return step


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
    assert kinds == ["FetchLocation", "FetchManifest", *["FetchBlock", "WriteBlock"] * 3, "Verify", "Install"]


def test_the_last_range_asks_for_what_is_left() -> None:
    machine = updater()
    step = run_until(machine, FetchBlock)
    spans = []
    while not isinstance(step, Verify):
        if isinstance(step, FetchBlock):
            spans.append((step.first, step.last))
        step = machine.handle(honest_answer(step), 0)
    assert spans == [(0, 4095), (4096, 8191), (8192, 9999)]


@pytest.mark.parametrize("kind", [FetchLocation, FetchManifest, FetchBlock])
def test_a_failed_fetch_is_tried_again_after_a_pause(kind: type[Step]) -> None:
    machine = updater()
    step = run_until(machine, kind)
    for attempt in range(3):
        now = attempt * 10.0
        assert machine.handle(Failed("HTTP 503"), now) == Wait(now + TIMING.retry_s)
        assert machine.handle(Waited(), now + TIMING.retry_s) == step
    assert not isinstance(machine.handle(honest_answer(step), 50.0), Reject)


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


@pytest.mark.parametrize("kind", [FetchLocation, FetchManifest, FetchBlock])
def test_a_final_refusal_is_not_argued_with(kind: type[Step]) -> None:
    machine = updater()
    run_until(machine, kind)
    refused = machine.handle(Refused(UpdateReason.REFUSED, "HTTP 401"), 0)
    assert refused == Reject(UpdateReason.REFUSED, "HTTP 401")


def test_a_bad_manifest_ends_the_update_before_the_image_is_touched() -> None:
    old = encode_manifest(replace(MANIFEST, version="5.0"))
    other = encode_manifest(replace(MANIFEST, version="5.5"))
    stories = {
        UpdateReason.UNSIGNED: Described(DESCRIBED.manifest, b""),
        UpdateReason.BAD_SIGNATURE: Described(DESCRIBED.manifest, bytes(64)),
        UpdateReason.OLDER: Described(old, sign(old, SIGNER)),
        UpdateReason.MALFORMED: Described(other, sign(other, SIGNER)),
    }
    for reason, described in stories.items():
        machine = updater()
        run_until(machine, FetchManifest)
        step = machine.handle(described, 0)
        assert isinstance(step, Reject)
        assert step.reason is reason


def test_a_bad_block_is_never_stored() -> None:
    block = IMAGE[:4096]
    stories = [
        (Arrived(b"\xff" + block[1:], len(IMAGE)), UpdateReason.WRONG_HASH),
        (Arrived(block[:-1], len(IMAGE)), UpdateReason.SHORT),
        (Arrived(block, len(IMAGE) - 1), UpdateReason.SHORT),
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
    assert set(ANSWERS) == {FetchLocation, FetchManifest, FetchBlock, WriteBlock, Verify, Wait}
    answers: list[Event] = [DESCRIBED, Arrived(b"", 0), Stored(), Hashed(b""), Waited()]
    for answer in answers:
        with pytest.raises(ValueError, match="does not answer FetchLocation"):
            machine = updater()
            machine.start(0)
            machine.handle(answer, 0)


@given(st.lists(st.tuples(st.sampled_from(["honest", "failed", "altered"]), st.floats(0, 600)), max_size=60))
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
        now = max(now + seconds, step.until if isinstance(step, Wait) else 0.0)
        step = machine.handle(answer, now)
        if isinstance(step, WriteBlock):
            stored[step.block.first :] = step.data
    assert isinstance(step, Install | Reject)
    if isinstance(step, Install):
        assert bytes(stored) == IMAGE
        assert now < TIMING.timeout_s
