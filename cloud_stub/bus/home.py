"""The folder where a bus keeps what must outlive a cloud that is killed."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulator.errors import UsageError

FOLDER, MEMO = "bus", "bus.json"
PORT_MAX = 65_535


class BusHome:
    """A folder with the memory of our Mosquitto and the journals, mode 700.

    In a state folder it is found again by the next cloud, with the `port` (0: none yet) and the `session`. Without one,
    or while another cloud has it, the folder is a new one and gone with us.
    """

    def __init__(self, state: Path | None, session: str, folder: str = FOLDER) -> None:
        """`session` is for a new folder. UsageError: the state folder cannot be used."""
        self._lock = None if state is None else _claimed(state / folder)
        if state is None or self._lock is None:
            self.path = Path(tempfile.mkdtemp(prefix="zaptec-mosquitto-"))
        else:
            self.path = (state / folder).resolve()
        memo = _read(self.path / MEMO)
        self.port = memo.get("port", 0)
        self.session = memo.get("session", session)
        self.journals.mkdir(mode=0o700, exist_ok=True)
        self._write()

    @property
    def lasting(self) -> bool:
        """It is there for the next one."""
        return self._lock is not None

    @property
    def journals(self) -> Path:
        """For the journals of all processes."""
        return self.path / "journals"

    def keep_port(self, port: int) -> None:
        """Our Mosquitto listens there."""
        if port != self.port:
            self.port = port
            self._write()

    def leave(self, *, settled: bool) -> None:
        """Give it up. `settled`: the broker has written everything down, and no journal is needed any more."""
        if self._lock is None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        if settled:
            shutil.rmtree(self.journals, ignore_errors=True)
        os.close(self._lock)

    def _write(self) -> None:
        """Whole or not at all."""
        aside = self.path / f"{MEMO}.new"
        aside.write_text(json.dumps({"port": self.port, "session": self.session}), encoding="utf-8")
        aside.replace(self.path / MEMO)


def _claimed(path: Path) -> int | None:
    """A descriptor that holds the folder for as long as this process lives; None: another process has it."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def _read(path: Path) -> Mapping[str, Any]:
    try:
        memo = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    if not isinstance(memo, dict) or not (_is_port(memo.get("port")) and isinstance(memo.get("session"), str)):
        raise UsageError(f"{path}: must hold the port and the session of a bus")
    return memo


def _is_port(value: object) -> bool:
    return type(value) is int and 0 <= value <= PORT_MAX
