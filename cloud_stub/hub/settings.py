"""What can be set of the hub from outside: ``--hub KEY=VALUE``. Every value has a default and is checked."""

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cloud_stub.hub.client_certificate import parse_authorities
from cloud_stub.hub.rules import ForeignFilters, HubRules
from cloud_stub.hub.throttle import UNITS_MAX, Capacity, Throttle, Tier
from cloud_stub.state.c2d import LOCK_S_MAX, LOCK_S_MIN, TTL_S_MAX, TTL_S_MIN, C2dRules, FirstSession
from emulator.errors import UsageError

DAY_S = 86_400.0
AUTHORITIES_BYTES_MAX = 1 << 20

Seconds = Annotated[float, Field(ge=0, le=366 * DAY_S, allow_inf_nan=False)]


class HubSettings(BaseModel):
    """The defaults are the vendor's where they are known (iothub-mqtt.md), and stand beside each name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    disabled_code: Annotated[Literal[3, 5], BeforeValidator(int)] = 5
    """CONNACK for a disabled device (section 1.5)."""
    token_skew_s: Seconds = 0.0
    """For how long after its end a token still opens a connection (section 1.3)."""
    token_grace_s: Seconds = 600.0
    """How long a connection outlives its token (section 1.3)."""
    foreign_filters: ForeignFilters = ForeignFilters.CLOSE
    """What a subscription outside the catalogue does (section 1.10)."""
    will_on_takeover: bool = True
    """Whether the older connection's will is published (section 1.9, assumed)."""
    authorities: Path | None = None
    """PEM file: who may sign the certificates of CA-signed devices (section 1.4)."""
    tier: Tier | None = None
    """Whose limits and daily quota are kept; none without (section 1.16)."""
    units: Annotated[int, Field(ge=1, le=UNITS_MAX)] = 1
    """How many of the tier."""
    c2d_depth: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Messages in one device's queue (section 1.12)."""
    c2d_ttl_s: Annotated[float, Field(ge=TTL_S_MIN, le=TTL_S_MAX)] = 3_600.0
    """How long a message waits that names no expiry (section 1.12)."""
    c2d_lock_s: Annotated[float, Field(ge=LOCK_S_MIN, le=LOCK_S_MAX)] = 60.0
    """How long the hub waits for the PUBACK of a delivery (section 1.12)."""
    c2d_deliveries: Annotated[int, Field(ge=1, le=100)] = 10
    """How often a message is delivered at most (section 1.12)."""
    c2d_first_session: FirstSession = FirstSession.DROP
    """What becomes of messages for a device that never had a session (section 1.8)."""
    c2d_clean_discards: bool = False
    """Whether a clean session empties the queue (section 1.8)."""

    def rules(self, host: str) -> HubRules:
        """The rules of the hub at `host`. UsageError for a file of authorities that cannot be read."""
        return HubRules(
            host,
            disabled_code=self.disabled_code,
            token_skew_s=self.token_skew_s,
            token_grace_s=self.token_grace_s,
            foreign_filters=self.foreign_filters,
            will_on_takeover=self.will_on_takeover,
            authorities=parse_authorities(_read(self.authorities)) if self.authorities else (),
        )

    def throttle(self, *, now: Callable[[], float], utc: Callable[[], datetime], processes: int = 1) -> Throttle | None:
        """The limits of one of so many processes, which share them evenly; None without a tier."""
        if self.tier is None:
            return None
        return Throttle(Capacity(self.tier, self.units), now=now, utc=utc, share=1 / processes)

    @property
    def c2d(self) -> C2dRules:
        """The rules of the queues."""
        return C2dRules(
            depth_max=self.c2d_depth,
            ttl_s=self.c2d_ttl_s,
            lock_s=self.c2d_lock_s,
            delivery_count_max=self.c2d_deliveries,
            first_session=self.c2d_first_session,
            clean_session_discards=self.c2d_clean_discards,
        )

    def to_json(self) -> dict[str, Any]:
        """For another process; `HubSettings.model_validate` is the inverse."""
        return self.model_dump(mode="json")


DEFAULTS = HubSettings()


def parse_settings(texts: Iterable[str], *, where: str = "--hub") -> HubSettings:
    """Settings from ``KEY=VALUE`` texts. UsageError names the key."""
    given: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{where} {text}: must be KEY=VALUE")
        given[key] = value
    try:
        settings = HubSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"; known are {', '.join(HubSettings.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise UsageError(f"{where} {key}: {first['msg']}{known}") from None
    settings.rules("")  # a file that cannot be read is found out now
    return settings


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(AUTHORITIES_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"authorities: {path}: {error.strerror}") from None
    if len(data) > AUTHORITIES_BYTES_MAX:
        raise UsageError(f"authorities: {path}: over {AUTHORITIES_BYTES_MAX} bytes")
    return data
