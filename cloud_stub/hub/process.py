"""What every process of a hub builds alike: its view of the common memory, and its endpoint."""

from collections.abc import Callable, Mapping
from hmac import digest
from random import Random
from uuid import UUID

from certs.layout import CertsDir
from cloud_stub.bus.api import Bus
from cloud_stub.hub.contexts import contexts_of
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.settings import DEFAULTS, HubSettings
from cloud_stub.hub.throttle import Throttle
from cloud_stub.state.c2d import C2dRules
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys
from emulator.clock import Utc
from emulator.net.keylog import Keylog

DEFAULT_SETTINGS: Mapping[str, str] = {
    "120": "0",
    "510": "32",
    "511": "6",
    "523": "10",
    "711": "1",
    "800": "00000000-0000-0000-0000-000000000000",
    "801": "default",
}
"""The `Settings` map in a new charger's twin. Keys as zaptec.md section 17.2; the values are invented."""


def memory_of(state: State, secret: bytes, utc: Utc, c2d: C2dRules = DEFAULTS.c2d) -> HubMemory:
    """The hub's memory. `secret` is the production secret: keys and the installation of its chargers follow from it."""
    installation = str(UUID(bytes=digest(secret, b"installation", "sha256")[:16], version=4))
    settings = {"Settings": {**DEFAULT_SETTINGS, "800": installation}}
    return hub_memory(state, derived_keys(secret), utc, settings=settings, c2d=c2d)


def endpoint_of(
    *,
    certs: CertsDir,
    hub_host: str,
    bus: Bus,
    memory: HubMemory,
    policies: Policies,
    rng: Random,
    utc: Utc,
    now: Callable[[], float],
    settings: HubSettings = DEFAULTS,
    throttle: Throttle | None = None,
    worker: str = "",
    keylog: Keylog | None = None,
) -> Endpoint:
    """A device endpoint with the rules of `hub_host`. `worker` is its label where the hub has several."""
    return Endpoint(
        rng=rng,
        utc=utc,
        now=now,
        memory=memory,
        bus=bus,
        contexts=contexts_of(certs, hub_host, keylog),
        rules=settings.rules(hub_host),
        policies=policies,
        throttle=throttle,
        worker=worker,
    )
