"""A SOCKS5 proxy into a running cloud, for programs that insist on the hub's own name and on ports 8883 and 443.

``python -m tests.azure.proxy --control URL`` prints one JSON line with its port, and with what a program needs in its
environment to take this way and to trust the cloud; it serves until it is ended. It knows the names that the cloud's
DNS servers know and no others, so nothing that goes through it leaves this machine.
"""

import argparse
import asyncio
import contextlib
import json
import signal
from asyncio import StreamReader, StreamWriter
from enum import IntEnum

import httpx

from cloud_stub.topology import Topology
from emulator.net.api import Address
from emulator.net.plan import LoopbackPlan, Real
from emulator.profile import load_profile

HOST = "127.0.0.1"
VERSION, CONNECT = 5, 1  # RFC 1928
CHUNK_BYTES = 65_536
GREETING_S = 10.0


class Kind(IntEnum):
    """What a request names its host by (RFC 1928 section 5)."""

    IPV4 = 1
    NAME = 3
    IPV6 = 4


ADDRESS_BYTES = {Kind.IPV4: 4, Kind.IPV6: 16}


class Reply(IntEnum):
    """What becomes of a request (RFC 1928 section 6)."""

    SUCCEEDED = 0
    HOST_UNREACHABLE = 4
    REFUSED = 5
    NO_SUCH_COMMAND = 7


class Way:
    """Finds the real socket of a host name and a port of the cloud's world."""

    def __init__(self, loopback: dict[str, object]) -> None:
        self._plan = LoopbackPlan.from_json(loopback)
        self._zone = Topology(self._plan.prefix).zone(load_profile().network)

    def to(self, name: str, port: int) -> Real | None:
        """None: the cloud has no such name."""
        addresses = self._zone.get(name.lower())
        return self._plan.real(Address(addresses[0], port)) if addresses else None


def environment(port: int, ca: str) -> dict[str, str]:
    """Variables that the libraries below Azure's SDKs read: paho-mqtt, requests with PySocks, OpenSSL."""
    return {
        "mqtt_proxy": f"socks://{HOST}:{port}",  # paho-mqtt
        "https_proxy": f"socks5h://{HOST}:{port}",  # requests
        "no_proxy": "",
        "SSL_CERT_FILE": ca,  # OpenSSL, for paho-mqtt
        "REQUESTS_CA_BUNDLE": ca,  # requests
    }


async def serve(way: Way, reader: StreamReader, writer: StreamWriter) -> None:
    """One client, from its greeting to the end of both directions."""
    with contextlib.closing(writer), contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
        async with asyncio.timeout(GREETING_S):
            to = await _asked(reader, writer)
        if to is None:
            return _answer(writer, Reply.NO_SUCH_COMMAND)
        real = way.to(*to)
        if real is None:
            return _answer(writer, Reply.HOST_UNREACHABLE)
        try:
            cloud_reader, cloud_writer = await asyncio.open_connection(*real)
        except OSError:
            return _answer(writer, Reply.REFUSED)
        with contextlib.closing(cloud_writer):
            _answer(writer, Reply.SUCCEEDED)
            await asyncio.gather(_copy(reader, cloud_writer), _copy(cloud_reader, writer))


async def _asked(reader: StreamReader, writer: StreamWriter) -> tuple[str, int] | None:
    """Where the client wants to go; None for anything but CONNECT. ValueError for what is not SOCKS 5."""
    version, methods = await reader.readexactly(2)
    if version != VERSION:
        raise ValueError(f"SOCKS {version}")
    await reader.readexactly(methods)
    writer.write(bytes((VERSION, 0)))  # no login
    _, command, _, kind = await reader.readexactly(4)
    length = (await reader.readexactly(1))[0] if kind == Kind.NAME else ADDRESS_BYTES[Kind(kind)]
    host = await reader.readexactly(length)
    port = int.from_bytes(await reader.readexactly(2))
    name = host.decode("ascii", "replace") if kind == Kind.NAME else ""  # nothing is known by its address
    return (name, port) if command == CONNECT else None


def _answer(writer: StreamWriter, reply: Reply) -> None:
    writer.write(bytes((VERSION, reply, 0, Kind.IPV4)) + bytes(4 + 2))  # bound to 0.0.0.0:0, which nobody reads


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass one direction on until its end, and pass the end on: a reset stays a reset."""
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def _run(way: Way, port: int, ca: str) -> None:
    server = await asyncio.start_server(lambda reader, writer: serve(way, reader, writer), HOST, port)
    bound = server.sockets[0].getsockname()[1]
    print(json.dumps({"host": HOST, "port": bound, "environment": environment(bound, ca)}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.azure.proxy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--control", required=True, help="URL of the cloud's control API")
    parser.add_argument("--port", type=int, default=0, help="where to listen on 127.0.0.1; any free port if not given")
    options = parser.parse_args()
    try:
        ready = httpx.get(options.control.rstrip("/") + "/ready", trust_env=False).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        parser.error(f"--control {options.control}: {error}")
    asyncio.run(_run(Way(ready["loopback"]), options.port, ready["ca"]))


if __name__ == "__main__":
    main()
