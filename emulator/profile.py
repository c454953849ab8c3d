"""Profiles: the numbers of one charger model as data, each with the evidence for it."""

import tomllib
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from emulator.errors import UsageError

TAGS = frozenset({"P", "G", "G~P", "C", "M", "invented"})
"""Evidence: manual (M) or source about the Pro (P), Go firmware (G, G~P), cloud behaviour (C), or our invention."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Network(_Section):
    """Hosts and ports (manual row M2)."""

    hub_host: str
    hub_port: int
    https_port: int
    api_host: str
    devices_host: str
    old_api_host: str
    ntp_host: str
    ntp_port: int
    dns_port: int
    connect_timeout_s: float
    tls_timeout_s: float


class Dhcp(_Section):
    """RFC 2131 client."""

    first_retransmit_s: float
    max_retransmit_s: float
    jitter_s: float
    budget_s: float


class Dns(_Section):
    """Resolver with fallbacks (manual row M8)."""

    fallbacks: tuple[str, ...]
    try_timeout_s: float
    attempts: int
    cache_max: int


class Ntp(_Section):
    """Clock gate (manual row M9). `gate`: strict, or go on with an unset clock after the wait."""

    try_timeout_s: float
    tries: int
    resync_s: float
    gate: Literal["strict", "wait-then-go-on"]


class Hub(_Section):
    """MQTT to the hub (zaptec.md section 6)."""

    api_version: str
    sas_resource_host: str
    sas_lifetime_s: int
    keep_alive_s: int
    ack_timeout_s: float
    max_packet_bytes: int
    first_twin_rid: int
    routing_id: str
    installation_id: str


class Backoff(_Section):
    """Reconnect: first_s + min(n**2, cap) + jitter (zaptec.md section 13)."""

    first_s: float
    cap_without_car_s: float
    cap_with_car_s: float


class Telemetry(_Section):
    """Cadence (zaptec.md section 12)."""

    pulse_boot_s: float
    pulse_idle_s: float
    pulse_charging_s: float
    full_charging_s: float
    full_idle_s: float
    full_first_s: float
    first_period_s: float
    settle_s: float
    outbox_max: int


class Electrical(_Section):
    """What the hardware can do."""

    max_current_a: float
    min_current_a: float
    offline_current_a: float
    nominal_voltage_v: float
    network_type: int


class Firmware(_Section):
    """Update behaviour (zaptec.md section 14). The image format is invented."""

    version: str
    built_at: datetime
    hardware: str
    security_counter: int
    block_bytes: int
    retry_s: float
    timeout_s: float
    http_timeout_s: float
    restart_delay_s: float
    slot_bytes: int


class Profile(_Section):
    """Everything that a charger model has in common."""

    name: str
    network: Network
    dhcp: Dhcp
    dns: Dns
    ntp: Ntp
    hub: Hub
    backoff: Backoff
    telemetry: Telemetry
    electrical: Electrical
    firmware: Firmware

    def with_changes(self, changes: dict[str, Any], *, where: str = "profile") -> "Profile":
        """A copy with dotted keys replaced: ``{"ntp.gate": "wait-then-go-on"}``. UsageError names a wrong key."""
        data = self.model_dump()
        for dotted, value in changes.items():
            section, _, key = dotted.partition(".")
            if not isinstance(data.get(section), dict) or key not in data[section]:
                raise UsageError(f"{where}: {dotted}: no such key")
            data[section][key] = value
        return _validated(data, where)


def _validated(data: dict[str, Any], where: str) -> Profile:
    try:
        return Profile.model_validate(data, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {key}: {first['msg']}") from None


def parse_profile(text: str, *, where: str) -> tuple[Profile, dict[str, str]]:
    """A profile and the evidence tag of each dotted key. Values are written ``key = {value = ..., tag = "P"}``."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from None
    data: dict[str, Any] = {"name": raw.pop("name", where)}
    tags: dict[str, str] = {}
    for section, entries in raw.items():
        if not isinstance(entries, dict):
            raise UsageError(f"{where}: {section}: must be a table")
        data[section] = {}
        for key, entry in entries.items():
            if not isinstance(entry, dict) or set(entry) != {"value", "tag"} or entry["tag"] not in TAGS:
                raise UsageError(f"{where}: {section}.{key}: must be {{value = ..., tag = one of {sorted(TAGS)}}}")
            data[section][key], tags[f"{section}.{key}"] = entry["value"], entry["tag"]
    return _validated(data, where), tags


@cache
def load_profile(name: str = "pro") -> Profile:
    """A profile that ships with the package, by name, or one in a file, by path."""
    shipped = files("emulator") / "profiles" / f"{name}.toml"
    source = shipped if shipped.is_file() else Path(name)
    if not source.is_file():
        raise UsageError(f"profile {name}: no such profile or file")
    return parse_profile(source.read_text(encoding="utf-8"), where=str(name))[0]
