"""The messages that are counted: the same for our clients and for a peer."""

WINDOW = 8
"""Messages of one client that wait for their PUBACK."""

PAYLOAD = (
    b'{"DeviceId":"ZPR000001","DeviceType":4,"ObservedAt":"2026-06-01T12:00:00.000Z","ObservationId":513,"Value":"0.0"}'
)


def shares(messages: int, clients: int) -> list[int]:
    """How many messages each client sends, as equal as can be."""
    each, left = divmod(messages, clients)
    return [each + (number < left) for number in range(clients)]
