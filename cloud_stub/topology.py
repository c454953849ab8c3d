"""Where everything is: a site's LAN, a mobile operator's network and the internet, the same in every world."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from emulator.net.route import Lan
from emulator.profile import Network

GOOGLE_DNS = "8.8.8.8"
CLOUDFLARE_DNS = "1.1.1.1"
INTERNET = "198.51.100"  # RFC 5737: for examples, so nobody has it
OPERATOR = "100.64.0"  # RFC 6598: what operators give their customers behind address translation


@dataclass(frozen=True, slots=True)
class Topology:
    """The LAN is below one /16 prefix such as ``10.20``; operator and internet have addresses of their own."""

    prefix: str
    outside: str = ""
    """The first two octets of the site's public addresses, where its router gives each of the LAN one of its own."""

    @property
    def router(self) -> str:
        """The site's router: DHCP server and gateway."""
        return f"{self.prefix}.0.1"

    @property
    def lan(self) -> Lan:
        """The site's network as it really is."""
        return Lan(IPv4Network(self.network), self.router)

    @property
    def cell(self) -> Lan:
        """The operator's."""
        return Lan(IPv4Network(self.operator_network), self.operator_router)

    def inside(self, address: str) -> str:
        """The address on the LAN of who is known by this one outside."""
        octets = address.split(".")
        return ".".join((self.prefix, *octets[2:])) if ".".join(octets[:2]) == self.outside else address

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
    def operator_network(self) -> str:
        """What chargers on LTE-M get their addresses of."""
        return f"{OPERATOR}.0/22"

    @property
    def operator_router(self) -> str:
        """The operator's side of their links."""
        return f"{OPERATOR}.1"

    @property
    def operator_pool(self) -> tuple[str, str]:
        """First and last address that the operator gives: some 900 chargers."""
        return f"{OPERATOR}.100", "100.64.3.254"

    @property
    def dns(self) -> dict[str, str]:
        """Label of each DNS server to its address."""
        return {
            "primary": f"{self.prefix}.0.53",
            "operator": f"{OPERATOR}.53",
            "google": GOOGLE_DNS,
            "cloudflare": CLOUDFLARE_DNS,
        }

    @property
    def ntp(self) -> dict[str, str]:
        """Label of each time server to its address: a pool name stands for four."""
        return {label: f"{INTERNET}.{number}" for number, label in enumerate("abcd", start=123)}

    @property
    def hub(self) -> str:
        """The hub's device endpoint."""
        return f"{INTERNET}.88"

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
        return {name: f"{INTERNET}.{number}" for number, name in enumerate(names, start=43)}

    def zone(self, network: Network) -> dict[str, tuple[str, ...]]:
        """What the DNS servers know."""
        zone: dict[str, tuple[str, ...]] = {name: (address,) for name, address in self.https(network).items()}
        return zone | {network.hub_host: (self.hub,), network.ntp_host: tuple(self.ntp.values())}
