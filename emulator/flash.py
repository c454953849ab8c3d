"""Storage that survives a power cut: small values by key, and blobs (firmware slots) written piece by piece.

A `put` happens whole or not at all; a blob write may be cut anywhere, so whoever writes blobs checks them before use.
How much goes in is limited by the owners of the keys, not here.
"""

import os
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from emulator.errors import UsageError


class Flash(Protocol):
    """What the charger sees of its storage. Keys and blob names are any text."""

    def get(self, key: str) -> bytes | None:
        """The value last put, or None."""

    def put(self, key: str, value: bytes) -> None:
        """Store a value; after a power cut the key holds the old value or the new one, never a mixture."""

    def delete(self, key: str) -> None:
        """Forget a key. Nothing happens if there is none."""

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that start with `prefix`, sorted."""

    def blob_write(self, name: str, offset: int, data: bytes) -> None:
        """Write into a blob. It grows as needed; a gap before `offset` reads as zeros."""

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; less at the end, nothing if there is no such blob."""

    def blob_size(self, name: str) -> int:
        """Length in bytes; 0 if there is no such blob."""

    def blob_erase(self, name: str) -> None:
        """Forget a blob. Nothing happens if there is none."""


class MemoryFlash:
    """Flash in memory. It outlives the charger's reboots as long as somebody holds it."""

    __slots__ = ("_blobs", "_values")

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._blobs: dict[str, bytearray] = {}

    def get(self, key: str) -> bytes | None:
        return self._values.get(key)

    def put(self, key: str, value: bytes) -> None:
        self._values[key] = bytes(value)

    def delete(self, key: str) -> None:
        self._values.pop(key, None)

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._values if key.startswith(prefix))

    def blob_write(self, name: str, offset: int, data: bytes) -> None:
        blob = self._blobs.setdefault(name, bytearray())
        if offset > len(blob):
            blob.extend(bytes(offset - len(blob)))
        blob[offset : offset + len(data)] = data

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._blobs.get(name, b"")[offset : offset + size])

    def blob_size(self, name: str) -> int:
        return len(self._blobs.get(name, b""))

    def blob_erase(self, name: str) -> None:
        self._blobs.pop(name, None)


_VALUE, _BLOB, _UNFINISHED = ".value", ".blob", ".new"


class FileFlash:
    """Flash in a directory, a file per key (mode 600), names percent-encoded.

    A put is a rename, so it survives the death of this process; it is not forced to disk, so a power cut of the
    *machine* may still lose the last ones.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{directory}: {error.strerror}") from None
        if not os.access(directory, os.W_OK | os.X_OK):
            raise UsageError(f"{directory}: cannot be written")

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key, _VALUE).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, value: bytes) -> None:
        unfinished = self._path(key, _UNFINISHED)
        with open(unfinished, "wb", opener=_owner_only) as file:
            file.write(value)
        unfinished.replace(self._path(key, _VALUE))

    def delete(self, key: str) -> None:
        self._path(key, _VALUE).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> list[str]:
        names = (unquote(path.name.removesuffix(_VALUE)) for path in self._directory.glob(f"*{_VALUE}"))
        return sorted(name for name in names if name.startswith(prefix))

    def blob_write(self, name: str, offset: int, data: bytes) -> None:
        descriptor = _owner_only(self._path(name, _BLOB), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(offset)
            file.write(data)

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        try:
            with self._path(name, _BLOB).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def blob_size(self, name: str) -> int:
        try:
            return self._path(name, _BLOB).stat().st_size
        except FileNotFoundError:
            return 0

    def blob_erase(self, name: str) -> None:
        self._path(name, _BLOB).unlink(missing_ok=True)

    def _path(self, name: str, suffix: str) -> Path:
        return self._directory / f"{quote(name, safe='')}{suffix}"


def _owner_only(path: str | Path, flags: int) -> int:
    return os.open(path, flags, 0o600)
