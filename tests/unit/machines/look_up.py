"""Queries of a look-up and what servers say to them, for tests of the resolver."""

from random import Random
from typing import Any

from emulator.machines.effects import Effect, Send
from emulator.machines.resolver import AskOverTcp, Resolution
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.dns import Answer, Query, decode_query, encode_query, encode_reply

HUB = "zapcloud.azure-devices.net"
PRIMARY, GOOGLE, CLOUDFLARE = Address("192.168.40.1", 53), Address("8.8.8.8", 53), Address("1.1.1.1", 53)
SERVERS = [PRIMARY, GOOGLE, CLOUDFLARE]
TIMING = load_profile("pro").dns
STRANGER = Address("192.168.40.66", 53)
EMPTY = Answer()


def resolution(name: str = HUB, servers: list[Address] = SERVERS, seed: int = 1, **more: Any) -> Resolution:
    return Resolution(name, servers, TIMING, Random(seed), **more)


def sent(effects: list[Effect]) -> Send:
    (send,) = effects
    assert isinstance(send, Send)
    return send


def due(machine: Resolution) -> float:
    deadline = machine.deadline()
    assert deadline is not None
    return deadline


def good(query: Send | AskOverTcp) -> bytes:
    return said(query, Answer(addresses=("40.74.0.1", "40.74.0.2"), ttl_s=60))


def said(query: Send | AskOverTcp, answer: Answer = EMPTY, **changes: Any) -> bytes:
    """The server's answer to a query; `changes` are those of the query that it seems to answer."""
    data = query.data if isinstance(query, Send) else query.query
    asked = decode_query(data)
    if changes:
        data = encode_query(Query(changes.get("query_id", asked.query_id), changes.get("question", asked.question)))
    return encode_reply(data, answer)


def over_tcp(effects: list[Effect]) -> AskOverTcp:
    (ask,) = effects
    assert isinstance(ask, AskOverTcp)
    return ask


def truncated(servers: list[Address] = SERVERS, **more: Any) -> tuple[Resolution, AskOverTcp]:
    """A look-up whose first server has said that its answer does not fit."""
    machine = resolution(servers=servers, **more)
    query = sent(machine.start(0.0))
    return machine, over_tcp(machine.receive(said(query, Answer(truncated=True)), PRIMARY, 0.1))
