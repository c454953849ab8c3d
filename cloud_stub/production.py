"""The secret that all keys of one cloud follow from (manual row M5), and where it is kept."""

import hmac
import os
import tempfile
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cloud_stub.state.registry import KEY_BYTES
from emulator.errors import UsageError

Fresh = Callable[[int], bytes]
"""Gives so many secret bytes."""


def production_secret(state: Path | None, fresh: Fresh) -> bytes:
    """The secret that device keys are derived from: kept in `state`, mode 600, so that devices keep their keys.

    None: a new one. UsageError: the file cannot be read, or is none of ours.
    """
    if state is None:
        return fresh(KEY_BYTES)
    path = state / "production.key"
    try:
        if not path.exists():
            _write(path, fresh(KEY_BYTES))
        kept = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(kept) != KEY_BYTES:
        raise UsageError(f"{path}: must hold {KEY_BYTES} bytes, holds {len(kept)}")
    return kept


def policy_key(secret: bytes, policy: str) -> str:
    """The primary key of a policy of the hub, base64."""
    return b64encode(hmac.digest(secret, f"policy/{policy}".encode(), "sha256")).decode()


def _write(path: Path, secret: bytes) -> None:
    """Make the file whole or not at all, and never over one that another cloud has just made."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        os.unlink(aside)
