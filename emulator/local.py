"""The installer's settings (manual row M18): which link, and the site's credentials. Apart from what the cloud sets."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emulator.errors import UsageError

SSID_MAX_BYTES = 32  # IEEE 802.11 section 9.4.2.2
PASSWORD_MIN, PASSWORD_MAX = 8, 63  # WPA2 passphrase, IEEE 802.11 annex J.4


class Mode(StrEnum):
    """The links of a Pro (its capability list names the same four)."""

    ETHERNET = "ethernet"
    WIFI = "wifi"
    LTE = "lte"
    PLC = "plc"


Ssid = Annotated[str, Field(min_length=1, max_length=SSID_MAX_BYTES)]


class Local(BaseModel):
    """What the installer has set in one charger. The secrets (M19) never show."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Annotated[Mode, Field(strict=False)] = Mode.WIFI
    """The link to use (observation 150)."""
    fallback: Annotated[tuple[Annotated[Mode, Field(strict=False)], ...], Field(strict=False)] = ()
    """Links to try after it, in order."""
    ssid: Ssid = "site"
    password: Annotated[str, Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX, repr=False)] = "site-password"  # noqa: S105 - of a site that does not exist
    plc_key: Annotated[str, Field(min_length=8, max_length=64, repr=False)] = "site-plc-key"
    """Network password of the PLC network."""
    roaming: bool = True
    """LTE-M may roam."""

    @property
    def order(self) -> tuple[Mode, ...]:
        """The links to try, each once."""
        return tuple(dict.fromkeys((self.mode, *self.fallback)))

    def with_changes(self, changes: dict[str, Any], *, where: str = "local") -> "Local":
        """A copy with these keys replaced. UsageError names a wrong one, and never shows a value."""
        try:
            return Local.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{where}: {key}: {first['msg']}") from None


FACTORY = Local()
"""As a charger is sold: set for a site that is called as our own."""
