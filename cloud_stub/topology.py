"""Where everything is: one site LAN and the internet around it, the same in every world."""

from dataclasses import dataclass

from emulator.profile import Network

GOOGLE_DNS = "8.8.8.8"
CLOUDFLARE_DNS = "1.1.1.1"


@dataclass(frozen=True, slots=True)
class Topology:
    """Addresses below one /16 prefix such as ``10.20``; the two public DNS servers keep their own."""

    prefix: str

    @property
    def router(self) -> str:
        """The site's router: DHCP server and gateway."""
        return f"{self.prefix}.0.1"

    @property
    def pool(self) -> tuple[str, str]:
        """First and last address that DHCP hands out: some 60,000 chargers."""
        return f"{self.prefix}.16.1", f"{self.prefix}.250.254"

    @property
    def network(self) -> str:
        """The site's LAN."""
        return f"{self.prefix}.0.0/16"

    @property
    def renumbered_pool(self) -> tuple[str, str]:
        """What DHCP hands out instead after the site got new addresses."""
        return f"{self.prefix}.251.1", f"{self.prefix}.251.254"

    @property
    def rogue_network(self) -> str:
        """Where a second DHCP server lends addresses; its gateway and DNS server are nowhere."""
        return f"{self.prefix}.252.0/24"

    @property
    def dns(self) -> dict[str, str]:
        """Label of each DNS server to its address."""
        return {"primary": f"{self.prefix}.0.53", "google": GOOGLE_DNS, "cloudflare": CLOUDFLARE_DNS}

    @property
    def ntp(self) -> dict[str, str]:
        """Label of each time server to its address: a pool name stands for four."""
        return {label: f"{self.prefix}.1.{number}" for number, label in enumerate("abcd", start=123)}

    @property
    def hub(self) -> str:
        """The hub's device endpoint."""
        return f"{self.prefix}.2.1"

    @property
    def portal(self) -> str:
        """The captive portal of a guest network at the site."""
        return f"{self.prefix}.0.80"

    @property
    def proxy(self) -> str:
        """The proxy of the site that inspects TLS."""
        return f"{self.prefix}.0.81"

    def https(self, network: Network) -> dict[str, str]:
        """HTTPS host name to address."""
        names = (network.api_host, network.devices_host, network.old_api_host)
        return {name: f"{self.prefix}.3.{number}" for number, name in enumerate(names, start=1)}

    def zone(self, network: Network) -> dict[str, tuple[str, ...]]:
        """What the DNS servers know."""
        zone: dict[str, tuple[str, ...]] = {name: (address,) for name, address in self.https(network).items()}
        return zone | {network.hub_host: (self.hub,), network.ntp_host: tuple(self.ntp.values())}
