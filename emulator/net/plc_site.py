"""The power lines of a site: their settings, and what breaks on them (manual rows M12 and M14). Pure."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from emulator.faults import Condition
from emulator.local import FACTORY, Mode
from emulator.net.plc_line import Grid, Pair
from emulator.net.table import Table
from emulator.net.wifi_site import Db, Name, WifiPlace

GATEWAYS_MAX = 8


class PlcGateway(Table):
    """A charger that bridges a PLC network to its own link. It should have strong Wi-Fi, and be the only one (M12)."""

    name: Name = "gateway-1"
    """A serial, if the charger with the gateway role runs in this world too: then its own link is the uplink."""
    key: Annotated[str, Field(min_length=8, max_length=64, repr=False)] = FACTORY.plc_key
    """Network password of the PLC network."""
    encrypted: bool = True
    """False: made before November 2019, takes nodes with any key (zaptec.md section 3)."""
    phases: Annotated[Pair, Field(strict=False)] | None = None
    """The conductors that it is on; None: those that the grid asks for."""
    uplink: Annotated[Mode, Field(strict=False)] = Mode.WIFI
    wifi: WifiPlace = Field(default_factory=WifiPlace)
    """What its Wi-Fi radio finds where it hangs."""
    other_nodes: Annotated[int, Field(ge=0, le=250)] = 0
    """Chargers on it that are not part of this world."""


class PlcSite(Table):
    """The power lines of a site: how it is fed and which gateways there are."""

    grid: Annotated[Grid, Field(strict=False)] = Grid.TN
    gateways: Annotated[tuple[PlcGateway, ...], Field(strict=False, max_length=GATEWAYS_MAX)] = (PlcGateway(),)

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        names = [gateway.name for gateway in self.gateways]
        if len(set(names)) < len(names):
            raise ValueError("gateways need names of their own")
        return self


class PlcPlace(Table):
    """What the PLC module of one charger finds."""

    phases: Annotated[Pair, Field(strict=False)] | None = None
    """The conductors that it couples to; None: those that the grid asks for (M14)."""
    cable_m: Annotated[float, Field(ge=0, le=1000)] = 30.0
    """Cable to the gateway; 90 m are allowed (zaptec.md section 3)."""
    noise_db: Db = 0.0
    """How much noisier its line is than a quiet one."""


@dataclass(frozen=True, kw_only=True)
class PlcFault(Condition):
    """Something wrong with the power lines or the gateways on them."""


@dataclass(frozen=True, kw_only=True)
class Noise(PlcFault):
    """Something on the same circuit disturbs the line by so many dB."""

    kind: ClassVar[str] = "plc.noise"
    db: Db = 40.0


@dataclass(frozen=True, kw_only=True)
class KeyChanged(PlcFault):
    """The gateways have another network key than the charger; those that are not encrypted do not care."""

    kind: ClassVar[str] = "plc.key_changed"


@dataclass(frozen=True, kw_only=True)
class Phases(PlcFault):
    """The charger is wired to these conductors."""

    kind: ClassVar[str] = "plc.phases"
    phases: Annotated[Pair, Field(strict=False)] = Pair.L2_N


@dataclass(frozen=True, kw_only=True)
class SecondGateway(PlcFault):
    """Somebody has given another charger the gateway role, with the key and the conductors of the first gateway."""

    kind: ClassVar[str] = "plc.second_gateway"


@dataclass(frozen=True, kw_only=True)
class GatewayDown(PlcFault):
    """The gateway has no power; without a name, no gateway has."""

    kind: ClassVar[str] = "plc.gateway_down"
    gateway: Name = "*"


@dataclass(frozen=True, kw_only=True)
class Full(PlcFault):
    """The gateways take no more nodes; those that are on them stay."""

    kind: ClassVar[str] = "plc.full"


FAULTS = (Noise, KeyChanged, Phases, SecondGateway, GatewayDown, Full)

SECOND = "second gateway"
"""Name of the gateway that `SecondGateway` brings."""
