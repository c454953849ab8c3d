"""The leased address in flash, to be asked for first after a reboot (RFC 2131 section 3.2).

When the lease ends is not kept: after a reboot nobody knows what time it is, and the server decides anyway.
"""

import json
from ipaddress import AddressValueError, IPv4Address

from emulator.flash.api import Flash, forgotten, kept

KEY = "lease"
VALUE_MAX_BYTES = 64  # what we write is shorter; anything else is not ours


def remembered_address(flash: Flash) -> str | None:
    """The address of the last lease, or None. Bytes that are not what `remember_address` writes count as nothing."""
    raw = flash.get(KEY)
    if raw is None or len(raw) > VALUE_MAX_BYTES:
        return None
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    address = value.get("address") if isinstance(value, dict) else None
    return address if isinstance(address, str) and _is_of_a_host(address) else None


def remember_address(flash: Flash, address: str) -> None:
    """Keep the address of a lease. What is there already is not written again: flash wears out."""
    value = json.dumps({"address": address}).encode()
    if flash.get(KEY) != value:
        kept(flash, KEY, value)


def forget_address(flash: Flash) -> None:
    """The address is not ours any more."""
    forgotten(flash, KEY)


def _is_of_a_host(address: str) -> bool:
    try:
        return 1 <= int(IPv4Address(address)) >> 24 <= 223
    except AddressValueError:
        return False
