"""Random values that a field of a fault accepts, from what its type says; what a type cannot say has a row here."""

import math
from collections.abc import Callable, Mapping
from random import Random
from string import ascii_lowercase
from typing import Any

from pydantic import TypeAdapter

from emulator.faults import Fault

Draw = Callable[[Random], Any]

SHARED = frozenset({"who", "probability", "for_s", "count"})
"""Fields that every fault has; the swarm sets them itself."""

LARGE = 1e4
"""Where a number has no upper bound, or one far beyond the time that a case takes, it is drawn below this."""

ADDRESSES = ("10.20.0.99", "192.0.2.7", "203.0.113.1")
"""Somewhere on the site, and nowhere."""

HOSTS = ("zapcloud.azure-devices.net", "api.zaptec.com", "8.8.8.8", "198.51.100.123")
PORTS = (53, 68, 123, 443, 8883)

BY_NAME: Mapping[str, Draw] = {
    "host": lambda rng: rng.choice(HOSTS),
    "hosts": lambda rng: rng.sample(HOSTS, 2),
    "dns": lambda rng: rng.choice(ADDRESSES),
    "address": lambda rng: rng.choice(ADDRESSES),
    "addresses": lambda rng: rng.sample(ADDRESSES, 2),
    "port": lambda rng: rng.choice(PORTS),
    "ports": lambda rng: rng.sample(PORTS, 2),
    "allow": lambda rng: rng.sample(("udp/53", "tcp/53", "udp/123", "tcp/443", "tcp/8883"), rng.randint(1, 4)),
    "access_point": lambda rng: rng.choice(("ap-1", "*")),
    "gateway": lambda rng: rng.choice(("gateway-1", "*")),
    "operator": lambda rng: rng.choice(("home", "elsewhere")),
    "dhcp.hex": lambda rng: rng.randbytes(rng.randint(1, 8)).hex(),
    "ntp.code": lambda rng: rng.choice(("DENY", "RATE", "RSTR")),
    "hub.code": lambda rng: rng.randint(1, 5),
    "dns.server": lambda rng: rng.choice(("primary", "operator", "google", "cloudflare", "*")),
    "ntp.server": lambda rng: rng.choice(("a", "b", "c", "d", "*")),
}
"""What makes sense where a type says too little, by the name of the field or by family and name."""


def draw_fault(cls: type[Fault], rng: Random) -> dict[str, Any]:
    """A random fault of this kind as data. LookupError: a field's type says too little; give it bounds or a row."""
    schema = _schema(cls)
    required = set(schema.get("required", ()))
    fault: dict[str, Any] = {"kind": cls.kind}
    for name, field in schema["properties"].items():
        if name not in SHARED and (name in required or rng.random() < 0.7):
            fault[name] = _draw(cls, name, field, schema.get("$defs", {}), rng)
    return fault


_SCHEMAS: dict[str, dict[str, Any]] = {}
"""Kind to what its fields accept: dear to work out, and asked for thousands of times."""


def _schema(cls: type[Fault]) -> dict[str, Any]:
    if cls.kind not in _SCHEMAS:
        _SCHEMAS[cls.kind] = TypeAdapter(cls).json_schema()
    return _SCHEMAS[cls.kind]


def _draw(cls: type[Fault], name: str, field: Mapping[str, Any], defs: Mapping[str, Any], rng: Random) -> Any:
    known = BY_NAME.get(f"{cls.kind.partition('.')[0]}.{name}") or BY_NAME.get(name)
    if known is not None:
        return known(rng)
    if "$ref" in field:
        return _draw(cls, name, defs[field["$ref"].rpartition("/")[2]], defs, rng)
    if "anyOf" in field:
        ways = [each for each in field["anyOf"] if each != {"type": "null"}]
        return _draw(cls, name, rng.choice(ways), defs, rng)
    if "const" in field:
        return field["const"]
    if "enum" in field:
        return rng.choice(field["enum"])
    match field.get("type"):
        case "boolean":
            return rng.random() < 0.5
        case "integer":
            return round(_number(field, rng))
        case "number":
            return _number(field, rng)
        case "array":
            count = rng.randint(field.get("minItems", 1), min(field.get("maxItems", 3), 3))
            return [_draw(cls, name, field["items"], defs, rng) for _ in range(count)]
        case "string" if "pattern" not in field and "maxLength" in field:
            return "".join(rng.choices(ascii_lowercase, k=rng.randint(field.get("minLength", 0), field["maxLength"])))
        case kind:
            raise LookupError(f"{cls.kind}.{name}: {kind} without bounds: the swarm cannot draw it")


def _number(field: Mapping[str, Any], rng: Random) -> float:
    """Any that is allowed; where the range is wide, each size is as likely as another."""
    low = field.get("minimum", field.get("exclusiveMinimum", 0.0))
    high = field.get("maximum", field.get("exclusiveMaximum", LARGE))
    if low >= 0 and high > LARGE:
        high = max(LARGE, low * 10)
    if low >= 0 and high > 100 * max(low, 1):
        number = math.exp(rng.uniform(math.log(max(low, 0.01)), math.log(high)))
    else:
        number = rng.uniform(low, high)
    return min(max(number, low * 1.001 if low > 0 else low), high * 0.999 if high > 0 else high)
