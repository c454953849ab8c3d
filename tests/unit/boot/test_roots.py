"""Which firmware keys a charger trusts, through bundles old and new, replayed and lost."""

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from certs.issue import root_authority
from emulator.boot.roots import BUNDLE_KEY, FIRMWARE_KEYS_KEY, Trust
from emulator.env import Spec
from emulator.flash import MemoryFlash
from emulator.profile import load_profile
from emulator.wire.bundle import Bundle, encode_reply, open_reply, sign
from emulator.wire.firmware_keys import FirmwareKeys, encode_keys, public_pem
from tests.firmware_images import KEY_ID, KEYS, NEXT

BUNDLE_SIGNER = ec.derive_private_key(0xB0BB1E, ec.SECP256R1())
BUNDLE_KEY_PEM = public_pem(BUNDLE_SIGNER.public_key())
ROOT = root_authority("Root of the test").pem.decode()
ANNOUNCED = FirmwareKeys((*KEYS.known_pems, public_pem(NEXT.public_key())), number=1)
REVOKED = replace(ANNOUNCED, revoked=frozenset({KEY_ID}), number=2)
SPEC = Spec(
    "ZPR000001",
    bytes(32),
    load_profile(),
    ROOT,
    KEYS.known_pems[0],
    vendor_root_pem=ROOT,
    bundle_key_pem=BUNDLE_KEY_PEM,
)


def reply(version: int, keys: FirmwareKeys | None = None) -> bytes:
    data = ROOT + (encode_keys(keys) if keys else "")
    return encode_reply(version, data, sign(data, BUNDLE_SIGNER))


def fetch(trust: Trust, body: bytes) -> None:
    bundle = open_reply(body, BUNDLE_KEY_PEM)
    assert isinstance(bundle, Bundle)
    trust.take(body, bundle)


def test_without_a_list_the_key_that_is_built_in_is_trusted() -> None:
    flash = MemoryFlash()
    assert Trust(SPEC, flash).firmware_keys == KEYS
    flash.put(BUNDLE_KEY, reply(8))
    assert Trust(SPEC, flash).firmware_keys == KEYS


def test_a_list_is_in_force_at_once_and_after_the_next_power_on() -> None:
    flash = MemoryFlash()
    trust = Trust(SPEC, flash)
    fetch(trust, reply(9, ANNOUNCED))
    assert trust.firmware_keys == Trust(SPEC, flash).firmware_keys == ANNOUNCED
    fetch(trust, reply(10, REVOKED))
    assert trust.firmware_keys == Trust(SPEC, flash).firmware_keys == REVOKED


def test_an_old_bundle_under_a_new_number_does_not_bring_a_revoked_key_back() -> None:
    """The version of a bundle is not signed (zaptec.md section 5); the number of the list is."""
    flash = MemoryFlash()
    trust = Trust(SPEC, flash)
    fetch(trust, reply(9, REVOKED))
    for replayed in (reply(10, ANNOUNCED), reply(11)):
        fetch(trust, replayed)
        assert trust.firmware_keys == Trust(SPEC, flash).firmware_keys == REVOKED


def test_a_list_that_production_stored_outlives_the_bundle_it_came_with() -> None:
    flash = MemoryFlash()
    flash.put(BUNDLE_KEY, reply(8, REVOKED))
    trust = Trust(SPEC, flash)
    fetch(trust, reply(9))
    assert Trust(SPEC, flash).firmware_keys == REVOKED
    flash.delete(BUNDLE_KEY)
    assert Trust(SPEC, flash).firmware_keys == REVOKED


def test_a_list_in_flash_that_is_damaged_is_as_good_as_none() -> None:
    for damaged in (
        b"",
        b"{}",
        b'{"ver":8}',
        reply(8)[:-20],
        reply(8),
        reply(9, REVOKED).replace(b"FIRMWARE", b"FIRMWARS"),
    ):
        flash = MemoryFlash()
        flash.put(FIRMWARE_KEYS_KEY, damaged)
        assert Trust(SPEC, flash).firmware_keys == KEYS


def test_flash_is_written_only_when_a_list_is_new() -> None:
    flash = MemoryFlash()
    flash.put(BUNDLE_KEY, reply(8))
    trust = Trust(SPEC, flash)
    assert flash.get(FIRMWARE_KEYS_KEY) is None
    fetch(trust, first := reply(9, ANNOUNCED))
    fetch(trust, reply(10, ANNOUNCED))
    assert flash.get(FIRMWARE_KEYS_KEY) == first
