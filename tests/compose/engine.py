"""The Docker Engine, as far as the tests need it: find the containers of the stack, look into them, kill them."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

SOCKET = "/run/docker.sock"
ANSWER_S = 60.0
_FRAME = struct.Struct(">BxxxL")
"""In front of each piece of output: which stream it is of, and its length (API of the Engine, ContainerAttach)."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has run in a container."""

    status: int
    output: str


class Engine:
    """The engine behind a socket. RuntimeError when it refuses."""

    def __init__(self, path: str = SOCKET) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=path), base_url="http://engine", timeout=ANSWER_S, trust_env=False
        )

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def containers(self, project: str, service: str) -> list["Container"]:
        """Those of one service, by number, running or not."""
        labels = [f"com.docker.compose.project={project}", f"com.docker.compose.service={service}"]
        filters = json.dumps({"label": [*labels, "com.docker.compose.oneoff=False"]})
        found = self.call("GET", "/containers/json", query={"all": "true", "filters": filters}).json()
        found.sort(key=lambda each: int(each["Labels"]["com.docker.compose.container-number"]))
        return [Container(self, each["Id"]) for each in found]

    def call(
        self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request."""
        answer = self._http.request(method, path, json=body, params=query)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer


class Container:
    """One container."""

    def __init__(self, engine: Engine, number: str) -> None:
        self._engine = engine
        self._at = f"/containers/{number}"

    def look(self) -> dict[str, Any]:
        """What the engine knows of it."""
        known: dict[str, Any] = self._engine.call("GET", f"{self._at}/json").json()
        return known

    @property
    def running(self) -> bool:
        """It runs now."""
        return bool(self.look()["State"]["Running"])

    def address(self, network: str) -> str:
        """Its address on a network of the stack, as Docker has given it."""
        networks = self.look()["NetworkSettings"]["Networks"]
        return next(str(at["IPAddress"]) for name, at in networks.items() if name.endswith(f"_{network}"))

    def kill(self) -> None:
        """End it with SIGKILL; it is not started again by itself."""
        self._engine.call("POST", f"{self._at}/kill")

    def start(self) -> None:
        """Start it; nothing if it runs."""
        self._engine.call("POST", f"{self._at}/start")

    def restart(self) -> None:
        """End it in order, and start it."""
        self._engine.call("POST", f"{self._at}/restart")

    def run(self, *command: str) -> Ran:
        """Run a command in it, as its root."""
        asked = {"AttachStdout": True, "AttachStderr": True, "User": "0", "Cmd": list(command)}
        number = self._engine.call("POST", f"{self._at}/exec", asked).json()["Id"]
        output = self._engine.call("POST", f"/exec/{number}/start", {"Detach": False, "Tty": False}).content
        status = self._engine.call("GET", f"/exec/{number}/json").json()["ExitCode"]
        return Ran(int(status), _joined(output))


def _joined(output: bytes) -> str:
    """Both streams, in the order in which they came."""
    text, at = b"", 0
    while at < len(output):
        _, length = _FRAME.unpack_from(output, at)
        text += output[at + _FRAME.size : at + _FRAME.size + length]
        at += _FRAME.size + length
    return text.decode()
