"""The same logins for everybody: what our client, aiomqtt and Locust are each told in a process of their own."""

import json
import socket
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from emulator.remote import Produced
from emulator.wire.iothub import username
from emulator.wire.sas import sas_token

FILTERS = ("$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#")
QOS = 1
KEEP_ALIVE_S = 300
API_VERSION = "2018-06-30"
TOKEN_LIFETIME_S = 3600


@dataclass(frozen=True, slots=True)
class Account:
    """What a device says in CONNECT."""

    device_id: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginJob:
    """Who logs in where. The hub is at the real socket `host` and `port`; everybody verifies its chain and its name."""

    hub: str
    host: str
    port: int
    ca: str
    loopback: Mapping[str, Any]
    at_once: int
    """How many may be between connect and the last SUBACK."""
    accounts: tuple[Account, ...]
    messages: int = 0
    """How many QoS 1 messages to send once all are logged in, spread over them."""
    per_s: float = 0.0
    """The pace of the messages; 0: as fast as they are acknowledged."""

    @classmethod
    def of(
        cls,
        ready: Mapping[str, Any],
        devices: Sequence[Produced],
        *,
        at_once: int,
        messages: int = 0,
        per_s: float = 0.0,
    ) -> Self:
        """A job at the cloud with this ready line."""
        hub, mqtt = ready["hub"], ready["mqtt"]
        expiry = int(time.time()) + TOKEN_LIFETIME_S
        accounts = tuple(_account(hub, made, expiry) for made in devices)
        host, port, loopback = mqtt["host"], mqtt["port"], ready["loopback"]
        return cls(hub, host, port, ready["ca"], loopback, at_once, accounts, messages, per_s)

    @classmethod
    def read(cls) -> Self:
        """The job that stdin holds."""
        data = json.load(sys.stdin)
        return cls(**{**data, "accounts": tuple(Account(**account) for account in data["accounts"])})

    def as_json(self) -> dict[str, Any]:
        """The inverse of `read`. Holds passwords: never print it."""
        return asdict(self)

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 with everything verified, for the peers. Ours has its own."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


def _account(hub: str, made: Produced, expiry: int) -> Account:
    token = sas_token(f"{hub}/devices/{made.serial}", made.key, expiry)
    return Account(made.serial, username(hub, made.serial, API_VERSION), token)


def resolve_hub(job: LoginJob) -> None:
    """From now on, in this process, the hub's name resolves to where it really is, and no other name does."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        if host not in (job.hub, job.host):
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: nobody but the hub is known here")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (job.host, port))]

    socket.getaddrinfo = getaddrinfo  # type: ignore[assignment]


class Stopwatch:
    """Wall clock and processor time of this process since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds, as the benchmark wants them."""
        return {"seconds": time.perf_counter() - self._began, "cpu_s": time.process_time() - self._cpu}


def done(took: Mapping[str, float]) -> None:
    """Tell the benchmark."""
    print(json.dumps(took), flush=True)
