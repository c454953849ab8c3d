"""Everything that can be seen of a charger, as JSON; secrets (M19) are masked."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emulator.device.charger import Charger
from emulator.device.observations import OBSERVATIONS
from emulator.device.settings import SETTINGS
from emulator.wire.messages import Collection, MessageError, Observation, parse

MASK = "***"
SECRET_LOCAL = frozenset({"password", "plc_key"})
SECRET_SETTINGS = frozenset({863})
ROWS_MAX = 50
"""Of the boot report, the newest."""


class Reported:
    """The last value of each observation that the hub has acknowledged; at most one per row of the table."""

    def __init__(self) -> None:
        self._last: dict[int, Observation] = {}

    def heard(self, payload: bytes) -> None:
        """Take one message into account."""
        try:
            message = parse(payload)
        except MessageError:
            return  # no observation: what a charger sends beside them is not of interest here
        items = message.observations if isinstance(message, Collection) else (message,)
        self._last |= {item.id: item for item in items if isinstance(item, Observation) and item.id in OBSERVATIONS}

    def as_json(self) -> dict[str, Any]:
        """``{"710": {"name": ..., "value": ..., "at": ...}}``, by id."""
        return {
            str(id_): {"name": OBSERVATIONS[id_].name, "value": item.value, "at": item.at.isoformat()}
            for id_, item in sorted(self._last.items())
        }


def visible(charger: Charger, reported: Reported) -> dict[str, Any]:
    """The charger at this moment."""
    now = charger.snapshot()
    return {
        "serial": now.serial,
        "profile": charger.spec.profile.name,
        "powered": now.powered,
        "online": now.online,
        "light": now.light,
        "firmware": {"version": now.firmware, "updating": now.updating},
        "boot": _boot(charger),
        "link": _link(charger),
        "lease": None if charger.lease is None else _finite(asdict(charger.lease)),
        "clock": {"now": now.clock.isoformat(), "trusted": now.clock_trusted, "source": charger.env.rtc.source},
        "charge": _charge(charger),
        "local": _masked(charger.local.model_dump(mode="json"), SECRET_LOCAL),
        "settings": {str(id_): _hide(charger.settings[id_], id_ in SECRET_SETTINGS) for id_ in SETTINGS},
        "trust_bundle": charger.bundle_version,
        "messages": {
            "up": now.messages_up,
            "down": now.messages_down,
            "waiting": now.outbox,
            "dropped": now.outbox_dropped,
        },
        "data": now.data.as_json(),
        "data_days": [
            {"day": day.day.isoformat(), "up": day.up_bytes, "down": day.down_bytes} for day in charger.data_days
        ],
        "observations": reported.as_json(),
    }


def _boot(charger: Charger) -> dict[str, Any]:
    rows = charger.boots[-1].rows if charger.boots else []
    return {
        "started_by": charger.started_by,
        "power_ons": charger.snapshot().power_ons,
        "stages": [row.as_json() for row in rows[-ROWS_MAX:]],
    }


def _link(charger: Charger) -> dict[str, Any]:
    host = charger.env.host
    return {
        "mode": charger.link.value,
        "address": charger.snapshot().address,
        "mac": host.link_address,
        "carrier": None if host.carrier is None else asdict(host.carrier),
    }


def _charge(charger: Charger) -> dict[str, Any]:
    now, charge = charger.snapshot(), charger.charge
    return {
        "state": now.state,
        "operation_mode": now.operation_mode,
        "charge_mode": now.charge_mode,
        "car": None if charge.outlet.car is None else asdict(charge.outlet.car),
        "session_id": now.session_id,
        "session_kwh": now.session_kwh,
        "granted_a": now.granted_a,
        "phases": now.phases,
        "power_w": now.power_w,
        "card": {"required": charge.cards.required, "tag": charge.cards.tag, "waits": charge.cards.waits},
        "sessions_waiting": now.sessions_waiting,
        "sessions_lost": now.sessions_lost,
    }


def _finite(lease: Mapping[str, Any]) -> dict[str, Any]:
    """A lease as JSON, which knows no infinity: null is without end."""
    return {key: None if value == float("inf") else value for key, value in lease.items()}


def _masked(values: Mapping[str, Any], secret: frozenset[str]) -> dict[str, Any]:
    return {key: _hide(value, key in secret) for key, value in values.items()}


def _hide(value: Any, secret: bool) -> Any:
    return MASK if secret and value else value
