"""Scenarios: a story about one charger as a TOML file - what is broken, what people do, and what must come of it."""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from emulator.boot.outcome import Why
from emulator.errors import UsageError
from emulator.local import FACTORY
from emulator.net.place import Place, Setup
from emulator.profile import load_profile

STEPS_MAX = 200
Label = Annotated[str, Field(min_length=1, max_length=80)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Plain = str | int | float | bool


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EventWanted(_Table):
    """An event by the pattern of its name, with these values; written as the bare pattern when there are none."""

    name: Label
    where: dict[str, Plain] = {}

    @model_validator(mode="before")
    @classmethod
    def _bare_pattern(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class _Step(_Table):
    """When a step is done: at a time since the start, or after an event that came since the step before began."""

    at_s: Seconds | None = None
    after: EventWanted | None = None
    delay_s: Seconds = 0.0
    """Seconds from the event to the step."""

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if (self.at_s is None) == (self.after is None):
            raise ValueError("needs one of at_s and after")
        if self.delay_s and self.after is None:
            raise ValueError("delay_s goes with after")
        return self


class Inject(_Step):
    """Break something."""

    do: Literal["inject"]
    fault: dict[str, JsonValue]
    label: Label | None = None
    """What `heal` calls it; without one, the kind of the fault."""

    @property
    def known_as(self) -> str:
        """The name to heal it by."""
        return self.label or str(self.fault.get("kind"))


class Heal(_Step):
    """Take a fault back."""

    do: Literal["heal"]
    fault: Label


class PowerOn(_Step):
    """Give the charger power."""

    do: Literal["power_on"]


class Reboot(_Step):
    """Take the power away for a second."""

    do: Literal["reboot"]


class PlugIn(_Step):
    """Connect a car."""

    do: Literal["plug_in"]
    car: dict[str, Plain] = {}


class Unplug(_Step):
    """Disconnect the car."""

    do: Literal["unplug"]


class Command(_Step):
    """Let the cloud call a direct method (zaptec.md section 8.2)."""

    do: Literal["command"]
    id: int
    payload: Annotated[JsonValue, Field(repr=False)] = None
    status: int = 200
    """The reply that is expected."""


class OfferFirmware(_Step):
    """Put another image on the firmware server."""

    do: Literal["offer_firmware"]
    version: Label
    signer: Label = "firmware"
    size_bytes: Annotated[int, Field(ge=1)] | None = None
    """None: as large as usual."""


class PublishBundle(_Step):
    """Publish a trust bundle with these public roots, one version up (zaptec.md section 5)."""

    do: Literal["publish_bundle"]
    roots: Literal["old", "new", "both"]
    firmware_keys: tuple[Label, ...] = Field(default=(), strict=False)
    """The keys that it lists as those that may sign firmware; none: it says nothing new of them."""
    revoked: tuple[Label, ...] = Field(default=(), strict=False)
    """Keys that must not sign any more."""

    @model_validator(mode="after")
    def _some_key_left(self) -> Self:
        if self.revoked and not set(self.firmware_keys) - set(self.revoked):
            raise ValueError("revoked leaves none of firmware_keys")
        return self


class SetLocal(_Step):
    """Let the installer change settings of the charger (M18)."""

    do: Literal["local"]
    set: Annotated[dict[str, JsonValue], Field(min_length=1, repr=False)]
    """Keys of `emulator.local.Local`; secrets among them."""


Step = Inject | Heal | PowerOn | Reboot | PlugIn | Unplug | Command | OfferFirmware | PublishBundle | SetLocal
ACTS = (
    "inject",
    "heal",
    "power_on",
    "reboot",
    "plug_in",
    "unplug",
    "command",
    "offer_firmware",
    "publish_bundle",
    "local",
)


class StageWanted(_Table):
    """An attempt at a boot stage that must end so. `where` are further values of its event."""

    stage: Label
    outcome: Literal["passed", "degraded", "failed"]
    why: Annotated[Why, Field(strict=False)] | None = None
    where: dict[str, Plain] = {}


class HistoryWanted(_Table):
    """How many requests a service may have seen: evidence from the other side."""

    service: Label
    request: str = "*"
    """Pattern of the request's text."""
    count: Annotated[int, Field(ge=0)] | None = None
    at_least: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.count is None) == (self.at_least is None):
            raise ValueError("needs one of count and at_least")
        return self


class Expect(_Table):
    """What must come of it. The run ends when all of it has, after `min_run_s`, and fails when `within_s` is over."""

    stages: tuple[StageWanted, ...] = Field(default=(), strict=False)
    """In this order; others may come between."""
    events: tuple[EventWanted, ...] = Field(default=(), strict=False)
    """In any order."""
    never: tuple[EventWanted, ...] = Field(default=(), strict=False)
    history: tuple[HistoryWanted, ...] = Field(default=(), strict=False)
    within_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    min_run_s: Seconds = 0.0

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.stages or self.events or self.never or self.history):
            raise ValueError("expects nothing")
        if self.min_run_s > self.within_s:
            raise ValueError("min_run_s is longer than within_s")
        return self


class ChargerSpec(_Table):
    """The charger of the story."""

    serial: Annotated[str, Field(pattern=r"^[A-Z]{3}[0-9]{6}$")] = "ZPR000001"
    profile: dict[str, Any] = {}
    """Profile keys that differ from `pro`, dotted or as sub-tables."""
    local: Annotated[dict[str, Any], Field(repr=False)] = {}
    """What its installer has set (M18), as keys of `emulator.local.Local`; secrets among them."""
    place: dict[str, Any] = {}
    """What it finds where it hangs, as keys of `emulator.net.place.Place`, dotted or as sub-tables."""

    @property
    def changes(self) -> dict[str, Any]:
        """The profile changes with dotted keys."""
        return dict(_dotted(self.profile))

    @property
    def place_changes(self) -> dict[str, Any]:
        """What differs from an ordinary place, with dotted keys."""
        return dict(_dotted_as(self.place, Place))


class Scenario(_Table):
    """One story. The steps happen in the order of the file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
    title: Annotated[str, Field(min_length=1, max_length=160)]
    """The symptom in one sentence."""
    cause: Annotated[str, Field(min_length=1, max_length=600)]
    fix: Annotated[str, Field(min_length=1, max_length=600)]
    """The rule or setting to change, in words."""
    site: Annotated[dict[str, Any], Field(repr=False)] = {}
    """What differs from an ordinary site, as keys of `emulator.net.place.Setup`, dotted or as sub-tables."""
    charger: ChargerSpec = ChargerSpec()
    step: Annotated[tuple[Annotated[Step, Field(discriminator="do")], ...], Field(strict=False, max_length=STEPS_MAX)]
    expect: Expect

    @property
    def setup(self) -> Setup:
        """The site. UsageError names a wrong key."""
        return Setup().with_changes(dict(_dotted_as(self.site, Setup)), where=f"{self.name}: site")


def _dotted(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _dotted_as(table: Mapping[str, Any], model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """As `_dotted`, but where the model holds a mapping, or several tables, it is one value."""
    for key, value in table.items():
        field = model.model_fields.get(key)
        inner = field.annotation if field is not None else None
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _dotted_as(value, inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def parse_scenario(text: str, *, where: str) -> Scenario:
    """A scenario from TOML. UsageError in one line: file, key and reason; steps and rows count from 1."""
    try:
        scenario = Scenario.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    except ValidationError as error:
        raise UsageError(f"{where}: {_in_words(error.errors()[0])}") from None
    _check_steps(scenario, where)
    _check_charger(scenario.charger, where)
    Setup().with_changes(dict(_dotted_as(scenario.site, Setup)), where=f"{where}: site")
    return scenario


def _check_charger(charger: ChargerSpec, where: str) -> None:
    load_profile().with_changes(charger.changes, where=f"{where}: charger.profile")
    FACTORY.with_changes(charger.local, where=f"{where}: charger.local")
    Place().with_changes(charger.place_changes, where=f"{where}: charger.place")


def _in_words(error: ErrorDetails) -> str:
    path = [part + 1 if isinstance(part, int) else part for part in error["loc"]]
    if path[:1] == ["step"] and len(path) > 2:
        del path[2]  # pydantic names the kind of step here, which is no key of the file
    match error["type"]:
        case "union_tag_invalid":
            path, reason = [*path, "do"], f"{error['ctx']['tag']!r} is not an act; known are {', '.join(ACTS)}"
        case "union_tag_not_found":
            path, reason = [*path, "do"], f"is missing; one of {', '.join(ACTS)}"
        case "extra_forbidden":
            reason = "no such key"
        case "missing":
            reason = "is missing"
        case "value_error":
            reason = str(error["ctx"]["error"])
        case _:
            reason = error["msg"]
    return f"{'.'.join(map(str, path))}: {reason}"


def _check_steps(scenario: Scenario, where: str) -> None:
    """What one step cannot know of the others."""
    powered, last_s, labels = False, 0.0, set[str]()
    for number, step in enumerate(scenario.step, start=1):
        here = f"{where}: step.{number}"
        if step.at_s is not None:
            if step.at_s < last_s:
                raise UsageError(f"{here}.at_s: {step.at_s:g} is before the step above it")
            last_s = step.at_s
        match step:
            case Inject():
                labels.add(step.known_as)
            case SetLocal():
                FACTORY.with_changes(step.set, where=f"{here}.set")
            case Heal() if step.fault not in labels:
                raise UsageError(f"{here}.fault: no step above injects {step.fault!r}")
            case PowerOn() if powered:
                raise UsageError(f"{here}.do: the power is on already; use reboot")
            case Reboot() if not powered:
                raise UsageError(f"{here}.do: reboot before power_on")
            case _:
                pass
        powered = powered or isinstance(step, PowerOn)
    if not powered:
        raise UsageError(f"{where}: step: no step does power_on")


def shipped_names() -> list[str]:
    """The scenarios that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_scenario(name_or_file: str) -> Scenario:
    """A shipped scenario by its name, or one by the path of its file."""
    shipped = _shipped() / f"{name_or_file}.toml"
    if "/" not in name_or_file and shipped.is_file():
        return parse_scenario(shipped.read_text(encoding="utf-8"), where=shipped.name)
    path = Path(name_or_file)
    try:
        return parse_scenario(path.read_text(encoding="utf-8"), where=path.name)
    except FileNotFoundError:
        known = ", ".join(shipped_names())
        raise UsageError(f"scenario {name_or_file}: no such name or file; shipped are {known}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name_or_file}: not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{name_or_file}: {error.strerror}") from None


def _shipped() -> Traversable:
    return files("emulator") / "scenarios"
