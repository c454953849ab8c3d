"""The Wi-Fi of a site as data: its access points, and what a charger hears of them (manual row M11)."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from emulator.local import FACTORY, PASSWORD_MAX, PASSWORD_MIN, Ssid
from emulator.net.link_faults import RATE_MIN_BPS
from emulator.net.table import Seconds, Table

ACCESS_POINTS_MAX = 32
CHANNELS_2GHZ = range(1, 14)  # IEEE 802.11, as allowed in Europe
CHANNELS_5GHZ = range(36, 178)
CHANNELS_OF_CHARGER = range(1, 12)  # M11: 12 and 13 and the 5 GHz band are invisible


def _channel(number: int) -> int:
    if number not in CHANNELS_2GHZ and number not in CHANNELS_5GHZ:
        raise ValueError("must be 1 to 13, or 36 to 177 in the 5 GHz band")
    return number


Channel = Annotated[int, Field(strict=True), AfterValidator(_channel)]
Dbm = Annotated[float, Field(ge=-140, le=0)]
Db = Annotated[float, Field(ge=0, le=100)]
Name = Annotated[str, Field(min_length=1, max_length=40)]


class AccessPoint(Table):
    """One access point, or one radio of one: 5 GHz is another. The default is as the charger likes it (M11)."""

    name: Name = "ap-1"
    ssid: Ssid = FACTORY.ssid
    password: Annotated[str, Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX, repr=False)] = FACTORY.password
    channel: Channel = 6
    standard: Literal["b", "g", "n"] = "n"
    choose_channel_s: Seconds | None = None
    """Automatic channel selection: it chooses anew so often, any of 1 to 13. None: static, as M11 advises."""
    clients_max: Annotated[int, Field(ge=1)] | None = None
    reboot_s: Seconds = 60.0
    """How long a reboot takes. Invented."""
    reboot_every_s: Seconds | None = None
    data_budget_mb: Annotated[float, Field(gt=0)] | None = None
    """What its way to the internet may carry before it is throttled. Only what strangers use counts: chargers use
    little."""
    throttled_bps: Annotated[float, Field(ge=RATE_MIN_BPS)] = 64_000.0
    """Invented."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.reboot_every_s is not None and self.reboot_every_s <= self.reboot_s:
            raise ValueError("reboot_every_s: must be longer than reboot_s")
        return self


class WifiSite(Table):
    """The access points of a site."""

    access_points: Annotated[tuple[AccessPoint, ...], Field(strict=False, max_length=ACCESS_POINTS_MAX)] = (
        AccessPoint(),
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({each.name for each in self.access_points}) < len(self.access_points):
            raise ValueError("two access points have the same name")
        return self


class WifiPlace(Table):
    """What the Wi-Fi radio of one charger finds."""

    signal_dbm: Dbm = -55.0
    """Of every access point that `levels_dbm` does not name."""
    levels_dbm: dict[str, Dbm] = Field(default_factory=dict)
    """Access point to its signal here."""
    noise_db: Db = 0.0
    """How much noisier the band is than a quiet one."""
    neighbours: Annotated[int, Field(ge=0, le=100)] = 0
    """Busy networks of others on the same channel: they share the air."""
