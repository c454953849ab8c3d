"""``python -m cloud_stub firmware``: build, sign, inspect and verify firmware images."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from cloud_stub.firmware import files
from cloud_stub.firmware.package import HARDWARE, Part, Release, pack, stand_ins
from emulator.command_line import AS_EXPECTED, NOT_AS_EXPECTED
from emulator.errors import UsageError
from emulator.wire.firmware_keys import SIGNATURE_MAX_BYTES, FirmwareKeys, key_id, load_public_key, sign, verify
from emulator.wire.manifest import (
    COUNT_MAX,
    KEY_ID,
    Component,
    Manifest,
    decode_manifest,
    encode_manifest,
    parse_version,
)
from emulator.wire.manifest_fit import Running, check_fits
from emulator.wire.payload import check_image
from emulator.wire.signed_data import is_signed_data
from emulator.wire.update_reason import FirmwareError

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Build, sign, inspect and verify firmware images.")

ImageFile = Annotated[Path, typer.Argument(metavar="IMAGE", help="Its manifest and signature lie beside it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Report as one JSON object.")]


@app.command("build")
def build_files(
    out: Annotated[Path, typer.Option(metavar="IMAGE", help="The image; OUT.manifest goes beside it.")],
    version: Annotated[str, typer.Option(help="Version of the whole.")],
    public_key: Annotated[Path, typer.Option(metavar="PEM", help="Public half of the key that is going to sign.")],
    not_after: Annotated[str, typer.Option(metavar="UTC", help="When it expires, as 2030-01-31T00:00:00Z.")],
    component: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VERSION:FILE", help="computer, mainboard, fpga and plc, each once."),
    ] = None,
    stand_in: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Make components up instead, for an image of this size.")
    ] = None,
    security_counter: Annotated[
        int, typer.Option(min=0, max=COUNT_MAX, help="Never lower than that of any image before.")
    ] = 1,
    min_version: Annotated[str, typer.Option(help="The lowest version that it may follow.")] = "0",
    hardware: Annotated[list[str] | None, typer.Option(help=f"What it runs on; {HARDWARE} if none is named.")] = None,
    serial_prefix: Annotated[list[str] | None, typer.Option(help="Whom it is for; all if none is named.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put four components into an image and describe it in a manifest."""
    release = Release(
        version=_version("--version", version),
        key_id=key_id(load_public_key(files.public_key_pem(public_key))),
        security_counter=security_counter,
        min_version=_version("--min-version", min_version),
        hardware=tuple(hardware or (HARDWARE,)),
        serial_prefixes=tuple(serial_prefix or ()),
        not_after=_utc("--not-after", not_after),
    )
    try:
        manifest = _build(out, release, component or (), stand_in)
    except FirmwareError as error:
        raise UsageError(f"{out}: {error.detail}") from None
    _say(
        as_json,
        _summary(out, manifest),
        f"{out}: {version}, {manifest.size_bytes} bytes, for key {manifest.key_id} to sign",
    )


@app.command("sign")
def sign_files(
    image: ImageFile,
    key: Annotated[Path, typer.Option(metavar="PEM", help="Private key, P-256, without a passphrase.")],
    as_json: AsJson = False,
) -> None:
    """Sign the manifest of an image, with the key that it names. The image itself need not be there."""
    data, signer = files.read_manifest(image), files.private_key(key)
    manifest, name = _decoded(image, data), key_id(signer.public_key())
    if manifest.key_id != name:
        raise UsageError(f"{key}: is key {name}, and the manifest of {image} names {manifest.key_id}")
    signature = sign(data, signer)
    files.write(files.signature_of(image), lambda file: file.write(signature))
    _say(as_json, _summary(image, manifest), f"{files.signature_of(image)}: {manifest.version}, signed by key {name}")


@app.command("inspect")
def inspect_files(image: ImageFile, as_json: AsJson = False) -> None:
    """Show what a manifest says. Nothing is checked: not the signature, and not the image."""
    manifest, signature = _decoded(image, files.read_manifest(image)), files.read_signature(image)
    _say(
        as_json, _summary(image, manifest) | {"signature_bytes": len(signature)}, _in_words(image, manifest, signature)
    )


@app.command("verify")
def verify_files(
    image: ImageFile,
    key: Annotated[list[Path], typer.Option(metavar="PEM", help="Public key that may sign; may be repeated.")],
    revoked: Annotated[list[str] | None, typer.Option(metavar="KEY-ID", help="Key that may not any more.")] = None,
    at: Annotated[str | None, typer.Option(metavar="UTC", help="Refuse what has expired at this time.")] = None,
    serial: Annotated[str | None, typer.Option(help="Refuse what is not for this charger.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Refuse what is not for this hardware.")] = None,
    running: Annotated[str | None, typer.Option(metavar="VERSION", help="Refuse what may not follow this.")] = None,
    counter: Annotated[
        int | None, typer.Option(min=0, max=COUNT_MAX, help="Refuse a lower security counter than this.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check signature, manifest and every byte of an image as a charger does, and whether it fits one.

    Exit status 1: it is refused, for the reason that is printed.
    """
    if wrong := [name for name in revoked or () if not KEY_ID.fullmatch(name)]:
        raise UsageError(f"--revoked {wrong[0]}: must be a key id, as inspect shows it")
    keys = FirmwareKeys(tuple(map(files.public_key_pem, key)), frozenset(revoked or ()))
    fits: dict[str, Any] = {
        "version": None if running is None else _version("--running", running),
        "security_counter": counter,
        "hardware": _some("--hardware", hardware),
        "serial": _some("--serial", serial),
    }
    given = {name: value for name, value in fits.items() if value is not None}
    utc, data, signature = _utc("--at", at) if at else None, files.read_manifest(image), files.read_signature(image)
    try:
        manifest = verify(data, signature, keys)
        check_fits(manifest, replace(_suited(manifest), **given), utc or manifest.not_after)
        check_image(manifest, files.read_blocks(image, manifest.block_bytes))
    except FirmwareError as error:
        refusal = {"image": str(image), "ok": False, "reason": error.reason.value, "detail": error.detail}
        _say(as_json, refusal, f"{image}: refused: {error}")
        return NOT_AS_EXPECTED
    good = f"{image}: good: {manifest.version}, {len(manifest.blocks)} blocks, signed by key {manifest.key_id}"
    _say(as_json, _summary(image, manifest) | {"ok": True}, good)
    return AS_EXPECTED


def _build(out: Path, release: Release, components: Sequence[str], size_bytes: int | None) -> Manifest:
    """Write image and manifest; a signature that lies there is of another image."""

    def fill(file: BinaryIO) -> tuple[Manifest, bytes]:
        manifest = pack(release, parts, file.write)
        return manifest, encode_manifest(manifest)

    if size_bytes is not None and components:
        raise UsageError("--stand-in: goes without --component")
    for path in (out, files.manifest_of(out), files.signature_of(out)):
        files.require_replaceable(path)
    with ExitStack() as stack:
        parts = _parts(components, stack) if size_bytes is None else stand_ins(release.version, size_bytes)
        manifest, data = files.write(out, fill)
    files.write(files.manifest_of(out), lambda file: file.write(data))
    with files.naming(files.signature_of(out)):
        files.signature_of(out).unlink(missing_ok=True)
    return manifest


def _parts(components: Sequence[str], stack: ExitStack) -> list[Part]:
    """The components in the order of the image, their files open until `stack` closes."""
    named = dict[str, Part]()
    for given in components:
        name, _, rest = given.partition("=")
        version, _, path = rest.partition(":")
        if name not in set(Component) or name in named or not version or not path:
            raise UsageError(f"--component {given}: must be NAME=VERSION:FILE, each of {', '.join(Component)} once")
        file = stack.enter_context(files.opened(Path(path)))
        with files.naming(Path(path)):
            size_bytes = file.seek(0, 2)
            file.seek(0)
        named[name] = Part(Component(name), version, file, size_bytes)
    if missing := [name for name in Component if name not in named]:
        raise UsageError(f"--component: {', '.join(missing)} missing; or give --stand-in BYTES")
    return [named[name] for name in Component]


def _suited(manifest: Manifest) -> Running:
    """A charger that has nothing against this image but what is wrong with the image itself."""
    serial = manifest.serial_prefixes[0] if manifest.serial_prefixes else ""
    return Running(
        version=manifest.version,
        security_counter=manifest.security_counter,
        hardware=manifest.hardware[0],
        serial=serial,
        slot_bytes=manifest.size_bytes,
        block_bytes=manifest.block_bytes,
    )


def _decoded(image: Path, data: bytes) -> Manifest:
    try:
        return decode_manifest(data)
    except FirmwareError as error:
        raise UsageError(f"{files.manifest_of(image)}: {error.detail}") from None


def _some(option: str, text: str | None) -> str | None:
    if text == "":
        raise UsageError(f"{option}: is empty")
    return text


def _version(option: str, text: str) -> str:
    try:
        parse_version(text)
    except FirmwareError as error:
        raise UsageError(f"{option}: {error.detail}") from None
    return text


def _utc(option: str, text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} {text}: must be a time in UTC, as 2030-01-31T00:00:00Z") from None


def _summary(image: Path, manifest: Manifest) -> dict[str, Any]:
    """A manifest without the hashes of its blocks, JSON-able."""
    fields: dict[str, Any] = json.loads(encode_manifest(manifest))
    return {"image": str(image), **fields, "blocks": len(manifest.blocks)}


def _in_words(image: Path, manifest: Manifest, signature: bytes) -> str:
    form = " of CMS, which no charger takes" if is_signed_data(signature) else ""
    size = f"more than {SIGNATURE_MAX_BYTES}" if len(signature) > SIGNATURE_MAX_BYTES else len(signature)
    signed = f"{size} bytes{form}, not checked" if signature else "none"
    lines = [
        f"{image}: {manifest.version}, {manifest.size_bytes} bytes in {len(manifest.blocks)} blocks",
        f"  for        {', '.join(manifest.hardware)}; serials {', '.join(manifest.serial_prefixes) or 'of all'}",
        f"  follows    {manifest.min_version} or later; security counter {manifest.security_counter}",
        f"  expires    {manifest.not_after:%Y-%m-%dT%H:%M:%SZ}",
        f"  key        {manifest.key_id}; signature {signed}",
        f"  sha256     {manifest.sha256.hex()}",
    ]
    for part in manifest.components:
        where = f"{part.size_bytes} bytes from {part.offset}"
        lines.append(f"  {part.component.value:10} {part.version}, {where}, {part.sha256.hex()}")
    return "\n".join(lines)


def _say(as_json: bool, fields: dict[str, Any], words: str) -> None:
    print(json.dumps(fields) if as_json else words)
