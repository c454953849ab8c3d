"""What can be done to a charger at the bench: one row per act."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emulator.acts import POWER_OFF_S, car_of
from emulator.bench.errors import Conflict
from emulator.device.card import tag_of
from emulator.device.charger import Charger
from emulator.device.faults import PowerCut
from emulator.errors import UsageError
from emulator.faults import Undo

OFF_MAX_S = 86_400.0

Body = Mapping[str, Any]
Result = dict[str, Any]


class Given(BaseModel):
    """The keys of a request. This one takes none."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Off(Given):
    """How long the power is away."""

    off_s: Annotated[float, Field(gt=0, le=OFF_MAX_S)] = POWER_OFF_S


class Card(Given):
    """An RFID card."""

    uid: Annotated[str, Field(max_length=64)]
    """Hex digits."""


class Hands:
    """A person at the charger. `power` is how to give back the power that this person has pulled."""

    def __init__(self, charger: Charger) -> None:
        self.charger = charger
        self.power: Undo | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """One row. `do` gives what is to be told of it. UsageError names the key at fault; Conflict: not now."""

    name: str
    doc: str
    do: Callable[[Hands, Body], Result]


def _plug_in(hands: Hands, body: Body) -> Result:
    car = car_of(body, "body")
    if hands.charger.charge.outlet.car is not None:
        raise Conflict("plug-in: a car is connected already")
    hands.charger.plug_in(car)
    return {}


def _unplug(hands: Hands, body: Body) -> Result:
    read(Given, body)
    if hands.charger.charge.outlet.car is None:
        raise Conflict("unplug: no car is connected")
    hands.charger.unplug()
    return {}


def _card(hands: Hands, body: Body) -> Result:
    uid = read(Card, body).uid
    return {"shown": hands.charger.show_card(uid).value, "tag": tag_of(uid)}


def _power_off(hands: Hands, body: Body) -> Result:
    read(Given, body)
    if hands.power is not None:
        raise Conflict("power-off: the power is off already")
    hands.power = hands.charger.inject(PowerCut())
    return {}


def _power_on(hands: Hands, body: Body) -> Result:
    read(Given, body)
    if hands.power is None:
        raise Conflict("power-on: the power was not pulled here")
    hands.power()
    hands.power = None
    return {}


def _reboot(hands: Hands, body: Body) -> Result:
    off_s = read(Off, body).off_s
    hands.charger.inject(PowerCut(for_s=off_s))
    return {"off_s": off_s}


def _local(hands: Hands, body: Body) -> Result:
    return {"changed": sorted(hands.charger.configure_local(body, where="body"))}


_ROWS = (
    Act("plug-in", "Connect a car; any of the keys of Car in emulator/device/car.py.", _plug_in),
    Act("unplug", "Take the car away.", _unplug),
    Act("card", 'Hold an RFID card to it: {"uid": "04A1B2C3"}.', _card),
    Act("power-off", "Pull the power; RAM is lost, flash and the car stay.", _power_off),
    Act("power-on", "Give the power back.", _power_on),
    Act("reboot", 'Take the power away for a while: {"off_s": 1}.', _reboot),
    Act("local", "Set what the installer sets; keys of Local in emulator/local.py.", _local),
)

ACTS: Mapping[str, Act] = {row.name: row for row in _ROWS}
"""Name, as in the path of the request -> row."""

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], given: Body, where: str = "body") -> Model:
    """The request in `given`. UsageError starts with `where` and names the key."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {key}: {first['msg']}") from None
