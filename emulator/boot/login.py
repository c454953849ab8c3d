"""What the charger says of itself in MQTT CONNECT (zaptec.md section 6)."""

from dataclasses import dataclass, field
from datetime import datetime

from emulator.env import Spec
from emulator.wire.iothub import charger_events_topic, sas_token, username
from emulator.wire.messages import EventType, event
from emulator.wire.mqtt import Connect, Will

LAST_WILL = "mqtt connection broke[lwt]"


@dataclass(slots=True)
class Login:
    """Identity and routing as they are now; settings 800 and 801 and the faults of the device change them."""

    spec: Spec
    key: bytes = field(repr=False)
    routing_id: str
    installation_id: str

    @classmethod
    def of(cls, spec: Spec) -> "Login":
        """As made at production."""
        return cls(spec, spec.key, spec.profile.hub.routing_id, spec.profile.hub.installation_id)

    @property
    def events_topic(self) -> str:
        """Where telemetry is published, and the last will."""
        return charger_events_topic(self.spec.serial, self.routing_id, self.installation_id)

    def connect_packet(self, now: datetime) -> Connect:
        """CONNECT with a fresh SAS token that runs from `now`, the charger's own clock."""
        hub, host, serial = self.spec.profile.hub, self.spec.profile.network.hub_host, self.spec.serial
        expiry = int(now.timestamp()) + hub.sas_lifetime_s
        token = sas_token(f"{hub.sas_resource_host}/devices/{serial}", self.key, expiry)
        return Connect(
            client_id=serial,
            username=username(host, serial, hub.api_version),
            password=token.encode(),
            keep_alive_s=hub.keep_alive_s,
            clean_session=True,
            will=Will(self.events_topic, event(EventType.INFORMATION, LAST_WILL), qos=1, retain=False),
        )
