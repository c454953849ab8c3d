"""The stack of docker-compose.yml as its tests see it: chargers with their benches, control APIs, the router."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx

from emulator.bench.client import Bench, BenchError
from tests.compose.engine import Container, Engine

BENCH_PORT = 8090
HUB, HTTPS, NTP, DNS_GOOGLE = 10, 11, 12, 13
"""Last octets of the control APIs on the management network, as in docker-compose.yml."""
PAUSE_S = 0.2
STOPPED_BY_TESTS = ("dns-site", "https", "mosquitto")
ANSWER_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class Charger:
    """One charger of the stack, from both sides."""

    container: Container
    bench: Bench
    management: str
    """Its container's address on the management network."""

    @property
    def serial(self) -> str:
        """Its serial number."""
        return str(self.bench.snapshot()["serial"])

    def answers(self) -> bool:
        """Its bench is there: it runs."""
        try:
            self.bench.health()
        except BenchError as error:
            return error.status != 0
        return True

    def stages(self, name: str) -> list[dict[str, Any]]:
        """The attempts at a boot stage since it was switched on, oldest first."""
        return [row for row in self.bench.snapshot()["boot"]["stages"] if row["stage"] == name]


class Stack:
    """All of it. Everything is done over the management network, or by the engine."""

    def __init__(self, engine: Engine, project: str, management: str, token: str) -> None:
        self._engine = engine
        self._project = project
        self._management = management
        self._http = httpx.Client(timeout=ANSWER_S, trust_env=False)
        self._token = token
        self.chargers = [self._charger(each) for each in engine.containers(project, "charger")]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """As docker-compose.test.yml describes it."""
        return cls(Engine(), environ["COMPOSE_PROJECT"], environ["MANAGEMENT"], environ["ZAPTEC_BENCH_TOKEN"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for charger in self.chargers:
            charger.bench.close()
        self._http.close()
        self._engine.close()

    def restart(self, number: int) -> Charger:
        """Start the process of a charger anew: it knows no more than its flash does. Docker may move its container."""
        old = self.chargers[number]
        old.bench.close()
        old.container.restart()
        new = self.chargers[number] = self._charger(old.container)
        eventually(new.answers, within_s=60)
        return new

    def service(self, name: str) -> Container:
        """The one container of a service."""
        (found,) = self._engine.containers(self._project, name)
        return found

    def control(self, at: int, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call the control API of a service."""
        answer = self._http.request(method, f"http://{self._management}.{at}:8080{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        told: dict[str, Any] = answer.json()
        return told

    def reachable(self, at: int) -> bool:
        """The control API of a service answers."""
        try:
            self.control(at, "GET", "/ready")
        except httpx.TransportError:
            return False
        return True

    def observation(self, serial: str, number: int) -> str | None:
        """What the cloud knows, as text; None: nothing yet."""
        seen = self.control(HUB, "GET", f"/devices/{serial}")["observations"].get(str(number))
        return None if seen is None else str(seen["value"])

    def block(self, *services: str) -> None:
        """Have the firewall of the site's router stop them."""
        ran = self.service("router").run("block", *services)
        assert ran.status == 0, ran.output

    def heal(self) -> None:
        """Undo what a test has broken."""
        ran = self.service("router").run("unblock", "all")
        assert ran.status == 0, ran.output
        for name in STOPPED_BY_TESTS:
            self.service(name).start()

    def wait_online(self, *, within_s: float) -> None:
        """Until every charger is."""
        for charger in self.chargers:
            charger.bench.wait_online(within_s=within_s)

    def _charger(self, container: Container) -> Charger:
        address = container.address("management")
        return Charger(container, Bench(f"http://{address}:{BENCH_PORT}", self._token), address)


def eventually(look: Callable[[], T], *, within_s: float) -> T:
    """What `look` gives, once it is true. AssertionError after about `within_s` seconds, with what it gave last."""
    seen = look()
    for _ in range(round(within_s / PAUSE_S)):
        if seen:
            break
        time.sleep(PAUSE_S)
        seen = look()
    assert seen, f"not within {within_s:g} s; the last was {seen!r}"
    return seen
