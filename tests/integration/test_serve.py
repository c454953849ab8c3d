"""``python -m cloud_stub serve``: a cloud in several processes, on true ports. Each test has an address of its own."""

import os
import signal
import socket
import ssl
from base64 import b64decode
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import dns.message
import dns.query
import ntplib  # type: ignore[import-untyped]
import pytest

from certs.make import default_dir, ensure
from emulator.remote import RemoteCloud
from emulator.wire.firmware import decode_location, encode_location_request, location_path
from tests.integration.served import WITHIN_S, Served, own_address
from tests.programs import Program, left_over, python

HUB, API, DEVICES = "zapcloud.azure-devices.net", "api.zaptec.com", "devices.zaptec.com"
VERSION = "5.4.0.1"

root = pytest.mark.needs("root")
"""Ports below 1024."""


@pytest.fixture
def address() -> str:
    """Of the loopback network, and nobody else's."""
    return own_address()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder as hub and https share it; its certificates are made already."""
    (tmp_path / "certs").symlink_to(ensure(default_dir()).path)
    return tmp_path


def refused(*options: str) -> str:
    """The one line that bad input gets."""
    with Program(*python("cloud_stub", "serve", *options)) as running:
        ended = running.ended(WITHIN_S)
    assert (ended.status, ended.output) == (2, ""), ended
    assert ended.errors.startswith("cloud_stub: ") and ended.errors.count("\n") == 1, ended.errors
    return ended.errors.removeprefix("cloud_stub: ").strip()


@root
def test_name_and_time_servers_answer_on_their_true_ports(address: str) -> None:
    with Served("dns-google,ntp-a", address) as served:
        asked = dns.message.make_query(HUB, "A")
        (answer,) = dns.query.udp(asked, address, timeout=WITHIN_S).answer
        assert [str(row) for row in answer] == ["198.51.100.88"]
        assert abs(ntplib.NTPClient().request(address, timeout=WITHIN_S).offset) < 1.0
        assert served.call("GET", "/history/dns")[1]["history"][0]["request"] == f"A {HUB}"
        assert served.call("GET", "/devices")[0] == 404, "there is no hub here"


@root
def test_a_name_server_knows_what_the_zone_file_says(address: str, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"10.9.8.7 {HUB} another.example\n")
    with Served("dns-cloudflare", address, "--zone", str(hosts)):
        for name in (HUB, "another.example"):
            (answer,) = dns.query.udp(dns.message.make_query(name, "A"), address, timeout=WITHIN_S).answer
            assert [str(row) for row in answer] == ["10.9.8.7"]


@root
def test_a_fault_goes_to_the_services_that_are_here(address: str) -> None:
    with Served("dns-google", address) as served:
        assert served.call("POST", "/faults", {"kind": "dns.silence"})[0] == 201
        with pytest.raises(dns.exception.Timeout):
            dns.query.udp(dns.message.make_query(HUB, "A"), address, timeout=0.5)
        assert served.call("DELETE", "/faults/1")[0] == 200
        assert dns.query.udp(dns.message.make_query(HUB, "A"), address, timeout=WITHIN_S).answer
        status, answer = served.call("POST", "/faults", {"kind": "ntp.silence"})
        assert (status, answer["error"]) == (400, "fault: kind: 'ntp.silence': no service has faults of this family")


@root
@pytest.mark.needs("mosquitto")
def test_hub_and_firmware_server_share_their_chargers(state: Path) -> None:
    """Made at the one, known to the other by its key; and both began at once, with nothing there."""
    hub_address, https_address = (f"127.{100 + os.getpid() % 100}.254.{number}" for number in (1, 2))
    with (
        Served("hub", hub_address, "--state", str(state), "--workers", "2") as hub,
        Served("https", https_address, "--state", str(state)) as https,
    ):
        cloud = RemoteCloud.from_ready(hub.ready)
        assert cloud.plan is None and "BEGIN CERTIFICATE" in cloud.anchors.roots_pem
        made = hub.call("POST", "/devices", {"serial": "ZPR000001"})[1]["devices"][0]
        status, offered = https.call("POST", "/firmware", {"version": VERSION})
        assert (status, offered["version"], offered["signer"]) == (200, VERSION, "firmware")
        assert hub.call("POST", "/firmware", {"version": VERSION})[0] == 404, "the firmware server is elsewhere"
        told = [each.call("GET", "/campaigns") for each in (hub, https)]
        assert [status for status, _ in told] == [404, 404]
        assert ["https" in answer["error"] for _, answer in told] == [True, True], "it says where they are to be had"
        key = b64decode(made["key"])
        found = ask_https(https_address, API, state, "POST", location_path("ZPR000001"), encode_location_request(key))
        assert decode_location(found).version == VERSION
        assert tls_name(hub_address, 8883, HUB, state) == HUB
        for name in (API, DEVICES):
            assert tls_name(https_address, 443, name, state) == name
        told = hub.call("GET", "/clients")[1]
        assert [worker["label"] for worker in told["workers"]] == ["1.1", "2.1"]


@root
def test_a_signal_ends_it_and_frees_the_ports(address: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with Served("dns-google", address) as served:
            served.send_signal(number)
            ended = served.ended()
        assert ended.status == 0, ended
        assert left_over([served.pid]) == []


@root
def test_for_people_it_says_where_it_is(address: str) -> None:
    with Program(*python("cloud_stub", "serve", "--services", "dns-google", "--address", address)) as running:
        shown = [running.line_with(key) for key in ("services", "address", "control")]
        running.send_signal(signal.SIGTERM)
        ended = running.ended()
    assert (ended.status, ended.errors) == (0, "The services are up. Ctrl-C ends them.\n")
    assert [line.split()[1] for line in shown[:2]] == ["dns-google", address]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--services", "hub,x"), "--services x: no such service; there are hub, https, dns-primary, "),
        (("--services", ""), "--services : no such service; there are hub, "),
        (("--services", "hub"), "--state: hub and https need the folder that they share"),
        (("--services", "ntp-a", "--address", "localhost"), "--address localhost: no IPv4 address"),
        (("--services", "ntp-a", "--control", "here"), "--control here: must be HOST:PORT"),
        (("--services", "ntp-a", "--control", "192.0.2.77:0"), "--control 192.0.2.77:0: Cannot assign"),
        (("--services", "ntp-a", "--address", "192.0.2.77"), "--address 192.0.2.77: services: UDP port "),
        (("--services", "dns-google", "--zone", "/nowhere"), "/nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options: tuple[str, ...], complaint: str) -> None:
    given = options if "--address" in options else ("--address", "127.0.0.1", *options)
    assert refused(*given).startswith(complaint)


@root
def test_an_address_where_the_port_is_taken_is_named(address: str) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind((address, 53))
        complaint = refused("--services", "dns-google", "--address", address)
    assert complaint == f"--address {address}: services: UDP port 53: Address already in use"


def trusting(state: Path) -> ssl.SSLContext:
    """A client of this cloud."""
    return ssl.create_default_context(cafile=str(state / "certs" / "roots.pem"))


def ask_https(at: str, name: str, state: Path, method: str, path: str, body: bytes) -> bytes:
    """What an HTTPS host answers at an address."""
    connection = HTTPSConnection(name, context=trusting(state), timeout=WITHIN_S)
    plain = socket.create_connection((at, 443), timeout=WITHIN_S)
    with closing(connection), trusting(state).wrap_socket(plain, server_hostname=name) as connection.sock:
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        return answer.read()


def tls_name(at: str, port: int, name: str, state: Path) -> str:
    """The first name in the certificate that a server shows who asks for `name`; it is verified."""
    with (
        socket.create_connection((at, port), timeout=WITHIN_S) as plain,
        trusting(state).wrap_socket(plain, server_hostname=name) as tls,
    ):
        shown = tls.getpeercert()
    assert shown is not None
    return str(shown["subjectAltName"][0][1])
