"""The attack table: what somebody does who has the firmware server, the network or an old image in hand.

Whole chargers in the whole simulated cloud. Every row is refused for its own reason and logged as a security event.
"""

from datetime import timedelta

import pytest

from cloud_stub.firmware.package import Release, build_image
from cloud_stub.worlds import SIM_EPOCH
from emulator.wire.update_reason import UpdateReason
from tests.firmware.attack import NEW, OVER_A_RANGE, SMALL, cloud_of, refused
from tests.life import SERIAL, Life, live

FETCHED = "update.progress"


# Who has signed it


def test_unsigned() -> None:
    refused(UpdateReason.UNSIGNED, {"kind": "firmware.unsigned"})


def test_altered_manifest() -> None:
    refused(UpdateReason.BAD_SIGNATURE, {"kind": "firmware.altered_manifest"})


def test_wrong_signer_that_borrows_the_name_of_the_right_one() -> None:
    refused(UpdateReason.BAD_SIGNATURE, {"kind": "firmware.wrong_signer"})


def test_wrong_signer_by_its_own_name() -> None:
    refused(UpdateReason.UNKNOWN_KEY, signer="foreign")


def test_key_that_only_the_ca_vouches_for() -> None:
    refused(UpdateReason.CERTIFICATE_SIGNER, {"kind": "firmware.ca_key"})


def test_key_that_only_the_ca_vouches_for_without_its_certificate() -> None:
    """Who leaves the certificate away is a stranger like any other."""
    refused(UpdateReason.UNKNOWN_KEY, signer="vouched")


def test_revoked_key() -> None:
    async def revoke(life: Life) -> None:
        version = cloud_of(life).publish_bundle("old", ["firmware-next"], ["firmware"])
        await life.world.command(SERIAL, 800, ["Update certificate"])
        await life.until("trust.fetched", version=version)

    refused(UpdateReason.REVOKED_KEY, {"kind": "firmware.revoked_key"}, signer="firmware-next", before=revoke)


# A release that was signed, but is not for this charger now


def test_rollback_behind_the_security_counter() -> None:
    refused(UpdateReason.ROLLBACK, {"kind": "firmware.rollback"})


def test_an_older_version() -> None:
    def older(life: Life) -> None:
        cloud_of(life).firmware.offer("5.3.0.2", size_bytes=SMALL)

    refused(UpdateReason.OLDER, offered=older)


def test_freeze_with_a_release_whose_time_is_over() -> None:
    refused(UpdateReason.EXPIRED, {"kind": "firmware.expired"})


def good_for_an_hour(life: Life) -> None:
    firmware = cloud_of(life).firmware
    release = Release(NEW, firmware.shelf.signer_id("firmware"), not_after=SIM_EPOCH + timedelta(hours=1))
    firmware.offer_package(build_image(release, SMALL))


def test_freeze_by_the_charger_s_own_clock() -> None:
    """The server finds nothing wrong with the release: it is the Rtc that has gone past its end."""

    async def wait(life: Life) -> None:
        life.charger.inject({"kind": "device.rtc_jump", "by_s": 7200.0})

    refused(UpdateReason.EXPIRED, before=wait, offered=good_for_an_hour)


def test_a_release_whose_time_is_not_over_yet_is_installed() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        good_for_an_hour(life)
        assert (await life.world.command(SERIAL, 201))[0] == 200
        await life.until("boot.firmware.passed", version=NEW, confirmed=True)

    live(story)


def test_wrong_hardware() -> None:
    refused(UpdateReason.WRONG_HARDWARE, {"kind": "firmware.wrong_hardware"})


def test_wrong_serial() -> None:
    refused(UpdateReason.WRONG_SERIAL, {"kind": "firmware.wrong_serial"})


def test_a_step_that_must_not_be_skipped() -> None:
    refused(UpdateReason.NOT_FROM_HERE, {"kind": "firmware.not_from_here"})


@pytest.mark.parametrize("component", ["computer", "mainboard", "fpga", "plc"])
def test_mix_and_match_of_components(component: str) -> None:
    refused(UpdateReason.MIXED, {"kind": "firmware.mixed", "component": component})


# The bytes of the image


def test_altered_payload() -> None:
    refused(UpdateReason.WRONG_HASH, {"kind": "firmware.altered"})


def test_endless_data() -> None:
    refused(UpdateReason.ENDLESS, {"kind": "firmware.endless"})


def test_short_data() -> None:
    refused(UpdateReason.SHORT, {"kind": "firmware.short"})


def test_short_image() -> None:
    refused(UpdateReason.SHORT, {"kind": "firmware.truncated"})


def test_image_swapped_between_ranges() -> None:
    trace = refused(UpdateReason.CHANGED, {"kind": "firmware.swapped"}, size_bytes=OVER_A_RANGE)
    assert len(trace.where(FETCHED)) == 1  # the first range was good


def test_image_swapped_between_ranges_under_the_same_tag() -> None:
    trace = refused(UpdateReason.WRONG_HASH, {"kind": "firmware.swapped", "same_tag": True}, size_bytes=OVER_A_RANGE)
    assert len(trace.where(FETCHED)) == 1


def test_slow_loris() -> None:
    refused(UpdateReason.TOO_SLOW, {"kind": "firmware.slow", "bytes_per_s": 10}, within_s=600)


# The way to it


@pytest.mark.parametrize("by", ["location", "redirect"])
def test_redirect_to_a_foreign_host(by: str) -> None:
    refused(UpdateReason.FOREIGN_REDIRECT, {"kind": "firmware.redirect", "by": by})


@pytest.mark.parametrize("by", ["location", "redirect"])
def test_http_instead_of_https(by: str) -> None:
    refused(UpdateReason.NOT_HTTPS, {"kind": "firmware.plain_http", "by": by})


@pytest.mark.parametrize("bad", ["intercepted", "unknown_root", "wrong_host", "expired"])
def test_intercepted_tls(bad: str) -> None:
    everywhere = ({"kind": "firmware.certificate", "bad": bad, "host": host} for host in ("*", "devices"))
    trace = refused(UpdateReason.TLS, *everywhere, within_s=600)
    assert trace.where("update.manifest") == []


def test_intercepted_tls_where_the_images_are() -> None:
    refused(UpdateReason.TLS, {"kind": "firmware.certificate", "bad": "intercepted", "host": "devices"}, within_s=600)
