"""Which real sockets stand for which addresses."""

import json
import socket
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.topology import Topology
from emulator.errors import UsageError
from emulator.local import Mode
from emulator.net.api import Address
from emulator.net.plan import LoopbackPlan, claim_plan
from emulator.profile import load_profile
from emulator.wire.address import BROADCAST

HOSTS = st.sampled_from(
    ["127.7.0.53", "127.7.16.9", "8.8.8.8", "1.1.1.1", "198.51.100.88", "100.64.0.1", "100.64.3.254"]
)
PORTS = st.one_of(st.sampled_from([53, 67, 68, 123, 443, 8883]), st.integers(20_000, 65_535))


@given(host=HOSTS, port=PORTS)
def test_what_an_address_becomes_is_known_again(host: str, port: int) -> None:
    plan = LoopbackPlan(7)
    real = plan.real(Address(host, port))
    assert real is not None and real[0].startswith("127.7.") and real[1] >= 1024
    assert plan.logical(*real) == Address(host, port)


def test_every_machine_of_the_cloud_has_a_place() -> None:
    plan, network = LoopbackPlan(7), load_profile().network
    places = Topology(plan.prefix)
    machines = [places.router, places.operator_router, places.hub, places.portal, places.proxy, *places.operator_pool]
    machines += [*places.dns.values(), *places.ntp.values(), *places.https(network).values()]
    real = [plan.real(Address(host, 443)) for host in machines]
    assert None not in real and len(set(real)) == len(machines)
    assert plan.real(Address(BROADCAST, 67)) == plan.real(Address(places.router, 67))
    assert plan.real(Address(BROADCAST, 67), Mode.LTE) == plan.real(Address(places.operator_router, 67))
    sites = IPv4Network(places.network)
    outside = [places.hub, *places.ntp.values(), *places.https(network).values(), *places.operator_pool]
    assert not any(IPv4Address(host) in sites for host in outside), "the way there is through a router"


def test_nothing_leaves_the_machine() -> None:
    plan = LoopbackPlan(7)
    for host in ("203.0.113.9", "10.0.0.1", "9.9.9.9", "100.64.4.1", "198.51.101.1"):
        assert plan.real(Address(host, 53)) is None and not plan.exists(host)


def test_a_broadcast_finds_the_dhcp_server_and_a_reply_the_socket_that_asked() -> None:
    plan = LoopbackPlan(7)
    assert plan.real(Address(BROADCAST, 67)) == ("127.7.0.1", 10_067)
    assert plan.real(Address(BROADCAST, 67), Mode.LTE) == plan.real(Address("100.64.0.1", 67)) == ("127.7.4.1", 10_067)
    assert plan.real(Address(BROADCAST, 5353)) is None
    asker = plan.asker("127.0.0.1", 40_000)
    assert (asker.host, asker.port) == ("0.0.0.0", 68)
    assert plan.real(Address(BROADCAST, 68, link=asker.link)) == ("127.0.0.1", 40_000)


def test_with_one_address_ports_are_learned_as_services_bind_and_travel_in_json() -> None:
    plan = LoopbackPlan(7, single=True)
    dns, google = Address("127.7.0.53", 53), Address("8.8.8.8", 53)
    assert plan.real(dns) is None
    assert plan.binding(Address("127.7.2.1", 8883)) == ("127.0.0.1", 0), "any that is free"
    host, port = plan.binding(dns)
    assert host == "127.0.0.1" and 20_000 < port < 32_768, "free for UDP and TCP alike: no connection goes out from it"
    assert plan.bound(dns, 40_001) == dns and plan.bound(google, 40_002) == google
    elsewhere = LoopbackPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert elsewhere.real(dns) == ("127.0.0.1", 40_001)
    assert elsewhere.logical("127.0.0.1", 40_002) == google
    assert elsewhere.binding(dns) == ("127.0.0.1", 40_001), "a service that starts again keeps its port"
    assert elsewhere.real(Address("127.0.0.1", 55_555)) == ("127.0.0.1", 55_555), "a client is known by its socket"
    plan.freed(dns)
    assert plan.real(dns) is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"net": "seven", "single": False, "ports": []},
        {"net": 7, "single": False, "ports": [["127.7.0.53"]]},
        {"net": 7, "single": False, "ports": 5},
        [],
    ],
)
def test_what_is_no_plan_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="loopback plan"):
        LoopbackPlan.from_json(data)


@pytest.mark.parametrize("single", [False, True])
def test_two_worlds_at_once_never_have_the_same_network(single: bool) -> None:
    plans = [claim_plan(Random(1), single=single) for _ in range(5)]
    assert single or len({plan.net for plan, _ in plans}) == 5
    for _, claim in plans:
        claim.close()


def test_a_closed_claim_frees_its_network() -> None:
    _, claim = claim_plan(Random(1))
    held = claim.local
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        with pytest.raises(OSError, match="in use"):
            other.bind((held.host, held.port))
        claim.close()
        other.bind((held.host, held.port))
