"""The same download for everybody: what our charger and its peer are each told in a process of their own."""

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cloud_stub.topology import Topology
from emulator.profile import Profile, load_profile
from emulator.remote import Produced, RemoteCloud


@dataclass(frozen=True)
class UpdateJob:
    """One charger at a cloud with this ready line, which offers it an image; `directory` takes what it fetches."""

    ready: Mapping[str, Any] = field(repr=False)
    made: Produced
    directory: Path

    @classmethod
    def read(cls) -> Self:
        """The job that stdin holds."""
        data = json.load(sys.stdin)
        return cls(data["ready"], Produced(data["serial"], b64decode(data["key"])), Path(data["directory"]))

    def as_json(self) -> dict[str, Any]:
        """The inverse of `read`. Holds the charger's key: never print it."""
        key = b64encode(self.made.key).decode()
        return {"ready": self.ready, "serial": self.made.serial, "key": key, "directory": str(self.directory)}

    @cached_property
    def cloud(self) -> RemoteCloud:
        """Where everything is."""
        return RemoteCloud.from_ready(dict(self.ready))

    @cached_property
    def profile(self) -> Profile:
        """The charger's."""
        return load_profile()

    @cached_property
    def addresses(self) -> Mapping[str, str]:
        """Of the hosts that firmware comes from, by name."""
        return Topology(self.cloud.loopback.prefix).https(self.profile.network)

    @property
    def roots_pem(self) -> str:
        """What both verify the servers with."""
        return Path(self.ready["ca"]).read_text(encoding="ascii")
