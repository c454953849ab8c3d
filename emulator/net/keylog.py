"""The key log: secrets of TLS sessions in the format that Wireshark reads, written by OpenSSL itself."""

import os
import ssl
from collections.abc import Callable, Hashable
from pathlib import Path

from emulator.errors import UsageError

MODE = 0o600
CONTEXTS_MAX = 64
"""That are shared by new connections; a charger has two or three. Of more, the oldest is made anew when needed."""


def new_file(path: Path, option: str) -> int:
    """Make a file that only its owner may read, in place of one that is there: a descriptor for writing.

    UsageError names `option`: it is a folder, a device or a link, or cannot be made.
    """
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError(f"{option} {path}: not a regular file")
        path.unlink(missing_ok=True)  # or who has the old one open would read the secrets of the new one
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None


class Keylog:
    """One key log. The TLS contexts that write to it are its own, so nothing is logged that does not ask for it."""

    def __init__(self, path: Path) -> None:
        """UsageError: the file cannot be made."""
        os.close(new_file(path, "--keylog"))
        self.path = path
        self._contexts: dict[Hashable, ssl.SSLContext] = {}

    def context(self, key: Hashable, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """The context that was made for `key`, or a new one; its sessions are logged."""
        found = self._contexts.get(key)
        if found is None:
            found = make()
            found.keylog_filename = str(self.path)
            if len(self._contexts) >= CONTEXTS_MAX:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = found
        return found

    def close(self) -> None:
        """Let go of the contexts; sessions that live on are logged no more when they are gone."""
        self._contexts.clear()


class KeylogReader:
    """Reads what has been added to a key log since the last time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._rest = b""

    def read(self) -> bytes:
        """Whole lines that are new; empty when there are none."""
        self._rest += self._file.read() or b""
        whole, newline, self._rest = self._rest.rpartition(b"\n")
        return whole + newline

    def close(self) -> None:
        """Read no more."""
        self._file.close()
