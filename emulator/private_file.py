"""Files with a secret in them, which nobody but their owner may touch."""

import os
import stat
from pathlib import Path

from emulator.errors import UsageError

OTHERS = 0o077


def read_private(file: Path, *, where: str, max_bytes: int = 4096) -> bytes:
    """What is in `file`. UsageError starts with `where`: it cannot be read, is no file, too long, or open to others."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    try:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"{where}: is not a file")
        if about.st_mode & OTHERS:
            mode = stat.S_IMODE(about.st_mode)
            raise UsageError(f"{where}: others may touch it (mode {mode:o}); it must have mode 600")
        if about.st_size > max_bytes:
            raise UsageError(f"{where}: over {max_bytes} bytes")
        return os.read(opened, max_bytes)
    finally:
        os.close(opened)
