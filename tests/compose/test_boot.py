"""Chargers in containers come online by themselves: real DHCP, true ports, and nothing that listens (M1)."""

import socket
from ipaddress import IPv4Address
from itertools import chain

import pytest

from tests.compose.stack import BENCH_PORT, HUB, Charger, Stack

CHARGERS = 5
DHCP_SERVER, NAME_SERVER, ROUTER = "10.20.0.67", "10.20.0.53", "10.20.0.1"
POOL = IPv4Address("10.20.16.1"), IPv4Address("10.20.250.254")
LISTENING = "0A"
"""State of a socket in /proc/net/tcp (TCP_LISTEN of the kernel)."""
DOCKER_DNS = "127.0.0.11"
"""Docker's own name server is in every container; loopback is reached from nowhere else."""


@pytest.fixture(params=range(CHARGERS))
def charger(stack: Stack, request: pytest.FixtureRequest) -> Charger:
    """One after the other."""
    return stack.chargers[request.param]


def test_there_are_five_chargers_and_the_cloud_knows_them_as_online(stack: Stack) -> None:
    assert len(stack.chargers) == CHARGERS
    online = {device["serial"] for device in stack.control(HUB, "GET", "/devices")["devices"] if device["online"]}
    assert online == {charger.serial for charger in stack.chargers}


def test_every_charger_has_a_lease_of_its_own_from_the_sites_dhcp_server(stack: Stack) -> None:
    leases = [charger.bench.snapshot()["lease"] for charger in stack.chargers]
    for lease in leases:
        assert POOL[0] <= IPv4Address(lease["address"]) <= POOL[1]
        assert (lease["server"], lease["router"], lease["dns"]) == (DHCP_SERVER, ROUTER, [NAME_SERVER])
    given = stack.service("dhcp").run("cat", "/tmp/leases").output
    assert {line.split()[2] for line in given.splitlines()} == {lease["address"] for lease in leases}


def test_the_address_is_really_the_one_of_the_lease(charger: Charger) -> None:
    """Docker had given the interface another one."""
    shown = charger.container.run("ip", "-o", "-4", "address", "show", "to", "10.20.0.0/16").output
    assert [line.split()[3] for line in shown.splitlines()] == [f"{charger.bench.snapshot()['lease']['address']}/16"]


def test_every_stage_passed_and_names_came_from_the_site(charger: Charger) -> None:
    stages = charger.bench.snapshot()["boot"]["stages"]
    assert [row["stage"] for row in stages] == ["link", "address", "names", "time", "trust", "hub", "firmware"]
    assert {row["outcome"] for row in stages} == {"passed"}


def test_no_charger_has_a_listening_socket(charger: Charger) -> None:
    """All ports are outgoing (M1). The bench is the runner's, and on the management network."""
    listening = chain(*(_listening(charger, table) for table in ("tcp", "tcp6")))
    assert [at for at in listening if at[0] != DOCKER_DNS] == [(charger.management, BENCH_PORT)]


def test_nobody_on_the_sites_network_can_connect_to_a_charger(charger: Charger) -> None:
    address = charger.bench.snapshot()["lease"]["address"]
    for port in (22, 53, 67, 68, 80, 123, 443, 1883, BENCH_PORT, 8883):
        with socket.socket() as knocking, pytest.raises(ConnectionRefusedError):
            knocking.settimeout(5)
            knocking.connect((address, port))


def test_the_bench_cannot_be_reached_over_the_sites_network(stack: Stack) -> None:
    """Linux takes what is for any of its addresses on any interface; here the charger's has to refuse it."""
    charger, router = stack.chargers[0], stack.service("router")
    knock = f"exec 3<>/dev/tcp/{charger.management}/{BENCH_PORT}"
    lease = charger.bench.snapshot()["lease"]["address"]
    assert router.run("ip", "route", "add", charger.management, "via", lease).status == 0
    try:
        ran = router.run("timeout", "3", "bash", "-c", knock)
    finally:
        router.run("ip", "route", "delete", charger.management)
    assert ran.status != 0, "the router has reached the bench"


def _listening(charger: Charger, table: str) -> list[tuple[str, int]]:
    ran = charger.container.run("cat", f"/proc/net/{table}")
    assert ran.status == 0, ran.output
    rows = [line.split() for line in ran.output.splitlines()[1:]]
    return [_place(row[1]) for row in rows if row[3] == LISTENING]


def _place(text: str) -> tuple[str, int]:
    """An address and port as the kernel writes them: in hex, the address in the order of the machine's bytes."""
    address, _, port = text.rpartition(":")
    if len(address) > 8:
        return address, int(port, 16)
    return socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)
