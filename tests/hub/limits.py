"""The stated limit of everything in the endpoint that a device can fill."""

from collections.abc import Callable, Iterator

from cloud_stub.hub.endpoint import PACKET_BYTES_MAX, Endpoint
from cloud_stub.hub.history import DEVICES_MAX, ENTRIES_MAX
from cloud_stub.hub.logins import ADDRESSES_MAX
from cloud_stub.hub.notices import METHOD_BYTES_MAX
from cloud_stub.hub.outbox import UNSENT_BYTES_MAX
from cloud_stub.hub.outstanding import CALLS_MAX, DELIVERIES_MAX, READ_AHEAD_MAX
from cloud_stub.hub.session import Session
from cloud_stub.service import HISTORY_MAX
from emulator.net.tls import RECORD_MAX_BYTES

MESSAGE_BYTES_MIN = len("devices/x/messages/events") + 4
"""Of a PUBLISH that the hub owes an acknowledgement for: what was read already when it stops reading are these."""
OWED_MAX = READ_AHEAD_MAX + 40_000 // MESSAGE_BYTES_MIN
FILTERS_MAX = 4

PER_SESSION: dict[str, tuple[Callable[[Session], int], int]] = {
    "owed PUBACKs": (lambda session: len(session._owed), OWED_MAX),
    "calls": (lambda session: len(session._calls._callers), CALLS_MAX),
    "deliveries": (lambda session: len(session.deliveries._sent), DELIVERIES_MAX),
    "channels": (lambda session: len(session.channels), FILTERS_MAX),
    "bytes undecoded": (lambda session: session._mqtt._decoder.pending_bytes, PACKET_BYTES_MAX + RECORD_MAX_BYTES),
    "bytes unsent": (lambda session: session._stream.unsent_bytes, UNSENT_BYTES_MAX + METHOD_BYTES_MAX),
}
"""What each connection may hold: how it is measured, and the most."""

PER_ENDPOINT: dict[str, tuple[Callable[[Endpoint], int], int]] = {
    "history": (lambda endpoint: len(endpoint.history), HISTORY_MAX),
    "devices with a history": (lambda endpoint: len(endpoint.hub_history._rings), DEVICES_MAX),
    "history entries": (lambda e: sum(map(len, e.hub_history._rings.values())), 4 * ENTRIES_MAX),
    "addresses": (lambda endpoint: len(endpoint._logins.addresses), ADDRESSES_MAX),
    "sessions": (lambda endpoint: len(endpoint._sessions), 4),
    "held changes": (lambda endpoint: len(endpoint._downlink._held), 1000),
}
"""What the endpoint may hold; `sessions` as many as the fuzz has connections."""


def beyond_limits(endpoint: Endpoint, worst: dict[str, int]) -> str:
    """What is fuller than it may be; empty: nothing is. `worst` learns the fullest."""
    over = []
    for name, size, most in _sizes(endpoint):
        worst[name] = max(worst.get(name, 0), size)
        if size > most:
            over.append(f"{name}: {size}, at most {most}")
    return "; ".join(over)


def _sizes(endpoint: Endpoint) -> Iterator[tuple[str, int, int]]:
    for name, (measure, most) in PER_ENDPOINT.items():
        yield name, measure(endpoint), most
    for session in endpoint._sessions:
        for name, (look, most) in PER_SESSION.items():
            yield name, look(session), most
