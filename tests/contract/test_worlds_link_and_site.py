"""Links, and what a site's network does, in both worlds. How to add a row: `tests.contract.test_worlds`."""

from typing import Any

import pytest

from emulator.net.surroundings import FAULTS
from tests.contract.worlds import (
    LTE,
    OFFLINE,
    ONLINE,
    PASSES,
    PLC,
    WIFI,
    Case,
    agree,
    before,
    degrades,
    kinds,
    passed,
    passes,
    stops,
)

DROP_MQTT = {"kind": "site.block", "protocol": "tcp", "port": 8883}


def loses(why: str, *faults: dict[str, Any], back: str = "names", **more: Any) -> Case:
    """The session is lost once the charger is online; then all is healed."""
    rows = (*PASSES, ("session", "lost", why), *passed(start=back))
    return Case(**{"faults": faults, "rows": rows, "strikes": ONLINE, "heals": OFFLINE, **more})


LINKS: dict[str, Case] = {
    "the cable is out": stops("link", "no_carrier", {"kind": "link.down"}),
    "the cable is pulled while online": loses("reset", {"kind": "link.down"}, back="link"),
    "the cable is loose": stops("link", "no_carrier", {"kind": "link.flapping", "down_s": 0.3, "up_s": 60.0}),
    "nothing passes": stops("address", "no_offer", {"kind": "link.lossy", "loss": 1.0}),
    "nothing passes in time": stops("address", "no_offer", {"kind": "link.slow", "delay_s": 2.0}),
    "every packet in pieces": passes({"kind": "link.mtu", "mtu_bytes": 576}),
    "a slow line": passes({"kind": "link.rate", "rate_bps": 64_000.0}),
    "nothing is broken on Wi-Fi": passes(local=WIFI),
    "the network has another name": stops("link", "ssid_not_found", {"kind": "wifi.ssid_changed"}, local=WIFI),
    "the network is on channel 13": stops("link", "ssid_not_found", {"kind": "wifi.channel"}, local=WIFI),
    "the password is another": stops("link", "wifi_password", {"kind": "wifi.password_changed"}, local=WIFI),
    "too far from the access point": stops("link", "wifi_weak", {"kind": "wifi.signal", "dbm": -85.0}, local=WIFI),
    "the band is noisy": stops("link", "wifi_weak", {"kind": "wifi.noise", "db": 40.0}, local=WIFI),
    "no room for one more client": stops("link", "wifi_full", {"kind": "wifi.full"}, local=WIFI),
    "strangers on the access point": passes({"kind": "wifi.strangers"}, local=WIFI),
    "the access point restarts while online": loses("reset", {"kind": "wifi.ap_reboot"}, local=WIFI, back="link"),
    "out of reach of the access point, and a cable": degrades(
        "link", "fallback_link", local={**WIFI, "fallback": ["ethernet"]}, place={"wifi.signal_dbm": -85.0}
    ),
    "nothing is broken on LTE-M": passes(local=LTE),
    "LTE-M at a site whose DHCP server is silent": passes({"kind": "dhcp.silence"}, local=LTE),
    "no SIM": stops("link", "sim_absent", {"kind": "lte.sim", "state": "absent"}, local=LTE),
    "a SIM that is not active": stops("link", "sim_inactive", {"kind": "lte.sim"}, local=LTE),
    "only a partner's network": stops(
        "link", "roaming_denied", {"kind": "lte.roaming"}, local={**LTE, "roaming": False}
    ),
    "the modem hangs": stops("link", "modem_silent", {"kind": "lte.modem_hung"}, local=LTE),
    "the network ends the attachment": loses("reset", {"kind": "lte.detach"}, local=LTE, back="link"),
    "PPP hangs": Case(
        faults=({"kind": "lte.ppp_stuck"},),
        rows=(*before("address"), ("address", "failed", "no_offer"), *PASSES),
        local=LTE,
    ),
    "nothing is broken on PLC": passes(local=PLC),
    "the gateway has no power": stops("link", "plc_no_gateway", {"kind": "plc.gateway_down"}, local=PLC),
    "the gateway has another key": stops("link", "plc_key", {"kind": "plc.key_changed"}, local=PLC),
    "other conductors": stops("link", "plc_wiring", {"kind": "plc.phases"}, local=PLC),
    "the line is noisy": stops("link", "plc_noise", {"kind": "plc.noise", "db": 60.0}, local=PLC),
    "no room for one more node": stops("link", "plc_full", {"kind": "plc.full"}, local=PLC),
    "two gateways": passes({"kind": "plc.second_gateway"}, local=PLC),
    "a gateway on LTE-M": degrades(
        "link",
        "fallback_link",
        local={**PLC, "fallback": ["ethernet"]},
        setup={"plc.gateways": [{"uplink": "lte"}]},
    ),
}

SITES: dict[str, Case] = {
    "port dropped": stops("hub", "timed_out", DROP_MQTT),
    "port rejected": stops("hub", "refused", {**DROP_MQTT, "action": "reject"}),
    "nobody has logged in at the guest network": stops("time", "ntp_silent", {"kind": "site.captive_portal"}),
    "only names and web pages": stops(
        "time", "ntp_silent", {"kind": "site.allow_only", "allow": ["udp/53", "tcp/443"]}
    ),
    "everything but the hub": stops(
        "hub",
        "refused",
        {"kind": "site.allow_only", "allow": ["udp/53", "udp/123", "tcp/443"], "action": "reject"},
    ),
    "a proxy that inspects TLS": stops("hub", "tls_unknown_ca", {"kind": "site.intercept", "ports": [8883]}),
    "big packets vanish": stops("hub", "timed_out", {"kind": "site.mtu_black_hole", "port": 8883}),
    "forged resets": stops("hub", "reset", {"kind": "site.reset", "port": 8883}),
    "no room in the router's table": stops("names", "dns_silent", {"kind": "site.nat_full"}),
    "the router is off": stops("address", "no_offer", {"kind": "site.nat_reboot"}),
    "the router restarts while online": loses(
        "timed_out", {"kind": "site.nat_reboot", "for_s": 0.5}, changes={"hub.keep_alive_s": 1}
    ),
    "the router forgets at once": loses(
        "timed_out",
        {"kind": "site.nat_timeout", "timeout_s": 0.2, "protocol": "tcp"},
        changes={"hub.keep_alive_s": 1},
    ),
    "the router forgets at once, and says so": loses(
        "reset",
        {"kind": "site.nat_timeout", "timeout_s": 0.2, "protocol": "tcp"},
        changes={"hub.keep_alive_s": 1},
        setup={"router.stray": "reset"},
    ),
    "half-open": loses("timed_out", {"kind": "site.half_open"}, changes={"hub.keep_alive_s": 1}),
}

CASES = {**LINKS, **SITES}

NOT_HERE = {"lte.coverage", "lte.garage_door"}
"""A modem without a cell searches for half a minute of real time; `tests/sim/test_links.py` tells of it."""


@pytest.mark.parametrize("case", CASES)
def test_both_worlds_tell_what_the_table_says(told, case: str) -> None:
    agree(told, case, CASES[case])


def test_every_fault_has_a_row() -> None:
    assert set(FAULTS) - kinds(CASES) == NOT_HERE
