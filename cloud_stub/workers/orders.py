"""What the main process may ask of an endpoint, its own or a worker's: faults, histories, counters."""

from collections.abc import Callable, Mapping
from typing import Any

from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.workers.job import Message
from emulator.faults import Injected, fault_from


class Orders:
    """Obeys the commands of `cloud_stub.workers.job`. `struck` gets the number of a fault each time it strikes."""

    def __init__(self, endpoint: Endpoint, label: str, struck: Callable[[int], None]) -> None:
        self._endpoint = endpoint
        self._label = label
        self._tell_struck = struck
        self._faults: dict[int, Injected] = {}
        self._numbers: dict[int, int] = {}  # of faults: the endpoint's -> the main process's
        endpoint.faults.struck = self._struck

    def obey(self, message: Message) -> Message | None:
        """One command; the answer if it asks for something."""
        if "inject" in message:
            self._inject(int(message["inject"]), message["fault"])
        elif "heal" in message:
            injected = self._faults.pop(int(message["heal"]), None)
            if injected is not None:
                injected()
        elif "ask" in message:
            return {"answer": message["ask"], **_ANSWERS[message["what"]](self, message)}
        return None

    def _inject(self, number: int, data: Mapping[str, Any]) -> None:
        fault = fault_from(data, {kind.kind: kind for kind in self._endpoint.FAULTS})
        for old in [key for key, injected in self._faults.items() if not injected.active]:
            del self._faults[old]
        self._numbers = {own: theirs for own, theirs in self._numbers.items() if theirs in self._faults}
        self._numbers[self._endpoint.faults.injected] = number
        self._faults[number] = self._endpoint.inject(fault)

    def _struck(self, number: int) -> None:
        if number in self._numbers:
            self._tell_struck(self._numbers[number])

    def _count(self, message: Message) -> Message:
        endpoint = self._endpoint
        counts = {
            "connections": endpoint.connections,
            "online": endpoint.online,
            "source_addresses": endpoint.source_addresses,
        }
        return {"counts": counts}

    def _history(self, message: Message) -> Message:
        records = self._endpoint.history_json()
        return {"history": [{**each, "data": {**each["data"], "worker": self._label}} for each in records]}

    def _forget(self, message: Message) -> Message:
        self._endpoint.history.clear()
        return {}

    def _device(self, message: Message) -> Message:
        return {"history": self._endpoint.hub_history.of(message["device"])}

    def _forget_device(self, message: Message) -> Message:
        self._endpoint.hub_history.clear(message["device"])
        return {}


_ANSWERS: Mapping[str, Callable[[Orders, Message], Message]] = {
    "count": Orders._count,
    "history": Orders._history,
    "forget": Orders._forget,
    "device": Orders._device,
    "forget_device": Orders._forget_device,
}
