"""A client of the bench, for tests: what a person at the charger does, and what can be seen of it from outside.

    with Bench("http://127.0.0.1:8090", token) as bench:
        bench.wait_online(within_s=60)
        bench.plug_in(energy_wanted_kwh=5)
        bench.wait_for("device.charging", state="charging", within_s=30)

Blocking, as tests are; needs nothing of the emulator but its errors.
"""

import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from emulator.errors import EmulatorError

ANSWER_S = 10.0
"""How long the bench may take to answer, beside what it was asked to wait."""
WAIT_MAX_S = 30.0
"""The longest that one request waits for news; `wait_for` asks again."""
PAUSE_S = 0.2
"""Between two attempts to reach a bench that is not there yet."""


class BenchError(EmulatorError):
    """The bench refused, in its own words; `status` is that of HTTP, 0 where there was no answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Bench:
    """One charger's bench at `url`. `token` is the text of the token file; None on loopback without one."""

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token.strip()}"} if token is not None else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False)
        self._began: str | None = None
        self._after = 0

    @classmethod
    def from_file(cls, url: str, token_file: str | Path) -> Self:
        """With the token in a file."""
        return cls(url, Path(token_file).read_text(encoding="ascii"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    # Acts

    def plug_in(self, **car: float) -> None:
        """Connect a car; the keys are the fields of `emulator.device.car.Car`. BenchError: there is one."""
        self._act("plug-in", car)

    def unplug(self) -> None:
        """Take the car away. BenchError: there is none."""
        self._act("unplug")

    def show_card(self, uid: str) -> str:
        """Hold an RFID card with this UID (hex) to the charger; the tag that it reads."""
        return str(self._act("card", {"uid": uid})["tag"])

    def power_off(self) -> None:
        """Pull the power. BenchError: it is off already."""
        self._act("power-off")

    def power_on(self) -> None:
        """Give the power back. BenchError: it was not pulled here."""
        self._act("power-on")

    def reboot(self, off_s: float = 1.0) -> None:
        """Take the power away for so many seconds."""
        self._act("reboot", {"off_s": off_s})

    def set_local(self, **changes: Any) -> list[str]:
        """Set what the installer sets, keys of `emulator.local.Local`; the keys that are others now."""
        return list(self._act("local", changes)["changed"])

    def inject(self, kind: str, **fault: Any) -> int:
        """Break the charger, its link or its site; the number of the fault, for `heal`."""
        return int(self._act("faults", {"kind": kind, **fault})["id"])

    def heal(self, number: int) -> None:
        """Take a fault back. BenchError: it is over."""
        self._call("DELETE", f"/faults/{number}")

    def heal_all(self) -> None:
        """Take every fault back that was injected here."""
        self._call("DELETE", "/faults")

    # Looks

    @property
    def online(self) -> bool:
        """The charger has a session at the hub now."""
        return bool(self.health()["online"])

    def health(self) -> dict[str, Any]:
        """Whether it is online, and why not."""
        return self._call("GET", "/health", expected=frozenset({200, 503}))

    def snapshot(self) -> dict[str, Any]:
        """Everything that can be seen of the charger, as the README lists it."""
        return self._call("GET", "/snapshot")

    def timeline(self, after: int = 0, *, wait_s: float = 0.0) -> dict[str, Any]:
        """Events after the one with this number; if there are none yet, the first that come within `wait_s`.

        The answer has `began` (of the runner), `events`, `after` (to go on with) and `dropped` (how many are gone).
        """
        query: Mapping[str, str | float] = {"after": after, "wait_s": wait_s}
        return self._call("GET", "/timeline", query=query, timeout_s=wait_s + ANSWER_S)

    # Waiting

    def wait_for(self, name: str, *, within_s: float, **data: Any) -> dict[str, Any]:
        """The next event whose name matches the pattern and that carries `data`.

        Next: after the last act of this client, or after the event that was waited for last; the first time from the
        start of the runner on. BenchError: it did not come in time, or events between are gone.
        """
        deadline_s, seen = time.monotonic() + within_s, "nothing at all"
        while True:
            left_s = deadline_s - time.monotonic()
            page = self._news(max(0.0, min(left_s, WAIT_MAX_S)))
            for event in page["events"]:
                self._after, seen = event["n"], event["name"]
                if fnmatchcase(event["name"], name) and data.items() <= event["data"].items():
                    return dict(event)
            if left_s <= 0:
                raise BenchError(f"{name} {data or ''}: did not happen within {within_s:g} s; the last was {seen}")

    def wait_online(self, *, within_s: float) -> dict[str, Any]:
        """Wait until the charger is online, if it is not; also for a bench that is not there yet. The last `health`."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                health = self.health()
            except BenchError as error:
                if error.status != 0:
                    raise
                health = {"online": False, "why": str(error)}
            if health["online"]:
                return health
            if time.monotonic() >= deadline_s:
                raise BenchError(f"not online within {within_s:g} s: {health['why']}")
            time.sleep(PAUSE_S)

    def _news(self, wait_s: float) -> dict[str, Any]:
        """The next page of the timeline; of a runner that was started anew, from its start on."""
        page = self.timeline(self._after, wait_s=wait_s)
        if self._began not in (None, page["began"]):
            self._began, self._after = page["began"], 0
            return self._news(wait_s)
        self._began = page["began"]
        if page["dropped"]:
            raise BenchError(f"{page['dropped']} events of the timeline are gone; ask more often")
        return page

    def _act(self, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Do something; what is waited for from now on comes after it."""
        answer = self._call("POST", f"/{name}", body or {})
        self._began, self._after = answer["began"], answer["after"]
        return answer

    def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | float] | None = None,
        expected: frozenset[int] = frozenset({200, 201}),
        timeout_s: float = ANSWER_S,
    ) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body, params=query, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise BenchError(f"{method} {path}: the bench does not answer ({type(error).__name__})") from None
        data = _object(answer)
        if answer.status_code not in expected:
            why = data.get("error", f"this is no bench (HTTP {answer.status_code})")
            raise BenchError(f"{method} {path}: {why}", answer.status_code)
        return data


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object that was answered; empty when it was none."""
    try:
        data = answer.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
