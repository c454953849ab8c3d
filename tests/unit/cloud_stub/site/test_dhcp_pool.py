import pytest

from cloud_stub.site.dhcp_pool import OFFER_HOLD_S, SLACK
from emulator.errors import UsageError
from emulator.wire.dhcp import MessageType
from tests.unit.cloud_stub.site.dhcp_site import (
    LEASE_S,
    SERVER,
    Clock,
    ask,
    discover,
    mac,
    renew,
    request,
    scope,
    server,
    take,
)


def test_every_client_gets_an_address_of_its_own_until_none_is_left() -> None:
    dhcp = server(Clock())
    assert {take(dhcp, number) for number in (1, 2, 3)} == {f"192.168.40.{host}" for host in (100, 101, 102)}
    assert discover(dhcp, 4) is None
    assert dhcp.history[-1].reply == "no address left"


def test_an_offer_is_held_for_a_while_only() -> None:
    clock = Clock()
    dhcp = server(clock, last=100)
    assert discover(dhcp, 1) == "192.168.40.100"
    assert discover(dhcp, 1) == "192.168.40.100", "the same client gets the same offer"
    assert discover(dhcp, 2) is None
    clock.s = OFFER_HOLD_S
    assert discover(dhcp, 2) == "192.168.40.100"
    assert request(dhcp, 1, "192.168.40.100") is MessageType.NAK


def test_a_lease_that_is_not_renewed_ends_and_one_that_is_does_not() -> None:
    clock = Clock()
    dhcp = server(clock, last=101)
    idle, kept = take(dhcp, 1), take(dhcp, 2)
    clock.s = LEASE_S / 2
    assert renew(dhcp, 2, kept) is MessageType.ACK
    clock.s = LEASE_S
    assert dhcp.leases() == {mac(2): kept}
    assert take(dhcp, 3) == idle
    assert renew(dhcp, 1, idle) is MessageType.NAK


def test_a_client_comes_back_to_its_former_address() -> None:
    clock = Clock()
    dhcp = server(clock)
    take(dhcp, 1)
    former = take(dhcp, 2)
    clock.s = LEASE_S * 2
    assert discover(dhcp, 2) == former


def test_a_wish_is_granted_when_the_address_is_free() -> None:
    dhcp = server(Clock())
    assert discover(dhcp, 1, requested="192.168.40.102") == "192.168.40.102"
    assert discover(dhcp, 2, requested="192.168.40.102") == "192.168.40.100"
    assert discover(dhcp, 3, requested="10.0.0.1") == "192.168.40.101"


def test_a_released_address_is_free_and_a_declined_one_is_not() -> None:
    clock = Clock()
    dhcp = server(clock, last=100)
    address = take(dhcp, 1)
    assert ask(dhcp, MessageType.RELEASE, 1, client_address=address) is None
    assert take(dhcp, 2) == address
    assert ask(dhcp, MessageType.DECLINE, 2, requested=address, server=SERVER) is None
    assert discover(dhcp, 3) is None
    clock.s = LEASE_S
    assert discover(dhcp, 3) == address


def test_server_and_router_are_never_lent() -> None:
    dhcp = server(Clock(), first=0, last=3, router="192.168.40.2")
    assert (discover(dhcp, 1), discover(dhcp, 2)) == ("192.168.40.3", None)


def test_a_pool_of_sixty_thousand_is_lent_to_the_last_address() -> None:
    clock = Clock()
    pool = scope(network="127.16.0.0/12", server="127.16.0.1", pool=("127.16.0.2", "127.16.234.97")).pool
    assert pool.size == 60_000
    for round_ in range(2):
        clock.s = round_ * LEASE_S * 2.0
        assert len({pool.offer(str(number), None, clock.s) for number in range(60_000)}) == 60_000
        assert pool.offer("late", None, clock.s) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"first": 102, "last": 101},
        {"pool": ("10.0.0.1", "192.168.40.102")},
        {"pool": ("192.168.40.100", "192.168.41.1")},
        {"pool": ("nowhere", "192.168.40.102")},
        {"first": 1, "last": 1},
        {"network": "192.168.40.0/33"},
        {"network": "192.168.40.1/24"},
        {"reservations": {mac(1): "192.168.41.1"}},
        {"reservations": {mac(1): "192.168.40.1"}},
        {"reservations": {mac(1): "192.168.40.9", mac(2): "192.168.40.9"}},
        {"reservations": {mac(1): "nowhere"}},
        {"lease_s": 0},
        {"dns": ["nowhere"]},
        {"router": "nowhere"},
        {"network": "10.0.0.0/8", "server": "10.0.0.1", "pool": ("10.0.0.2", "10.255.255.254")},
    ],
)
def test_a_pool_that_cannot_be_is_bad_usage(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="dhcp pool"):
        scope(**changes)  # type: ignore[arg-type]


def test_a_reservation_by_mac_or_host_name_is_kept_for_its_client() -> None:
    clock = Clock()
    reserved = {mac(1): "192.168.40.101", "ZPR000002": "192.168.40.9"}
    dhcp = server(clock, last=101, reservations=reserved)
    assert take(dhcp, 3) == "192.168.40.100"
    assert discover(dhcp, 4, requested="192.168.40.101") is None
    assert request(dhcp, 4, "192.168.40.9", server=None) is MessageType.NAK
    for _ in range(2):
        assert (take(dhcp, 1), take(dhcp, 2)) == ("192.168.40.101", "192.168.40.9")
        clock.s += LEASE_S * 2
    ask(dhcp, MessageType.RELEASE, 3, client_address="192.168.40.100")
    assert request(dhcp, 1, "192.168.40.100", server=None) is MessageType.NAK, "it has an address of its own"


def test_ends_that_are_put_off_a_thousand_times_are_not_all_kept() -> None:
    clock = Clock()
    pool = scope().pool
    for second in range(1000):
        clock.s = float(second)
        assert pool.lease(mac(1), (192 << 24) + (168 << 16) + (40 << 8) + 100, clock.s)
    assert len(pool._ends) <= 2 + SLACK
    assert pool.leases(999.0 + LEASE_S - 1) and not pool.leases(999.0 + LEASE_S)


def test_an_address_that_came_back_waits_for_all_that_were_never_lent() -> None:
    dhcp = server(Clock())
    first = take(dhcp, 1)
    assert discover(dhcp, 2, requested="192.168.40.102") == "192.168.40.102"
    ask(dhcp, MessageType.RELEASE, 1, client_address=first)
    assert [discover(dhcp, number) for number in (3, 4, 5)] == ["192.168.40.101", first, None]
