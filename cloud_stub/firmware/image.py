"""Where the bytes of an image are: in memory once, or in a file of which only what is asked for is read."""

import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cloud_stub.firmware import files


class Image(Protocol):
    """An image. Whoever holds it can read it."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, first: int, count: int) -> bytes:
        """These bytes, as far as there are so many."""


@dataclass(frozen=True, slots=True)
class MemoryImage:
    """An image in memory."""

    data: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, first: int, count: int) -> bytes:
        return self.data[first : first + count]


class FileImage:
    """An image in a file. Who replaces the file does not change what is read; who overwrites it does."""

    def __init__(self, path: Path) -> None:
        """UsageError: it cannot be opened."""
        with files.opened(path) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.size_bytes = os.fstat(self._descriptor).st_size

    def read(self, first: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, first)
