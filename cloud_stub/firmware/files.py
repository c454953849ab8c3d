"""The three files of an update on disk, and the keys to them. Every error names its file."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from emulator.errors import UsageError
from emulator.wire.firmware_keys import SIGNATURE_MAX_BYTES, load_public_key
from emulator.wire.manifest import MANIFEST_MAX_BYTES, MANIFEST_SUFFIX, SIGNATURE_SUFFIX

KEY_MAX_BYTES = 65_536
UNFINISHED_SUFFIX = ".unfinished"

Filled = TypeVar("Filled")


def manifest_of(image: Path) -> Path:
    """Where the manifest of an image is. UsageError: this is no name of a file."""
    return _beside(image, MANIFEST_SUFFIX)


def signature_of(image: Path) -> Path:
    """Where the signature over that is. UsageError: as above."""
    return _beside(image, SIGNATURE_SUFFIX)


def read_manifest(image: Path) -> bytes:
    """The bytes of an image's manifest; one byte more than it may have if it is longer. UsageError: there is none."""
    return _read(manifest_of(image), MANIFEST_MAX_BYTES + 1)


def read_signature(image: Path) -> bytes:
    """The signature, cut like a manifest; empty if there is none. UsageError: there is something that is none."""
    signature = signature_of(image)
    return _read(signature, SIGNATURE_MAX_BYTES + 1) if signature.exists() else b""


def read_blocks(image: Path, block_bytes: int) -> Iterator[bytes]:
    """An image, block by block. UsageError: it cannot be read."""
    with opened(image) as file, naming(image):
        while block := file.read(block_bytes):
            yield block


def public_key_pem(path: Path) -> str:
    """A P-256 public key in PEM. UsageError: there is none."""
    text = _key(path).decode("ascii", errors="replace")
    try:
        load_public_key(text)
    except UsageError:
        raise UsageError(f"{path}: not the PEM of a P-256 public key") from None
    return text


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key in PEM, without a passphrase. UsageError: there is none."""
    try:
        key = load_pem_private_key(_key(path), password=None)
    except TypeError:
        raise UsageError(f"{path}: the key has a passphrase; decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path}: not the PEM of a private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path}: not a P-256 key")
    return key


def write(path: Path, fill: Callable[[BinaryIO], Filled]) -> Filled:
    """Make or replace a file as a whole: who reads it meanwhile, or after a crash, sees the old one or the new one.

    The result is that of `fill`; if it raises, nothing has changed. UsageError as `require_replaceable`.
    """
    require_replaceable(path)
    unfinished = _beside(path, UNFINISHED_SUFFIX)
    with naming(path):
        try:
            with unfinished.open("wb") as file:
                filled = fill(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return filled


def require_replaceable(path: Path) -> None:
    """UsageError: something else than an ordinary file is there, such as a folder or a device, and must stay."""
    with naming(path):
        if path.exists():
            _require_ordinary(path)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read. UsageError: it cannot be opened, or is none; who waits for a pipe may wait for ever."""
    with naming(path):
        try:
            _require_ordinary(path)
            file = path.open("rb")
        except ValueError:  # a zero byte in it
            raise UsageError(f"{path}: is no name of a file") from None
    with file:
        yield file


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the operating system as UsageErrors that name this file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _require_ordinary(path: Path) -> None:
    """UsageError; OSError: there is nothing, or a folder."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path}: is no ordinary file")


def _beside(path: Path, suffix: str) -> Path:
    if not path.name:
        raise UsageError(f"{path}: is no name of a file")
    return path.with_name(path.name + suffix)


def _key(path: Path) -> bytes:
    """A key may come through a pipe, from a program that decrypts it."""
    with naming(path), path.open("rb") as file:
        return file.read(KEY_MAX_BYTES)


def _read(path: Path, limit_bytes: int) -> bytes:
    with opened(path) as file, naming(path):
        return file.read(limit_bytes)
