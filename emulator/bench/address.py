"""Where the bench listens: never where the charger's own network could reach it by chance, nor unguarded elsewhere."""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emulator.bench.token import ENVIRONMENT, Access, Network, find_token
from emulator.errors import UsageError

DISCARD_PORT = 9  # RFC 863; nothing is sent to it

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class BenchAt:
    """Where the bench listens, and who may use it."""

    host: IpAddress
    port: int
    """0: any that is free."""
    access: Access


def bench_from(text: str | None, token_file: Path | None, environ: Mapping[str, str]) -> BenchAt | None:
    """Read ``--bench HOST:PORT`` and its token; None: no bench is asked for.

    HOST is an address, or a network: then the address in it that is ours, for callers from there. UsageError: it is
    neither, or not this machine's, or other machines could reach it and there is no token.
    """
    if text is None:
        if token_file is not None:
            raise UsageError(f"--bench-token-file {token_file}: is of no use without --bench")
        return None
    where = f"--bench {text}"
    host_text, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65_535:
        raise UsageError(f"{where}: must be HOST:PORT")
    network = _network(host_text.removeprefix("[").removesuffix("]"), where)
    one = network.num_addresses == 1
    host = network.network_address if one else _own_address(network, where)
    token = find_token(token_file, environ)
    if token is None and not host.is_loopback:
        raise UsageError(f"{where}: other machines reach this; it needs --bench-token-file FILE or {ENVIRONMENT}")
    return BenchAt(host, int(port), Access(token, None if one else network))


def _network(text: str, where: str) -> Network:
    """An address is a network of one."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        reason = "HOST must be an IP address, or a network such as 10.9.0.0/24"
        raise UsageError(f"{where}: {reason}") from None
    if network.network_address.is_unspecified:
        raise UsageError(f"{where}: would listen on the charger's own network too; name an address or a network")
    return network


def _own_address(network: Network, where: str) -> IpAddress:
    """The address that this machine would speak from to that network."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(network[1]), DISCARD_PORT))
            own = ipaddress.ip_address(probe.getsockname()[0])
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    if own not in network:
        raise UsageError(f"{where}: this machine has no address in that network")
    return own
