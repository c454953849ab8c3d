"""Programs that use Azure's SDKs, started as a user would start them: nothing tells them that the hub is a stub.

The way to the hub and the roots to trust are in their environment, where the libraries below the SDKs look for them.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.programs import STOP_S, CloudProgram, Program, python
from tests.requirements import AZURE_SDKS

CLIENTS = Path(__file__).parent / "clients"
EVENT_S = 15.0
CALL_S = 30.0
"""Longer than any call: msrest tries again what looks as if it might work the next time."""

Event = dict[str, Any]


class ProxyProgram(Program):
    """``python -m tests.azure.proxy``, ready."""

    def __init__(self, cloud: CloudProgram) -> None:
        super().__init__(*python("tests.azure.proxy", "--control", cloud.ready["control"]))
        self.port = 0
        self.environment: dict[str, str] = {}
        """What a program needs to reach the hub and to trust it."""

    def __enter__(self) -> Self:
        super().__enter__()
        ready = json.loads(self.line())
        self.port, self.environment = ready["port"], ready["environment"]
        return self


class Sdk(Program):
    """A script of tests/azure/clients. It prints its events, each a JSON object with the key ``event``."""

    def __init__(self, script: str, environment: Mapping[str, str], hear: int = subprocess.DEVNULL) -> None:
        super().__init__(str(AZURE_SDKS.python), str(CLIENTS / f"{script}.py"), env=environment, hear=hear)

    def event(self, name: str, within_s: float = EVENT_S) -> Event:
        """Its next event, which has to be that one."""
        event = json.loads(self.line(within_s))
        assert event["event"] == name, event
        return event

    def next(self, name: str, within_s: float = EVENT_S) -> Event:
        """Its next event of that name; others before it are dropped."""
        while (event := json.loads(self.line(within_s)))["event"] != name:
            pass
        return event

    def events(self) -> list[Event]:
        """All that it still has to say, up to an end without an error."""
        ended = self.ended(STOP_S)
        assert ended.status == 0, ended.errors
        return [json.loads(line) for line in ended.output.splitlines()]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a call was refused with. `code` is the header ``iothub-errorcode``, None in the newer of the two shapes."""

    status: int
    code: str | None
    body: Any

    @property
    def error_code(self) -> int:
        """The six digits that the newer shape has inside its message."""
        return int(json.loads(self.body["Message"])["errorCode"])


class BackEnd(Sdk):
    """The script ``service``: calls of azure-iot-hub by name."""

    def __init__(self, connection_string: str, environment: Mapping[str, str]) -> None:
        super().__init__(
            "service", {**environment, "SERVICE_CONNECTION_STRING": connection_string}, hear=subprocess.PIPE
        )

    def call(self, name: str, *arguments: object) -> Any:
        """Make a call; what it returned, models as dictionaries with the names of the SDK."""
        self.say(json.dumps([name, *arguments]))
        return self.event("result", CALL_S)["result"]

    def refused(self, name: str, *arguments: object) -> Refusal:
        """Make a call that the hub has to refuse."""
        self.say(json.dumps([name, *arguments]))
        event = self.event("refused", CALL_S)
        return Refusal(event["status"], event["code"], event["body"])


def model(name: str, **fields: object) -> Event:
    """An argument that is a model of azure-iot-hub."""
    return {"model": name, **fields}
