"""The way that Azure's SDKs take to the hub: it leads to the cloud, and nowhere else."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.azure.sdk import ProxyProgram
from tests.programs import CloudProgram, Ended, Program, python

WITHIN_S = 10.0
NO_LOGIN = b"\x05\x01\x00"
ANYWHERE = bytes(6)


@pytest.fixture(scope="module")
def ways() -> Iterator[tuple[CloudProgram, ProxyProgram]]:
    with CloudProgram("--bus", "local") as cloud, ProxyProgram(cloud) as proxy:
        yield cloud, proxy
        proxy.press_ctrl_c()
        assert proxy.ended() == Ended(0, "", "")


def request(name: bytes, port: int, command: int = 1) -> bytes:
    """A SOCKS 5 request for a host by its name."""
    return bytes((5, command, 0, 3, len(name))) + name + port.to_bytes(2)


def answer(port: int, *sent: bytes) -> bytes:
    """All that the proxy says before it closes; nothing, if it resets because something is left unread."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)) as client:
        client.sendall(b"".join(sent))
        with client.makefile("rb") as reader, suppress(ConnectionResetError):
            return reader.read()
    return b""


@pytest.mark.parametrize("port", [8883, 443])
def test_the_name_of_the_hub_leads_to_its_ports(ways, port: int) -> None:
    cloud, proxy = ways
    with closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=WITHIN_S)) as client:
        client.sendall(NO_LOGIN + request(cloud.ready["hub"].upper().encode(), port))
        greeted = b"\x05\x00" + b"\x05\x00\x00\x01" + ANYWHERE
        with client.makefile("rb") as reader:
            assert reader.read(len(greeted)) == greeted


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (request(b"example.com", 443), 4),
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", 4),  # 127.0.0.1
        (b"\x05\x01\x00\x04" + bytes(16) + b"\x01\xbb", 4),  # ::
        (request(b"zapcloud.azure-devices.net", 22), 5),
        (request(b"zapcloud.azure-devices.net", 8883, command=2), 7),  # BIND
    ],
)
def test_nothing_else_is_reached(ways, asked: bytes, code: int) -> None:
    _, proxy = ways
    assert answer(proxy.port, NO_LOGIN, asked) == b"\x05\x00" + bytes((5, code, 0, 1)) + ANYWHERE


@pytest.mark.parametrize("sent", [b"\x04\x01\x22\xb3", b"GET / HTTP/1.1\r\n\r\n", b"\x05\x01\x00\x05\x01\x00\x07"])
def test_what_is_not_socks_5_is_closed(ways, sent: bytes) -> None:
    _, proxy = ways
    assert answer(proxy.port, sent) in (b"", b"\x05\x00")


def test_without_a_cloud_it_says_so() -> None:
    with Program(*python("tests.azure.proxy", "--control", "http://127.0.0.1:1")) as running:
        ended = running.ended()
    assert ended.status == 2 and "--control http://127.0.0.1:1: " in ended.errors
