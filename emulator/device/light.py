"""The light on the charger: what people see of it (zaptec.md section 1)."""

from collections.abc import Mapping
from enum import StrEnum

from emulator.machines.charge_modes import State


class Light(StrEnum):
    """Colour, and how it is shown. That it is dark when there is nothing to tell is invented."""

    UPDATE = "purple"
    WAITING = "yellow"
    CHARGING = "blue, pulsing"
    COMPLETE = "green"
    NO_NETWORK = "green, flashing"
    IDLE = "dark"


LIGHTS: Mapping[State, Light] = {
    State.REQUESTING: Light.WAITING,
    State.READY: Light.WAITING,
    State.PAUSED: Light.WAITING,
    State.STOPPED: Light.WAITING,
    State.CHARGING: Light.CHARGING,
    State.FINISHED: Light.COMPLETE,
}


def light_of(state: State, *, updating: bool, online: bool) -> Light:
    """What a charger that has power shows."""
    if updating:
        return Light.UPDATE
    return LIGHTS.get(state, Light.IDLE if online else Light.NO_NETWORK)
