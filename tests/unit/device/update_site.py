"""A charger and a firmware server on a SimNet, real TLS and real HTTP between them, in virtual time."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx

from certs import CertsDir, Root
from cloud_stub.firmware.package import Release
from cloud_stub.firmware.server import FirmwareServer
from cloud_stub.https import HttpsServer
from emulator.clock import Rtc, SimLoop
from emulator.device.update import Installed, Rejected, update_firmware
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.flash import MemoryFlash
from emulator.net.http import https_client
from emulator.net.sim import SimHost, SimNet
from emulator.net.tls import client_context, server_context
from emulator.profile import Profile, load_profile
from emulator.slots import Slots
from emulator.trace import Recorder, Trace
from emulator.wire.firmware_keys import FirmwareKeys, key_id

SERIAL, KEY = "ZPR000001", bytes(range(32))
API, DOWNLOADS = "api.zaptec.com", "devices.zaptec.com"
ADDRESSES = {API: "10.20.3.1", DOWNLOADS: "10.20.3.2"}
NEW = "5.4.0.0"
SMALL = 5 * 65_536 + 17
BIG = 40 * 65_536 + 17


@dataclass
class Site:
    """One charger and the firmware server, with everything between them."""

    spec: Spec
    env: Env
    slots: Slots
    server: FirmwareServer
    http: httpx.AsyncClient
    recorder: Recorder
    api: HttpsServer
    downloads: SimHost
    happened: defaultdict[str, asyncio.Event]

    async def update(self) -> Installed | Rejected:
        return await update_firmware(self.spec, self.env, self.http, self.slots, keys_of(self.spec))

    def requests(self) -> list[str]:
        return [f"{exchange.request} {exchange.reply}" for exchange in self.server.history]


def keys_of(spec: Spec) -> FirmwareKeys:
    """The key that the charger is born with."""
    return FirmwareKeys((spec.firmware_key_pem,))


def release_of(certs: CertsDir) -> Release:
    return Release(NEW, key_id(certs.firmware_signer().public_key()))


def _spec(certs: CertsDir, profile: Profile) -> Spec:
    """A charger that trusts every root, and asks nobody for more."""
    return Spec(
        SERIAL,
        KEY,
        profile,
        certs.roots_pem(),
        certs.firmware_public_pem(),
        vendor_root_pem=certs.root_pem(Root.VENDOR),
        bundle_key_pem=certs.bundle_public_pem(),
    )


async def build_site(
    certs: CertsDir,
    *,
    bad_downloads: str | None = None,
    changes: dict[str, Any] | None = None,
    download_host: str = DOWNLOADS,
    profile: str = "pro",
) -> Site:
    loop = asyncio.get_running_loop()
    net = SimNet(Random(1))
    rtc = Rtc(loop.time, built_at=datetime(2025, 3, 1, tzinfo=UTC))
    recorder = Recorder()
    happened: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    server = FirmwareServer(
        rng=Random(2),
        utc=rtc.now,
        now=loop.time,
        contexts=lambda bad: server_context(*(certs.bad(bad_downloads) if bad_downloads else certs.server(DOWNLOADS))),
        signers=certs.firmware_signers(),
        certificates={"vouched": certs.vouched_certificate_pem()},
        check=lambda serial, key: (serial, key) == (SERIAL, KEY),
        download_host=download_host,
    )
    downloads = net.host(DOWNLOADS, ADDRESSES[DOWNLOADS])
    await server.start(downloads)
    api = HttpsServer(server.app, server_context(*certs.server(API)))
    await api.start(net.host(API, ADDRESSES[API]))
    model = load_profile(profile).with_changes(changes or {})
    spec = _spec(certs, model)
    host: SimHost = net.host(SERIAL, "10.20.16.1")
    flash = MemoryFlash()
    trace = Trace(SERIAL, [recorder, lambda event: happened[event.name].set()], loop.time)
    env = Env(host, rtc, flash, trace, seed="1")

    async def resolve(name: str) -> str:
        if name not in ADDRESSES:
            raise NetError(NetReason.UNREACHABLE, f"{name}: DNS nxdomain")
        return ADDRESSES[name]

    http = https_client(
        host,
        resolve=resolve,
        context=client_context(spec.roots_pem),
        rtc=rtc,
        timeout_s=model.firmware.http_timeout_s,
    )
    slots = Slots(flash, model.firmware)
    slots.boot()
    return Site(spec, env, slots, server, http, recorder, api, downloads, happened)


def play(certs: CertsDir, story: Callable[[Site], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        site = await build_site(certs, **options)
        await story(site)
        await site.http.aclose()
        await site.api.stop()
        await site.server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())
