"""Our DHCP client against dnsmasq: two network namespaces with a cable between them. The client's clock jumps ahead."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from emulator.machines.dhcp import Bound, DhcpClient, Nak, State
from emulator.machines.effects import Effect, Send
from emulator.profile import load_profile
from emulator.wire.address import BROADCAST, Address
from emulator.wire.dhcp import CLIENT_PORT
from tests.requirements import program

pytestmark = pytest.mark.needs("root", "ip", "dnsmasq")

SERVER, RANGE = "192.168.40.1", ("192.168.40.100", "192.168.40.109")
LEASE_S = 120  # dnsmasq lends for no less
TRIES, TRY_S = 20, 0.5  # dnsmasq may still be starting
CLONE_NEWNET = 0x40000000


def ip(*arguments: str) -> None:
    subprocess.run([program("ip"), *arguments], check=True, capture_output=True)


def socket_in(namespace: str, interface: str) -> socket.socket:
    """A DHCP client's socket in another network namespace: a thread goes there, and does not come back."""

    def make() -> socket.socket:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), namespace)
        finally:
            os.close(descriptor)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        made.bind(("", CLIENT_PORT))
        made.settimeout(TRY_S)
        return made

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


@dataclass
class Site:
    """The client's end of the cable, and what dnsmasq remembers."""

    namespace: str
    interface: str
    wire: socket.socket
    leases: Path

    def converse(self, client: DhcpClient, effects: list[Effect], now: float) -> Effect:
        """Send, and feed the client what comes back, until it has a result."""
        for _ in range(TRIES):
            for effect in effects:
                assert isinstance(effect, Send)
                self.wire.sendto(effect.data, (effect.to.host, effect.to.port))
            try:
                while True:
                    data, sender = self.wire.recvfrom(2048)
                    results = client.receive(data, Address(*sender), now)
                    if results and not isinstance(results[0], Send):
                        return results[0]
                    effects = results or effects
                    for effect in results:
                        assert isinstance(effect, Send)
                        self.wire.sendto(effect.data, (effect.to.host, effect.to.port))
            except TimeoutError:
                continue
        raise AssertionError(f"dnsmasq does not answer a client in state {client.state}")

    def tell(self, effects: list[Send]) -> None:
        """Send what is not answered."""
        for effect in effects:
            self.wire.sendto(effect.data, (effect.to.host, effect.to.port))

    def use(self, address: str) -> None:
        """Set the address of the client's interface."""
        ip("-n", self.namespace, "addr", "flush", "dev", self.interface)
        ip("-n", self.namespace, "addr", "add", f"{address}/24", "dev", self.interface)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server, client = f"dhcp-s{os.getpid()}", f"dhcp-c{os.getpid()}"
    leases = tmp_path_factory.mktemp("dnsmasq") / "leases"
    ip("netns", "add", server)
    ip("netns", "add", client)
    try:
        ip("-n", server, "link", "add", "s0", "type", "veth", "peer", "name", "c0", "netns", client)
        ip("-n", server, "addr", "add", f"{SERVER}/24", "dev", "s0")
        ip("-n", server, "link", "set", "s0", "up")
        ip("-n", client, "link", "set", "c0", "up")
        ip("-n", client, "route", "add", "default", "dev", "c0")  # where the kernel sends broadcasts
        options = ["--conf-file=/dev/null", "--keep-in-foreground", "--no-ping", "--port=0", "--interface=s0"]
        options += [f"--dhcp-range={','.join(RANGE)},255.255.255.0,{LEASE_S}", "--dhcp-authoritative"]
        options += ["--dhcp-option=6,192.168.40.53", f"--dhcp-leasefile={leases}", "--pid-file", "--user=root"]
        command = [program("ip"), "netns", "exec", server, program("dnsmasq"), *options]
        with (
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dnsmasq,
            socket_in(client, "c0") as wire,
        ):
            try:
                yield Site(client, "c0", wire, leases)
            finally:
                dnsmasq.terminate()
    finally:
        ip("netns", "del", server)
        ip("netns", "del", client)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Callable[..., DhcpClient]:
    """Clients of this test; each name has a MAC address of its own."""

    def make(remembered: str | None = None, *, name: str = "") -> DhcpClient:
        mac = "02:00:" + Random(request.node.name + name).randbytes(4).hex(":")
        timing = load_profile("pro").dhcp
        return DhcpClient(mac=mac, hostname="ZPR000001", timing=timing, rng=Random(remembered), remembered=remembered)

    return make


def lend(site: Site, client: DhcpClient) -> str:
    """A first lease, taken by the interface."""
    result = site.converse(client, client.start(0.0), 0.0)
    assert isinstance(result, Bound) and result.asked_in is State.REQUESTING
    site.use(result.lease.address)
    return result.lease.address


def test_a_lease_is_got_renewed_rebound_and_given_back(site: Site, client) -> None:
    machine = client()
    address = lend(site, machine)
    assert machine.lease is not None
    assert (machine.lease.server, machine.lease.router, machine.lease.dns) == (SERVER, SERVER, ("192.168.40.53",))
    assert (machine.lease.lease_s, machine.offered_by) == (LEASE_S, (SERVER,))

    now = machine.lease.t1_s + 1
    renewal = machine.wake(now)
    assert isinstance(renewal[0], Send) and renewal[0].to.host == SERVER
    renewed = site.converse(machine, renewal, now)
    assert isinstance(renewed, Bound) and (renewed.asked_in, renewed.lease.address) == (State.RENEWING, address)

    now += renewed.lease.t2_s + 1
    rebinding = machine.wake(now)
    assert isinstance(rebinding[0], Send) and rebinding[0].to.host == BROADCAST
    rebound = site.converse(machine, rebinding, now)
    assert isinstance(rebound, Bound) and (rebound.asked_in, rebound.lease.address) == (State.REBINDING, address)

    assert f" {address} ZPR000001 " in site.leases.read_text()
    site.tell(machine.release(now))
    lend(site, client(name="another"))  # dnsmasq takes one message after the other
    assert f" {address} " not in site.leases.read_text()


def test_after_a_reboot_the_address_of_before_is_granted(site: Site, client) -> None:
    address = lend(site, client())
    machine = client(remembered=address)
    again = site.converse(machine, machine.start(0.0), 0.0)
    assert isinstance(again, Bound) and (again.asked_in, again.lease.address) == (State.REBOOTING, address)


def test_a_remembered_address_of_another_network_is_refused_in_words_and_replaced(site: Site, client) -> None:
    machine = client(remembered="10.9.9.9")
    refused = site.converse(machine, machine.start(0.0), 0.0)
    assert refused == Nak(State.REBOOTING, SERVER, "wrong network")
    deadline = machine.deadline()
    assert deadline is not None
    found = site.converse(machine, machine.wake(deadline), deadline)
    assert isinstance(found, Bound) and found.lease.address.startswith("192.168.40.")


def test_a_declined_address_is_not_given_again(site: Site, client) -> None:
    machine = client()
    address = lend(site, machine)
    refusal = machine.decline(1.0)
    site.tell([effect for effect in refusal if isinstance(effect, Send)])
    deadline = machine.deadline()
    assert deadline is not None
    other = site.converse(machine, machine.wake(deadline), deadline)
    assert isinstance(other, Bound) and other.lease.address != address
