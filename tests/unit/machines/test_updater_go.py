"""How the Go's updater hangs, step by step, without a network."""

from collections.abc import Callable

from cloud_stub.firmware.package import build_image
from emulator.machines.update_steps import (
    Arrived,
    Described,
    Event,
    Failed,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Install,
    Refused,
    Reject,
    Step,
    Wait,
    Waited,
)
from emulator.machines.updater_go import GoUpdater
from emulator.wire.firmware_keys import sign
from emulator.wire.update_reason import UpdateReason
from tests.firmware_images import BLOCK, IMAGE, KEYS, MANIFEST, RELEASE, SIGNER
from tests.unit.machines.update_talk import HOSTS, NOW, RUNNING, TIMING, honest_answer, run_until


def go() -> GoUpdater:
    return GoUpdater(TIMING, HOSTS[:1], RUNNING, KEYS)


def hangs(machine: GoUpdater, step: Step, answer: Callable[[Step], Event]) -> list[Step]:
    """The fetches of an update that goes on so until its timer, which must be what ends it."""
    now, asked = 0.0, list[Step]()
    for _ in range(10_000):
        match step:
            case Reject(reason):
                assert reason is UpdateReason.TIMED_OUT and now == TIMING.timeout_s
                return asked
            case Wait(until):
                now = until
            case FetchLocation() | FetchBlock():
                asked.append(step)
        step = machine.handle(answer(step), now)
    raise AssertionError("no end")


def test_like_the_go_an_image_with_a_short_last_block_and_its_length_announced_is_installed() -> None:
    assert run_until(go(), Install) == Install(MANIFEST)


def test_like_the_go_a_whole_number_of_blocks_never_ends() -> None:
    whole = build_image(RELEASE, 5 * BLOCK, block_bytes=BLOCK)
    described = Described(whole.manifest, sign(whole.manifest, SIGNER), NOW)

    def answer(step: Step) -> Event:
        match step:
            case FetchManifest():
                return described
            case FetchBlock() if step.first < len(whole.image):
                return Arrived(whole.image[step.first : step.last + 1], len(whole.image))
            case FetchBlock():
                return Refused(UpdateReason.SHORT, "HTTP 416")
        return honest_answer(step)

    machine = go()
    asked = hangs(machine, machine.start(0), answer)
    assert {step.index for step in asked[-100:] if isinstance(step, FetchBlock)} == {5}


def test_like_the_go_without_the_header_of_the_length_it_never_ends() -> None:
    def answer(step: Step) -> Event:
        match step:
            case FetchBlock() if step.first < len(IMAGE):
                return Arrived(IMAGE[step.first : step.last + 1], None, len(IMAGE))
            case FetchBlock():
                return Refused(UpdateReason.SHORT, "HTTP 416")
        return honest_answer(step)

    machine = go()
    hangs(machine, machine.start(0), answer)


def test_like_the_go_one_transport_error_is_never_forgotten() -> None:
    failures = [Failed("reset")]

    def answer(step: Step) -> Event:
        if isinstance(step, FetchBlock) and step.index == 2 and failures:
            return failures.pop()
        return honest_answer(step)

    machine = go()
    asked = hangs(machine, machine.start(0), answer)
    assert {step.index for step in asked[-100:] if isinstance(step, FetchBlock)} == {2}


def test_like_the_go_a_location_that_cannot_be_parsed_is_asked_for_until_the_end() -> None:
    machine = go()
    asked = hangs(
        machine,
        machine.start(0),
        lambda step: Waited() if isinstance(step, Wait) else Refused(UpdateReason.MALFORMED, "location reply"),
    )
    assert set(asked) == {FetchLocation(HOSTS[0])}
