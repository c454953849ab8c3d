"""Where a packet goes to or came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IPv4 address and port; `link` is the link-layer address of a neighbour that may have no IP address yet.

    A DHCP server answers a client by sending to ``Address("255.255.255.255", 68, link=sender.link)``: the IP header
    is a broadcast (RFC 2131 section 4.1), the frame reaches the one client.
    """

    host: str
    port: int
    link: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


BROADCAST = "255.255.255.255"
UNSPECIFIED = "0.0.0.0"  # noqa: S104 - the RFC 2131 source address of a client without a lease, nothing binds to it
