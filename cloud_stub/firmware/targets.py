"""Which chargers a campaign is about, as registry and twins know them when it begins."""

import asyncio
from collections.abc import AsyncIterator

from cloud_stub.firmware.campaign import Targets
from cloud_stub.state.identity import Device
from cloud_stub.state.registry import Registry, UnknownDevice
from cloud_stub.state.twins import Twins

INSTALLATION = "800"
"""The setting with the installation that a charger belongs to (zaptec.md section 17.2)."""


async def serials_for(targets: Targets, registry: Registry, twins: Twins) -> list[str]:
    """Every charger that is named, by itself or by its installation; all that were produced, if none is named.

    UnknownDevice for a serial that nobody has. `percent` is left to the lot.
    """
    for serial in targets.serials:
        if registry.get(serial) is None:
            raise UnknownDevice(f"device {serial[:64]}: no such device")
    named = dict.fromkeys(targets.serials)
    if targets.installations or not named:
        wanted = frozenset(targets.installations)
        async for device in _produced(registry):
            if not wanted or _installation(twins, device) in wanted:
                named[device.device_id] = None
    return list(named)


async def _produced(registry: Registry) -> AsyncIterator[Device]:
    page = registry.find()
    while page:
        for device in page:
            if device.produced:
                yield device
        await asyncio.sleep(0)  # the hub goes on serving meanwhile
        page = registry.find(after=page[-1].device_id)


def _installation(twins: Twins, device: Device) -> str:
    settings = twins.get(device.device_id).desired.data.get("Settings")
    found = settings.get(INSTALLATION) if isinstance(settings, dict) else None
    return found if isinstance(found, str) else ""
