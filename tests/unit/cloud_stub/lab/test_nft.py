"""The router of the lab as text, and what of a site's troubles it takes on. What it does: `test_lab_router`."""

from pathlib import Path
from typing import Any

import pytest

from cloud_stub.lab import nft, segments
from cloud_stub.lab.nft import Translation
from cloud_stub.lab.nft_faults import IN_USER_SPACE, RULES, TAKEN, Scene, name_of, table_of
from cloud_stub.lab.outside import chronyd, dnsmasq
from cloud_stub.lab.segments import Behind
from cloud_stub.topology import Topology
from emulator.faults import fault_from
from emulator.net.place import Router
from emulator.net.surroundings import FAULTS
from emulator.profile import load_profile
from emulator.remote import mac_of

TOPOLOGY = Topology(segments.LAN_PREFIX, outside=segments.PUBLIC_PREFIX)
SERIAL = "ZPR000001"
SCENE = Scene(
    addresses={"two.example": ("198.51.100.1", "198.51.100.2")}.__getitem__,
    link_address=mac_of,
    portal=TOPOLOGY.portal,
    proxy=TOPOLOGY.proxy,
    stray="drop",
)


def rules(kind: str, number: int = 7, **more: Any) -> str:
    return table_of(fault_from({"kind": kind, **more}, TAKEN), number, SCENE)


def test_every_trouble_between_charger_and_internet_is_the_routers_or_has_a_reason_not_to_be() -> None:
    for kind in FAULTS:
        family = kind.partition(".")[0]
        assert (kind in TAKEN) != (kind in IN_USER_SPACE or f"{family}.*" in IN_USER_SPACE), kind
    assert set(TAKEN) == {fault.kind for fault in RULES}


def test_the_readme_says_what_stays_in_user_space() -> None:
    readme = Path("README.md").read_text(encoding="utf-8")
    for kind, why in IN_USER_SPACE.items():
        assert f"| `{kind}` | {why} |" in readme


def test_a_fault_is_about_one_charger_by_the_mark_of_its_flows() -> None:
    mark = f"ct mark {nft.mark_of(mac_of(SERIAL)):#010x}"
    for kind in ("site.block", "site.nat_full", "site.half_open", "site.captive_portal"):
        assert mark in rules(kind, who=SERIAL)
        assert "ct mark" not in rules(kind)
    assert f"ether saddr {mac_of(SERIAL)}" in rules("site.nat_reboot", who=SERIAL)


def test_two_chargers_have_two_marks() -> None:
    marks = {nft.mark_of(mac_of(f"ZPR{number:06}")) for number in range(1000)}
    assert len(marks) == 1000
    assert max(marks) < 2**32


def test_a_name_stands_for_all_its_addresses() -> None:
    assert "ct original ip daddr { 198.51.100.1, 198.51.100.2 }" in rules("site.block", host="two.example")


def test_faults_strike_in_the_order_of_their_injection() -> None:
    assert "priority filter + 8;" in rules("site.block", 7)
    assert "priority filter + 9;" in rules("site.block", 8)
    assert name_of(7) in rules("site.block", 7)


def test_a_portal_is_before_a_proxy() -> None:
    assert "priority dstnat + 7;" in rules("site.captive_portal", 7)
    assert "priority dstnat + 100006;" in rules("site.intercept", 6)


def test_the_kernel_counts_whole_seconds_and_never_too_few() -> None:
    settings = nft.settings(Router(tcp_idle_s=7439.2, udp_idle_s=0.5), Translation.ONE_TO_ONE)
    assert settings["netfilter/nf_conntrack_tcp_timeout_established"] == "7440"
    assert settings["netfilter/nf_conntrack_udp_timeout"] == "1"


@pytest.mark.parametrize(("stray", "loose"), [("drop", "0"), ("reset", "0"), ("adopt", "1")])
def test_strays_are_adopted_only_where_the_router_does_so(stray: str, loose: str) -> None:
    router = Router.model_validate({"stray": stray})
    assert nft.settings(router, Translation.MASQUERADE)["netfilter/nf_conntrack_tcp_loose"] == loose
    assert ("with tcp reset" in nft.ruleset(TOPOLOGY, router, Translation.MASQUERADE)) is (stray == "reset")


def test_without_translation_nothing_is_filtered_or_moved() -> None:
    text = nft.ruleset(TOPOLOGY, Router(nat=False), Translation.NONE)
    assert "snat" not in text
    assert "drop" not in text


def test_every_machine_of_a_world_has_its_place_and_a_name_for_its_wire() -> None:
    network = load_profile().network
    machines = {
        **{f"dns-{label}": address for label, address in TOPOLOGY.dns.items()},
        **{f"ntp-{label}": address for label, address in TOPOLOGY.ntp.items()},
        **TOPOLOGY.https(network),
        "hub": TOPOLOGY.hub,
        "portal": TOPOLOGY.portal,
    }
    ports = {segments.port_name(name) for name in machines}
    assert len(ports) == len(machines)
    assert all(len(port) <= segments.INTERFACE_NAME_MAX for port in ports)
    places = {name: segments.behind(address, TOPOLOGY) for name, address in machines.items()}
    assert {name for name, place in places.items() if place is Behind.SITE} == {"dns-primary", "portal"}
    assert {name for name, place in places.items() if place is Behind.CELL} == {"dns-operator"}


def test_a_public_address_is_that_of_the_charger_inside() -> None:
    assert TOPOLOGY.inside("100.65.16.1") == "10.20.16.1"
    assert TOPOLOGY.inside("100.64.16.1") == "100.64.16.1"
    assert Topology(segments.LAN_PREFIX).inside("100.65.16.1") == "100.65.16.1"


def test_outside_programs_read_nothing_of_the_machines_own_configuration() -> None:
    lent = dnsmasq(TOPOLOGY)
    assert "--conf-file=/dev/null" in lent
    assert {"--no-resolv", "--no-hosts", "--leasefile-ro"} <= set(lent)
    assert "--server=8.8.8.8" in lent
    assert "pidfile /tmp/x" in chronyd(Path("/tmp/x"))
    assert "-x" in chronyd(Path("/tmp/x")), "the machine's clock is left alone"
