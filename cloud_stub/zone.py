"""What name servers know, from a file in the format of hosts(5): an address, then names, and ``#`` begins a comment."""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from emulator.errors import UsageError

ZONE_BYTES_MAX = 1 << 20


def read_zone(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Name to addresses. UsageError names the file, and the line that is none."""
    try:
        if path.stat().st_size > ZONE_BYTES_MAX:
            raise UsageError(f"{path}: over {ZONE_BYTES_MAX} bytes")
        return parse_zone(path.read_text(encoding="ascii"), where=str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path}: not a text file in ASCII") from None


def parse_zone(text: str, *, where: str) -> Mapping[str, tuple[str, ...]]:
    """Name, in lower case, to its addresses in the order of the lines. UsageError starts with `where`."""
    zone: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        address, *names = words
        try:
            IPv4Address(address)
        except AddressValueError:
            raise UsageError(f"{where}: line {number}: {address} is no IPv4 address") from None
        if not names:
            raise UsageError(f"{where}: line {number}: {address} has no name")
        for name in map(str.lower, names):
            zone[name] = (*zone.get(name, ()), address)
    return zone
