"""DHCP servers that others have written, each in a network namespace: outside judges of the client."""

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from emulator.net.namespace import Namespace, enter_in_child
from tests.requirements import program

ROUTER, DNS = "192.168.40.1", "192.168.40.53"
POOL = ("192.168.40.100", "192.168.40.109")
OTHER_ROUTER, OTHER_POOL = "192.168.41.1", ("192.168.41.100", "192.168.41.109")
PREFIX_LENGTH = 23
"""Both networks are on one cable, and the server has an address in each."""


class Started(Protocol):
    """How to start a server: ``(namespace, directory, pool, reserved) -> a running one``."""

    def __call__(
        self, namespace: Namespace, directory: Path, pool: tuple[str, str], reserved: dict[str, str]
    ) -> "Server": ...


@dataclass(slots=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It hears nothing for a while; what comes meanwhile, it finds later."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `pause`."""
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text()


def dnsmasq(namespace: Namespace, directory: Path, pool: tuple[str, str], reserved: dict[str, str]) -> Server:
    """It lends for two minutes at least; so it tells its clients to renew after 2 s and to rebind after 4."""
    options = ["--conf-file=/dev/null", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--no-ping"]
    options += ["--port=0", "--interface=eth0", "--pid-file", "--user=root", "--dhcp-authoritative"]
    options += [f"--dhcp-range={','.join(pool)},255.255.255.0,120", f"--dhcp-leasefile={directory / 'leases'}"]
    options += [f"--dhcp-option=option:dns-server,{DNS}", "--dhcp-option=option:T1,2", "--dhcp-option=option:T2,4"]
    options += [f"--dhcp-host={mac},{address}" for mac, address in reserved.items()]
    return _start(namespace, directory, program("dnsmasq"), *options)


def udhcpd(namespace: Namespace, directory: Path, pool: tuple[str, str], reserved: dict[str, str]) -> Server:
    """That of busybox. It lends for 6 s."""
    leases = directory / "leases"
    leases.touch()
    lines = [f"start {pool[0]}", f"end {pool[1]}", "interface eth0", f"lease_file {leases}", "max_leases 10"]
    lines += [f"pidfile {directory / 'pid'}", "min_lease 1", "opt lease 6", "opt subnet 255.255.255.0"]
    lines += [f"opt router {pool[0].rpartition('.')[0]}.1", f"opt dns {DNS}"]
    lines += [f"static_lease {mac} {address}" for mac, address in reserved.items()]
    configuration = directory / "udhcpd.conf"
    configuration.write_text("\n".join((*lines, "")))
    return _start(namespace, directory, program("udhcpd"), "-f", str(configuration))


def _start(namespace: Namespace, directory: Path, *command: str) -> Server:
    log = directory / "log"
    with log.open("ab") as written:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, preexec_fn=enter_in_child(namespace)
        )
    return Server(process, log)


SERVERS: dict[str, Started] = {"dnsmasq": dnsmasq, "udhcpd": udhcpd}
