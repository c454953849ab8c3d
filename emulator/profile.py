"""Profiles: the numbers of one charger model as data, each with the evidence for it."""

import tomllib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from emulator.errors import UsageError, WireError
from emulator.wire.manifest import parse_version

TAGS = frozenset({"P", "G", "G~P", "C", "M", "invented"})
"""Evidence: manual (M) or source about the Pro (P), Go firmware (G, G~P), cloud behaviour (C), or our invention."""

BASE = "pro"
"""The profile that others may be based on."""


def _ipv4(text: str) -> str:
    return str(IPv4Address(text))  # its error is a ValueError, which pydantic words


def _version(text: str) -> str:
    try:
        parse_version(text)
    except WireError as error:
        raise ValueError(str(error)) from None
    return text


Seconds = Annotated[float, Field(gt=0)]
SecondsOrZero = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
Guid = Annotated[str, Field(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Text = Annotated[str, Field(min_length=1)]
IPv4 = Annotated[str, AfterValidator(_ipv4)]
Version = Annotated[str, AfterValidator(_version)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Network(_Section):
    """Hosts and ports (manual row M2)."""

    hub_host: HostName
    hub_port: Port
    https_port: Port
    api_host: HostName
    devices_host: HostName
    old_api_host: HostName
    ntp_host: HostName
    ntp_port: Port
    dns_port: Port
    connect_timeout_s: Seconds
    tls_timeout_s: Seconds


class Dhcp(_Section):
    """RFC 2131 client. `remember`: after a reboot it asks for the address of before."""

    first_retransmit_s: Seconds
    max_retransmit_s: Seconds
    jitter_s: SecondsOrZero
    budget_s: Seconds
    remember: bool


class Dns(_Section):
    """Resolver with fallbacks (manual row M8).

    `wording`: the fallbacks are asked in addition to DHCP's servers, whatever those say; or (Polish edition) instead of
    them, when DHCP gives none or none answers in time.
    """

    fallbacks: Annotated[tuple[IPv4, ...], Field(strict=False)]
    wording: Literal["in_addition", "instead"]
    try_timeout_s: Seconds
    attempts: Positive
    tcp_timeout_s: Seconds
    tcp_max_bytes: Annotated[int, Field(ge=512, le=65535)]
    cache_max: Positive
    ttl_max_s: SecondsOrZero
    negative_ttl_max_s: SecondsOrZero


class Ntp(_Section):
    """SNTP client and clock gate (manual row M9).

    Each address of the pool name is asked `tries` times in one attempt. `gate`: strict, or go on with the clock as it
    is after `wait_s` seconds. A clock that is right is set again every `resync_s`, any other every `retry_s`. A server
    that wants to be asked less often gets a rest of `rate_pause_s` at first.
    """

    try_timeout_s: Seconds
    tries: Annotated[int, Field(ge=1, le=100)]
    resync_s: Seconds
    retry_s: Seconds
    rate_pause_s: Seconds
    wait_s: Seconds
    gate: Literal["strict", "wait-then-go-on"]


class Clock(_Section):
    """The real-time clock: each one gains or loses, at most `drift_ppm_max`."""

    drift_ppm_max: Annotated[float, Field(ge=0, le=1000)]

    def drift_ppm(self, rng: Random) -> float:
        """How fast one charger's clock runs ahead."""
        return rng.uniform(-self.drift_ppm_max, self.drift_ppm_max)


class Trust(_Section):
    """Trust bundle (zaptec.md section 5). `without_bundle`: go on with the built-in roots, or wait for a bundle."""

    without_bundle: Literal["built_in", "wait"]
    built_in_version: Positive
    timeout_s: Seconds
    first_retry_s: Seconds
    lost_step_s: SecondsOrZero
    invalid_step_s: SecondsOrZero
    retry_cap_s: Seconds


class Hub(_Section):
    """MQTT to the hub (zaptec.md section 6)."""

    api_version: Text
    sas_resource_host: HostName
    sas_lifetime_s: Positive
    keep_alive_s: Annotated[int, Field(ge=0, le=65535)]
    ack_timeout_s: Seconds
    max_packet_bytes: Positive
    first_twin_rid: Annotated[int, Field(ge=0)]
    routing_id: Text
    installation_id: Guid


class Backoff(_Section):
    """Reconnect: first_s + min(n**2, cap) + jitter, and what is restarted after how many failures (section 13).

    A Wi-Fi link that was lost is tried again after `wifi_lost_s`; if that fails, the rest holds (section 4).
    """

    first_s: Seconds
    wifi_lost_s: Seconds
    cap_without_car_s: SecondsOrZero
    cap_with_car_s: SecondsOrZero
    forced_at: Annotated[tuple[Positive, ...], Field(strict=False)]
    ppp_failures: Positive
    ppp_failures_step: Positive
    ppp_failures_max: Positive
    modem_timeouts: Positive
    modem_timeouts_max: Positive


class Watchdog(_Section):
    """Reboot when the hub stays away (zaptec.md section 13)."""

    link_seen_s: Seconds
    link_never_s: Seconds
    no_car_s: Seconds
    not_charging_s: Seconds


class Telemetry(_Section):
    """Cadence (zaptec.md section 12)."""

    pulse_boot_s: Seconds
    pulse_idle_s: Seconds
    pulse_charging_s: Seconds
    full_charging_s: Seconds
    full_idle_s: Seconds
    full_first_s: Seconds
    first_period_s: SecondsOrZero
    settle_s: SecondsOrZero
    outbox_max: Positive


class Electrical(_Section):
    """What the hardware can do."""

    max_current_a: Amount
    min_current_a: Amount
    offline_current_a: Annotated[float, Field(ge=0)]
    nominal_voltage_v: Amount
    network_type: Literal[1, 2, 3, 4]


class Firmware(_Section):
    """Update behaviour (zaptec.md section 14). The image format is invented.

    `updater`: the one that a charger should have, or one that hangs as the Go's source reads. A request asks for
    `range_blocks` blocks, each of which must be there within `block_timeout_s`. A server that cannot prove who it is
    or is too slow is put up with for `patience_s`. While a car charges no more than `charging_bytes_per_s` are fetched.
    A new image has `confirm_timeout_s` to prove itself. `mainboard_version` is what came out of production with
    `version`; to bring the mainboard in sync takes `mainboard_sync_s`.
    """

    version: Version
    built_at: Annotated[AwareDatetime, Field(strict=False)]
    hardware: Text
    security_counter: Annotated[int, Field(ge=0)]
    block_bytes: Positive
    retry_s: Seconds
    timeout_s: Seconds
    http_timeout_s: Seconds
    restart_delay_s: SecondsOrZero
    slot_bytes: Positive
    updater: Literal["pro", "go"]
    range_blocks: Positive
    block_timeout_s: Seconds
    patience_s: Seconds
    charging_bytes_per_s: Positive
    confirm_timeout_s: Seconds
    mainboard_version: Version
    mainboard_sync_s: Seconds


class Profile(_Section):
    """Everything that a charger model has in common."""

    name: str
    network: Network
    dhcp: Dhcp
    dns: Dns
    ntp: Ntp
    clock: Clock
    trust: Trust
    hub: Hub
    backoff: Backoff
    watchdog: Watchdog
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


def _base(name: object, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Values and tags of the profile that another is based on; none without one."""
    if name is None:
        return {}, {}
    if name != BASE:
        raise UsageError(f"{where}: base: must be {BASE}")
    profile, tags = parse_profile(_shipped(BASE).read_text(encoding="utf-8"), where=BASE)
    return profile.model_dump(), dict(tags)


def _shipped(name: str) -> Traversable:
    return files("emulator") / "profiles" / f"{name}.toml"


def _validated(data: dict[str, Any], where: str) -> Profile:
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {key}: {first['msg']}") from None


def parse_profile(text: str, *, where: str) -> tuple[Profile, dict[str, str]]:
    """A profile and the evidence tag of each dotted key. Values are written ``key = {value = ..., tag = "P"}``.

    ``base = "pro"`` takes every value that is not written from a profile that ships with the package.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{where}: {error}") from None
    name = raw.pop("name", where)
    data, tags = _base(raw.pop("base", None), where)
    data["name"] = name
    for section, entries in raw.items():
        if not isinstance(entries, dict):
            raise UsageError(f"{where}: {section}: must be a table")
        data.setdefault(section, {})
        for key, entry in entries.items():
            if not isinstance(entry, dict) or set(entry) != {"value", "tag"} or entry["tag"] not in TAGS:
                raise UsageError(f"{where}: {section}.{key}: must be {{value = ..., tag = one of {sorted(TAGS)}}}")
            data[section][key], tags[f"{section}.{key}"] = entry["value"], entry["tag"]
    return _validated(data, where), tags


@cache
def load_profile(name: str = "pro") -> Profile:
    """A profile that ships with the package, by name, or one in a file, by path."""
    shipped = _shipped(name)
    source = shipped if shipped.is_file() else Path(name)
    if not source.is_file():
        raise UsageError(f"profile {name}: no such profile or file")
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"profile {name}: {error}") from None
    return parse_profile(text, where=str(name))[0]
