"""What breaks at the site's router, as nftables: each fault is a table of its own, there for as long as it is. Pure.

A table comes and goes in one step, and whatever its sets and limits remember goes with it. Flows carry the mark of the
charger that began them (`nft.ruleset`), so a rule knows whose packet it has, in both directions.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from cloud_stub.lab.nft import mark_of
from cloud_stub.lab.segments import LAN_PORT, WAN_PORT
from emulator.faults import Fault
from emulator.net.detour import DNS_PORT, HTTPS_PORT, PORTAL_PORTS, CaptivePortal, Intercept
from emulator.net.firewall import DHCP_SERVER_PORT, AllowOnly, Block, parse_allowed
from emulator.net.nat import NatFull, NatReboot, NatTimeout
from emulator.net.path import HalfOpen, MtuBlackHole
from emulator.wire.address import Address

FLOWS_MAX = 65_536
"""How many flows a fault can remember."""
REMEMBERED = "1d"
ODDS = 1_000_000
ANY = "meta l4proto { tcp, udp }"
FORWARD, INPUT, DETOUR = "forward", "input", "prerouting"

Stray = Literal["drop", "reset", "adopt"]


@dataclass(frozen=True, slots=True)
class Scene:
    """What rules need to know of the site."""

    addresses: Callable[[str], tuple[str, ...]]
    """Of a host that a fault names."""
    link_address: Callable[[str], str]
    """Of a charger, by its serial."""
    portal: str
    proxy: str
    stray: Stray
    """What the router does with packets of flows that it has forgotten."""


def table_of(fault: Fault, number: int, scene: Scene) -> str:
    """The table of the fault with this number, to be added as it is."""
    parts = RULES[type(fault)](fault, number, scene)
    return "\n".join((f"table inet {name_of(number)} {{", *parts, "}"))


def name_of(number: int) -> str:
    """What the table of a fault is called."""
    return f"fault{number}"


def _block(fault: Fault, number: int, scene: Scene) -> list[str]:
    rule = cast(Block, fault)
    protocol = ANY if rule.protocol == "*" else f"meta l4proto {rule.protocol}"
    match = _all(_who(rule, scene), protocol, _meant(rule.host, rule.port, scene), _odds(rule))
    return [*_refusing(rule.action), *_judged(number, [f"{match} goto refuse"])]


def _allow_only(fault: Fault, number: int, scene: Scene) -> list[str]:
    only = cast(AllowOnly, fault)
    allowed = [
        _all(f"meta l4proto {entry.protocol}", _meant(entry.host, entry.port, scene), "return")
        for entry in map(parse_allowed, only.allow)
    ]
    sift = _chain("sift", [*allowed, f"{ANY} goto refuse"])
    return [*_refusing(only.action), *sift, *_judged(number, [_all(_who(only, scene), "jump sift")])]


def _nat_timeout(fault: Fault, number: int, scene: Scene) -> list[str]:
    """A flow dies `timeout_s` after a packet of it: those that there were before, from their next packet on.

    The kernel counts its own timeouts in whole seconds and for all flows alike; the elements of a set do better.
    """
    forgets = cast(NatTimeout, fault)
    protocol = ANY if forgets.protocol == "*" else f"meta l4proto {forgets.protocol}"
    flow = _all(_who(forgets, scene), protocol)
    keep_ms = max(1, round(forgets.timeout_s * 1000))
    reset = f"iifname {LAN_PORT} meta l4proto tcp reject with tcp reset"
    strays = {"adopt": [f"iifname {LAN_PORT} return"], "reset": [reset], "drop": []}[scene.stray]
    return [
        *_flows("noted"),
        *_flows("alive"),
        *_chain("forgotten", [f"iifname {LAN_PORT} meta l4proto udp return", *strays, "drop"]),
        *_hooked(
            FORWARD,
            number,
            [
                f"{flow} ct id @noted ct id != @alive jump forgotten",
                f"{flow} update @noted {{ ct id }} update @alive {{ ct id timeout {keep_ms}ms }}",
            ],
        ),
    ]


def _nat_reboot(fault: Fault, number: int, scene: Scene) -> list[str]:
    """Nothing gets in from the LAN, DHCP neither; what comes from outside has no flow any more (`Gateway` flushes).

    At the ingress, because servers of DHCP may hear whole frames, which no later hook sees.
    """
    who = "" if fault.who == "*" else f"ether saddr {scene.link_address(fault.who)}"
    return _hooked(f"ingress device {LAN_PORT}", number, [_all("meta protocol ip", who, "drop")], priority="0")


def _nat_full(fault: Fault, number: int, scene: Scene) -> list[str]:
    return _judged(number, [_all(_who(fault, scene), ANY, "ct state new", _odds(fault), "drop")])


def _captive_portal(fault: Fault, number: int, scene: Scene) -> list[str]:
    who = _who(fault, scene)
    taken = ", ".join(map(str, sorted(PORTAL_PORTS)))
    here = f"iifname {LAN_PORT}"
    return [
        *_detour(
            number,
            [
                _all(here, who, f"udp dport {DNS_PORT} dnat ip to {scene.portal}"),
                _all(here, who, f"tcp dport {{ {taken} }} dnat ip to {scene.portal}"),
            ],
            band=0,
        ),
        *_judged(number, [_all(who, ANY, f"ct reply ip saddr != {scene.portal} drop")]),
    ]


def _intercept(fault: Fault, number: int, scene: Scene) -> list[str]:
    taken = cast(Intercept, fault)
    ports = ", ".join(map(str, sorted(set(taken.ports))))
    hosts = [address for host in taken.hosts for address in scene.addresses(host)]
    proxy = Address(scene.proxy, HTTPS_PORT)
    rule = _all(
        f"iifname {LAN_PORT}",
        _who(taken, scene),
        _in("ip daddr", hosts),
        f"tcp dport {{ {ports} }} dnat ip to {proxy}",
    )
    return _detour(number, [rule], band=1)


def _mtu_black_hole(fault: Fault, number: int, scene: Scene) -> list[str]:
    hole = cast(MtuBlackHole, fault)
    way = {"up": f"iifname {LAN_PORT}", "down": f"oifname {LAN_PORT}", "*": ""}[hole.way]
    size = f"meta length > {hole.mtu_bytes}"
    match = _all(_who(hole, scene), way, "meta l4proto tcp", _meant(hole.host, hole.port, scene), size)
    return _hooked(FORWARD, number, [f"{match} drop"])


def _half_open(fault: Fault, number: int, scene: Scene) -> list[str]:
    flow = _all(_who(fault, scene), "meta l4proto tcp")
    fresh = [f"{flow} ct state new update @since {{ ct id }}", f"{flow} ct id != @since drop"]
    return [*_flows("since"), *_hooked(FORWARD, number, [*fresh, f"{flow} update @since {{ ct id }}"])]


RULES: Mapping[type[Fault], Callable[[Fault, int, Scene], list[str]]] = {
    Block: _block,
    AllowOnly: _allow_only,
    NatTimeout: _nat_timeout,
    NatReboot: _nat_reboot,
    NatFull: _nat_full,
    CaptivePortal: _captive_portal,
    Intercept: _intercept,
    MtuBlackHole: _mtu_black_hole,
    HalfOpen: _half_open,
}
"""Fault to its chains and sets."""

TAKEN: Mapping[str, type[Fault]] = {fault.kind: fault for fault in RULES}
"""Kind -> fault, of all that the router's nftables do."""

IN_USER_SPACE: Mapping[str, str] = {
    "site.reset": "it tells both ends; nftables can answer only who has sent a packet",
    "link.*": "there is no sch_netem in every kernel, and it would know neither kind of link nor seed",
    "wifi.*": "a radio: association, signal, channels and strangers are a model",
    "lte.*": "a modem, its SIM and its cell are a model; the operator's network behind it is real",
    "plc.*": "modems on power lines are a model",
}
"""What is still done beside the charger's sockets, as in the other worlds, and why."""


def _all(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _in(what: str, values: Iterable[object]) -> str:
    listed = ", ".join(map(str, values))
    return f"{what} {{ {listed} }}" if listed else ""


def _who(fault: Fault, scene: Scene) -> str:
    return "" if fault.who == "*" else f"ct mark {mark_of(scene.link_address(fault.who)):#010x}"


def _meant(host: str | None, port: int | None, scene: Scene) -> str:
    """To whom the charger has opened the flow, whoever it really reaches."""
    return _all(
        "" if host is None else _in("ct original ip daddr", scene.addresses(host)),
        "" if port is None else f"ct original proto-dst {port}",
    )


def _odds(fault: Fault) -> str:
    """Probability, and how many times: tokens that come back once a week."""
    chance = round(fault.probability * ODDS)
    return _all(
        "" if chance >= ODDS else f"numgen random mod {ODDS} < {chance}",
        "" if fault.count is None else f"limit rate 1/week burst {fault.count} packets",
    )


def _refusing(action: str) -> list[str]:
    """A SYN is rejected with a RST, everything else is dropped (`emulator.net.firewall.Verdict`)."""
    reject = ["tcp flags & (syn | ack) == syn reject with tcp reset"] if action == "reject" else []
    return _chain("refuse", [*reject, "drop"])


def _judged(number: int, rules: list[str]) -> list[str]:
    """For all that chargers send, the router's own services but DHCP included, and for the answers."""
    own = _all(f"iifname {LAN_PORT}", f"udp dport {DHCP_SERVER_PORT}", "accept")
    return [*_hooked(FORWARD, number, rules), *_hooked(INPUT, number, [own, f"iifname {WAN_PORT} accept", *rules])]


def _flows(name: str) -> list[str]:
    return [f" set {name} {{ typeof ct id; flags dynamic, timeout; timeout {REMEMBERED}; size {FLOWS_MAX}; }}"]


def _detour(number: int, rules: list[str], *, band: int) -> list[str]:
    """Of several detours the first in the lowest band is taken."""
    return _hooked(DETOUR, number, rules, kind="nat", priority=f"dstnat + {band * 100_000 + number % 100_000}")


def _hooked(
    hook: str, number: int, rules: list[str], *, kind: str = "filter", priority: str | None = None
) -> list[str]:
    """A chain that sees packets: those of faults that came first see them first, after the router's own."""
    order = f"filter + {1 + number % 100_000}" if priority is None else priority
    return _chain(f"at_{hook.split()[0]}", [f"type {kind} hook {hook} priority {order}; policy accept;", *rules])


def _chain(name: str, rules: list[str]) -> list[str]:
    return [f" chain {name} {{", *(f"  {rule}" for rule in rules), " }"]
