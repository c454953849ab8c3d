"""Campaigns where the hub is another process: its chargers are heard and called over the bus that both are on."""

from cloud_stub.bus.api import Bus
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.hearing import Hearing
from cloud_stub.hub.methods import Methods
from cloud_stub.state.errors import HubError
from cloud_stub.state.mqtt_sessions import MqttSessions


class CampaignsAfar:
    """Starts and stops together what campaigns need of a hub that is elsewhere."""

    def __init__(self, bus: Bus, methods: Methods, hearing: Hearing, campaigns: Campaigns) -> None:
        self._bus = bus
        self._methods = methods
        self._hearing = hearing
        self._campaigns = campaigns

    async def start(self) -> None:
        """Go on with campaigns, and listen. BusError: the bus is away; HubError: the state cannot be read.

        The bus comes last: what it has kept for us arrives at once, and everybody has to be there to hear it.
        """
        await self._methods.start()
        await self._hearing.start()
        self._campaigns.start()
        await self._bus.start()

    async def stop(self) -> None:
        """Call nobody any more, and listen no more. The bus goes first: from then on it keeps for us what is said."""
        await self._bus.stop()
        await self._campaigns.stop()
        self._hearing.stop()
        self._methods.stop()


def methods_afar(bus: Bus, sessions: MqttSessions, *, caller: str) -> Methods:
    """The direct methods of a hub in another process. It has written down who is connected: it may be older than we."""

    def connected(device_id: str) -> bool:
        try:
            return sessions.seen(device_id).connected
        except HubError:
            return False  # nobody is called while the state cannot be read

    return Methods(bus, caller=caller, connected=connected)
