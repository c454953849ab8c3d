"""The commands that build, sign, show and check images: files in and out, and one line for what is wrong with them."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certs.issue import root_authority, signer_certificate
from cloud_stub.__main__ import app
from cloud_stub.firmware.cms import cms_signature
from emulator.command_line import obey
from emulator.wire.firmware_keys import SIGNATURE_MAX_BYTES, public_pem
from emulator.wire.manifest import BLOCKS_MAX, Component
from tests.firmware_images import KEY_ID, NEXT, NEXT_ID, SIGNER, STRANGER

SIZE = 4 * 65_536 + 1000


@dataclass(frozen=True)
class Desk:
    """A folder with keys, and the commands; `said` gives what they have printed since the last time."""

    path: Path
    said: Callable[[], tuple[str, str]]

    def run(self, *arguments: object) -> int:
        return obey(app, "cloud_stub", ["firmware", *map(str, arguments)])

    def file(self, name: str) -> Path:
        return self.path / name

    def build(self, *arguments: object) -> int:
        return self.run("build", "--out", self.file("image"), *self.release(), *arguments)

    def release(self, **changes: str) -> list[str]:
        options = {"version": "5.4.0.0", "not-after": "2030-01-01T00:00:00Z", "public-key": str(self.file("a.pub.pem"))}
        return [word for name, value in (options | changes).items() for word in (f"--{name}", value)]

    def signed(self, *arguments: object) -> Path:
        """A built and signed image."""
        assert self.build("--stand-in", SIZE, *arguments) == 0
        assert self.run("sign", self.file("image"), "--key", self.file("a.key")) == 0
        self.said()
        return self.file("image")

    def verify(self, *arguments: object) -> int:
        return self.run("verify", self.file("image"), "--key", self.file("a.pub.pem"), *arguments)

    def verified(self, *arguments: object) -> tuple[int, str]:
        """Exit status, and the reason of a refusal."""
        status = self.verify("--json", *arguments)
        out, err = self.said()
        assert err == ""
        return status, json.loads(out).get("reason", "")


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    for name, key in {"a": SIGNER, "b": NEXT, "stranger": STRANGER}.items():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.key").write_bytes(pem)
        (tmp_path / f"{name}.pub.pem").write_text(public_pem(key.public_key()))
    for component in Component:
        (tmp_path / component.value).write_bytes(component.value.encode() * 1000)

    def said() -> tuple[str, str]:
        captured = capsys.readouterr()
        return captured.out, captured.err

    return Desk(tmp_path, said)


def test_an_image_is_built_signed_shown_and_verified(desk: Desk) -> None:
    parts = [f"--component={name.value}={number}.0:{desk.file(name.value)}" for number, name in enumerate(Component, 1)]
    options = ("--security-counter", 7, "--min-version", "5.1", "--hardware", "x", "--hardware", "y")
    assert desk.build(*reversed(parts), *options, "--serial-prefix", "ZPR") == 0
    assert desk.run("sign", desk.file("image"), "--key", desk.file("a.key")) == 0
    assert desk.verify() == 0
    built, signed, verified = desk.said()[0].splitlines()
    assert built.startswith(f"{desk.file('image')}: 5.4.0.0, {3 * 65_536 + 128 + 3000} bytes, for key {KEY_ID}")
    assert signed == f"{desk.file('image')}.sig: 5.4.0.0, signed by key {KEY_ID}"
    assert verified == f"{desk.file('image')}: good: 5.4.0.0, 4 blocks, signed by key {KEY_ID}"
    assert desk.run("inspect", desk.file("image"), "--json") == 0
    shown = json.loads(desk.said()[0])
    assert (shown["security_counter"], shown["min_version"], shown["hardware"]) == (7, "5.1", ["x", "y"])
    assert (shown["serial_prefixes"], shown["not_after"]) == (["ZPR"], "2030-01-01T00:00:00Z")
    assert [part["version"] for part in shown["components"]] == ["1.0", "2.0", "3.0", "4.0"]
    assert (shown["blocks"], shown["signature_bytes"], shown["key_id"]) == (4, 71, KEY_ID)
    assert sorted(path.name for path in desk.path.glob("image*")) == ["image", "image.manifest", "image.sig"]


def test_inspect_shows_in_words_what_nobody_has_checked(desk: Desk) -> None:
    desk.signed("--serial-prefix", "ZPR", "--serial-prefix", "ZAP")
    assert desk.run("inspect", desk.file("image")) == 0
    out, _ = desk.said()
    assert f"{desk.file('image')}: 5.4.0.0, {SIZE} bytes in 5 blocks" in out
    assert "for        zaptec-pro; serials ZPR, ZAP" in out and "signature 71 bytes, not checked" in out
    assert [line.split()[0] for line in out.splitlines()[-4:]] == list(Component)
    desk.file("image.sig").unlink()
    assert desk.run("inspect", desk.file("image")) == 0
    assert "signature none" in desk.said()[0]


def test_the_same_input_gives_the_same_three_files(desk: Desk) -> None:
    def contents() -> list[bytes]:
        desk.signed()
        return [desk.file(f"image{suffix}").read_bytes() for suffix in ("", ".manifest", ".sig")]

    assert contents() == contents()


def test_building_anew_takes_the_old_signature_away(desk: Desk) -> None:
    desk.signed()
    assert desk.build("--stand-in", SIZE + 1) == 0
    desk.said()
    assert desk.verified() == (1, "unsigned")


def change(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_whatever_is_wrong_with_an_image_has_its_reason_and_exit_status_1(desk: Desk) -> None:
    image = desk.signed()
    original = {path: path.read_bytes() for path in desk.path.glob("image*")}
    stories: dict[str, Callable[[], object]] = {
        "wrong_hash": lambda: change(image, 70_000),
        "mixed": lambda: change(image, 2 * 65_536 + len("ZPC1 mainboard ")),
        "short": lambda: image.write_bytes(original[image][:-1]),
        "endless": lambda: image.write_bytes(original[image] + b"\0"),
        "bad_signature": lambda: change(desk.file("image.manifest"), 10),
        "unsigned": lambda: desk.file("image.sig").unlink(),
    }
    assert desk.verified() == (0, "")
    for reason, spoil in stories.items():
        spoil()
        assert desk.verified() == (1, reason)
        for path, data in original.items():
            path.write_bytes(data)
    assert desk.verify() == 0


def test_only_keys_that_may_sign_count(desk: Desk) -> None:
    image = desk.signed()
    assert desk.verified("--key", desk.file("b.pub.pem")) == (0, "")
    assert desk.verified("--revoked", KEY_ID) == (1, "revoked_key")
    assert desk.run("verify", image, "--key", desk.file("b.pub.pem")) == 1
    assert desk.said()[0] == f"{image}: refused: unknown_key: nobody told this charger of key {KEY_ID}\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--at", "2029-12-31T23:59:59Z", "--serial", "ZPR000001", "--hardware", "zaptec-pro"), ""),
        (("--running", "5.3.0.3", "--counter", 2), ""),
        (("--at", "2030-01-01T00:00:01Z"), "expired"),
        (("--serial", "ZGB000001"), "wrong_serial"),
        (("--hardware", "zaptec-go"), "wrong_hardware"),
        (("--running", "5.4.0.1"), "older"),
        (("--running", "5.0"), "not_from_here"),
        (("--counter", 3), "rollback"),
    ],
)
def test_it_is_judged_for_one_charger_at_one_time(desk: Desk, options: tuple[object, ...], reason: str) -> None:
    desk.signed("--serial-prefix", "ZPR", "--min-version", "5.1", "--security-counter", 2)
    assert desk.verified(*options) == (1 if reason else 0, reason)


def refused(desk: Desk, status: int) -> str:
    """The one line of a command that could not do what it was told to; nothing else was printed."""
    out, err = desk.said()
    assert (status, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": "new"}, "version 'new'"),
        ({"not-after": "tomorrow"}, "--not-after tomorrow"),
        ({"not-after": "2030-01-01T00:00:00+01:00"}, "--not-after"),
        ({"public-key": "a.key"}, "a.key: not the PEM of a P-256 public key"),
        ({"public-key": "computer"}, "computer: not the PEM of a P-256 public key"),
        ({"public-key": "nothing"}, "nothing: No such file"),
        ({"security-counter": "-1"}, "--security-counter"),
        ({"security-counter": "4294967296"}, "--security-counter"),
        ({"version": ""}, "--version: version ''"),
        ({"min-version": "x"}, "--min-version: version 'x'"),
        ({"hardware": "a b"}, "hardware"),
        ({"serial-prefix": "zpr"}, "serial_prefixes"),
        ({"stand-in": "100"}, "100 bytes have no room"),
        ({"stand-in": "0"}, "0 bytes have no room"),
        ({"stand-in": str(BLOCKS_MAX * 65_536 + 1)}, f"more than {BLOCKS_MAX} blocks"),
        ({"stand-in": "9" * 30}, f"more than {BLOCKS_MAX} blocks"),
        ({"stand-in": "much"}, "--stand-in"),
    ],
)
def test_what_cannot_be_built_leaves_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], named: str
) -> None:
    monkeypatch.chdir(desk.path)
    options = desk.release(**{"stand-in": str(SIZE), "security-counter": "1", **changes})
    assert named in refused(desk, desk.run("build", "--out", desk.file("image"), *options))
    assert list(desk.path.glob("image*")) == []


@pytest.mark.parametrize(
    ("components", "named"),
    [
        ([], "computer, mainboard, fpga, plc missing"),
        (["computer=1:computer"], "mainboard, fpga, plc missing"),
        (["computer=1:computer", "computer=1:computer"], "--component computer=1:computer"),
        (["modem=1:computer"], "--component modem=1:computer"),
        (["computer"], "must be NAME=VERSION:FILE"),
        (["computer=1"], "must be NAME=VERSION:FILE"),
        (["computer=:computer"], "must be NAME=VERSION:FILE"),
        (["computer=1:nowhere"], "nowhere: No such file"),
        (["computer=1:."], ".: Is a directory"),
        ([f"{name}=1 0:{name}" for name in Component], "version '1 0'"),
        (["--stand-in=9"], "must be NAME"),
    ],
)
def test_components_have_to_be_there_each_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, components: list[str], named: str
) -> None:
    monkeypatch.chdir(desk.path)
    options = [f"--component={component}" for component in components]
    assert named in refused(desk, desk.build(*options))
    assert list(desk.path.glob("image*")) == []


def test_stand_ins_go_without_components(desk: Desk) -> None:
    assert "--stand-in" in refused(desk, desk.build("--stand-in", SIZE, "--component", "fpga=1:x"))


def test_where_nothing_can_be_written_the_file_is_named(desk: Desk) -> None:
    status = desk.run("build", "--out", desk.file("no/image"), *desk.release(), "--stand-in", SIZE)
    assert f"{desk.file('no/image')}: No such file or directory" in refused(desk, status)
    for path in ("/", "."):
        for command in (("build", "--out", path, *desk.release(), "--stand-in", SIZE), ("inspect", path)):
            assert f"{path}: is no name of a file" in refused(desk, desk.run(*command))
    assert f"{desk.path}: Is a directory" in refused(
        desk, desk.run("build", "--out", desk.path, *desk.release(), "--stand-in", SIZE)
    )
    assert not desk.path.with_name(desk.path.name + ".unfinished").exists()


@pytest.mark.parametrize("suffix", ["", ".manifest", ".sig"])
def test_what_is_no_ordinary_file_is_not_replaced(desk: Desk, suffix: str) -> None:
    """Who is root could make a device a file, and no command may wait for a pipe that nobody writes to."""
    taken = desk.file(f"image{suffix}")
    for take, said in ((os.mkfifo, "is no ordinary file"), (os.mkdir, "Is a directory")):
        take(taken)
        assert f"{taken}: {said}" in refused(desk, desk.build("--stand-in", SIZE))
        assert list(desk.path.glob("image*")) == [taken] and not taken.is_file()
        (taken.rmdir if taken.is_dir() else taken.unlink)()


@pytest.mark.parametrize("suffix", ["", ".manifest", ".sig"])
def test_what_is_no_ordinary_file_is_not_read(desk: Desk, suffix: str) -> None:
    image = desk.signed()
    desk.file(f"image{suffix}").unlink()
    os.mkfifo(desk.file(f"image{suffix}"))
    assert f"image{suffix}: is no ordinary file" in refused(desk, desk.verify())
    if suffix:
        assert f"image{suffix}: is no ordinary file" in refused(desk, desk.run("inspect", image))
        assert f"image{suffix}: is no ordinary file" in refused(
            desk, desk.run("sign", image, "--key", desk.file("a.key"))
        )


def test_a_signature_with_a_certificate_is_refused_as_that_and_shown_as_what_it_is(desk: Desk) -> None:
    image, manifest = desk.signed(), desk.file("image.manifest").read_bytes()
    certificate = signer_certificate("Signer", SIGNER.public_key(), root_authority("Any CA"))
    signature = cms_signature(manifest, SIGNER, certificate)
    desk.file("image.sig").write_bytes(signature)
    assert desk.verified() == (1, "certificate_signer")
    assert desk.run("inspect", image) == 0
    assert f"signature {len(signature)} bytes of CMS, which no charger takes, not checked" in desk.said()[0]


def test_a_signature_that_is_too_long_is_bad_and_not_read_to_its_end(desk: Desk) -> None:
    image = desk.signed()
    desk.file("image.sig").write_bytes(bytes(SIGNATURE_MAX_BYTES + 1000))
    assert desk.verified() == (1, "bad_signature")
    assert desk.run("inspect", image) == 0
    assert f"signature more than {SIGNATURE_MAX_BYTES} bytes, not checked" in desk.said()[0]


def test_a_manifest_of_nonsense_is_refused_without_a_word_of_what_it_names(desk: Desk) -> None:
    image = desk.signed()
    desk.file("image.manifest").write_bytes(b"\xff" * 99)
    assert desk.verify() == 1
    assert desk.said()[0] == f"{image}: refused: bad_signature: not made by a key that may sign\n"


def other_keys() -> dict[str, bytes]:
    curve = ec.derive_private_key(5, ec.SECP384R1())
    return {
        "p384": curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "locked": SIGNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "garbage": b"\xff" * 100,
        "public": SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("b.key", f"b.key: is key {NEXT_ID}, and the manifest of"),
        ("p384", "p384: not a P-256 key"),
        ("locked", "locked: the key has a passphrase; decrypt it first"),
        ("garbage", "garbage: not the PEM of a private key"),
        ("public", "public: not the PEM of a private key"),
        ("nothing", "nothing: No such file"),
    ],
)
def test_a_key_that_cannot_sign_is_named_and_the_old_signature_stays(desk: Desk, key: str, named: str) -> None:
    for name, pem in other_keys().items():
        desk.file(name).write_bytes(pem)
    image = desk.signed()
    assert named in refused(desk, desk.run("sign", image, "--key", desk.file(key)))
    assert desk.verify() == 0


def test_a_manifest_that_is_none_is_not_signed_or_shown(desk: Desk) -> None:
    image = desk.signed()
    for data in (b"{}", b"\xff", b"x" * 300_000):
        desk.file("image.manifest").write_bytes(data)
        for command in (("sign", image, "--key", desk.file("a.key")), ("inspect", image)):
            assert f"{desk.file('image.manifest')}: manifest" in refused(desk, desk.run(*command))
    desk.file("image.manifest").unlink()
    for command in (("inspect", image), ("verify", image, "--key", desk.file("a.pub.pem"))):
        assert f"{desk.file('image.manifest')}: No such file" in refused(desk, desk.run(*command))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--revoked", "me"), "--revoked me"),
        (("--at", "now"), "--at now"),
        (("--running", "new"), "--running: version 'new'"),
        (("--running", ""), "--running: version ''"),
        (("--counter", "x"), "--counter"),
        (("--counter", "-1"), "--counter"),
        (("--counter", "9" * 30), "--counter"),
        (("--serial", ""), "--serial: is empty"),
        (("--hardware", ""), "--hardware: is empty"),
        (("--key", "nothing"), "nothing: No such file"),
    ],
)
def test_bad_options_of_verify_are_named(desk: Desk, options: tuple[str, ...], named: str) -> None:
    desk.signed()
    assert named in refused(desk, desk.verify(*options))


def test_a_missing_image_is_named(desk: Desk) -> None:
    image = desk.signed()
    image.unlink()
    assert f"{image}: No such file" in refused(desk, desk.verify())


def test_no_private_key_is_ever_printed(desk: Desk) -> None:
    assert desk.build("--stand-in", SIZE, "--json") == 0
    assert desk.run("sign", desk.file("image"), "--key", desk.file("a.key"), "--json") == 0
    out, err = desk.said()
    body = desk.file("a.key").read_text().splitlines()[1]
    assert body not in out + err
