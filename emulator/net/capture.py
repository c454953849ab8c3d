"""What is recorded of a run for Wireshark: a capture file, a key log, or both."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.net.api import Host
from emulator.net.capture_file import CaptureFile
from emulator.net.captured import CapturedHost
from emulator.net.keylog import Keylog, KeylogReader, new_file
from emulator.net.namespace import Namespace
from emulator.net.sniffer import Sniffer
from emulator.trace import TraceEvent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NOTED = frozenset({"device.power_on", "device.power_cut", "device.online", "device.offline", "device.shut_down"})
"""Events, beside the stages of the boot, that the packet after them has as its comment."""


@dataclass(frozen=True, slots=True)
class CaptureFiles:
    """The files that a user has asked for."""

    pcap: Path | None = None
    keylog: Path | None = None

    def __post_init__(self) -> None:
        """UsageError: both are the same."""
        if self.pcap is not None and self.keylog is not None and self.pcap.absolute() == self.keylog.absolute():
            raise UsageError(f"--keylog {self.keylog}: that is the file of --pcap")

    def to_json(self) -> list[str | None]:
        """Both paths."""
        return [None if path is None else str(path) for path in (self.pcap, self.keylog)]

    @classmethod
    def from_json(cls, data: list[str | None]) -> "CaptureFiles":
        """The inverse of `to_json`."""
        return cls(*(None if path is None else Path(path) for path in data))

    def make(self) -> None:
        """Make both, empty, to see early that they can be made. UsageError: one cannot."""
        for path, option in ((self.pcap, "--pcap"), (self.keylog, "--keylog")):
            if path is not None:
                os.close(new_file(path, option))

    def of_story(self, name: str) -> "CaptureFiles":
        """Those of one story among several: ``boot.pcapng`` becomes ``boot-NAME.pcapng``."""
        pcap, keylog = (
            path and path.with_name(f"{path.stem}-{name}{path.suffix}") for path in (self.pcap, self.keylog)
        )
        return CaptureFiles(pcap, keylog)


NO_FILES = CaptureFiles()


def on_stderr(line: str) -> None:
    """Say what goes wrong while it goes on: the run is not over yet."""
    print(line, file=sys.stderr, flush=True)


class Capture:
    """The files while they are written, and who writes them. With both, the capture file has the secrets too.

    It is a sink of the trace: what a stage of the boot came to is a comment on the next packet.
    """

    def __init__(self, files: CaptureFiles, told: Callable[[str], None]) -> None:
        """`told` hears what goes wrong later, in words. UsageError: a file cannot be made."""
        self.keylog = None if files.keylog is None else Keylog(files.keylog)
        self._sniffers: list[Sniffer] = []
        self._began_s: float | None = None
        self._utc: Utc | None = None
        self._file: CaptureFile | None = None
        if files.pcap is not None:
            secrets = None if files.keylog is None else KeylogReader(files.keylog)
            try:
                self._file = CaptureFile(files.pcap, secrets=secrets, told=told)
            except UsageError:
                if secrets is not None:
                    secrets.close()
                raise

    def around(self, host: Host, utc: Utc) -> Host:
        """A host that is captured, seen from outside its link; the host itself if no file is wanted. `utc` dates it."""
        if self._file is None:
            return host
        self._utc = utc
        return CapturedHost(host, self._file, partial(nanoseconds_of, utc))

    def sniff(self, interface: str, utc: Utc, *, namespace: Namespace | None = None, name: str = "") -> None:
        """Capture a real interface from now on, if a file is wanted. `name` is what the file calls it.

        `utc` is the time of the machine, which the kernel dates frames by. UsageError as of `Sniffer`.
        """
        if self._file is not None:
            self._utc, now_ns = utc, partial(nanoseconds_of, utc)
            self._sniffers.append(Sniffer(self._file, interface, namespace, name or interface, now_ns))

    def __call__(self, event: TraceEvent) -> None:
        """Note an event."""
        text = comment_on(event)
        if self._file is not None and self._utc is not None and text:
            self._began_s = event.t if self._began_s is None else self._began_s
            self._file.note(nanoseconds_of(self._utc), f"{event.who} after {event.t - self._began_s:.3f} s: {text}")

    def close(self) -> None:
        """End every file. May be called twice."""
        for sniffer in self._sniffers:
            sniffer.close()
        self._sniffers.clear()
        if self._file is not None:
            self._file.close()
        if self.keylog is not None:
            self.keylog.close()


def comment_on(event: TraceEvent) -> str:
    """What the next packet says of an event; empty: nothing."""
    if "outcome" in event.data and event.name.startswith("boot."):
        why = f" ({event.data['why']})" if event.data["why"] else ""
        return f"boot: {event.data['stage']} {event.data['outcome']}{why}"
    return event.name.replace(".", ": ").replace("_", " ") if event.name in NOTED else ""


def nanoseconds_of(utc: Utc) -> int:
    """The time that it is, since 1970."""
    return (utc() - EPOCH) // timedelta(microseconds=1) * 1000


@contextmanager
def capturing(files: CaptureFiles, told: Callable[[str], None] = on_stderr) -> Iterator[Capture | None]:
    """The capture that was asked for, until the end of the block, however that comes; None: none was."""
    if files == NO_FILES:
        yield None
        return
    capture = Capture(files, told)
    try:
        yield capture
    finally:
        capture.close()
