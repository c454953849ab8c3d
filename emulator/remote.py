"""A cloud that runs elsewhere on this machine (``python -m cloud_stub up``), reached through its control API."""

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import httpx

from emulator.boot.roots import BUNDLE_KEY
from emulator.clock import Rtc, system_utc
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.flash.api import Flash
from emulator.flash.pool import SectorPool
from emulator.flash.store import STANDARD, Layout, MemoryFlash
from emulator.net.api import Host
from emulator.net.capture import Capture
from emulator.net.keylog import Keylog
from emulator.net.loopback import LoopbackHost, LoopbackPlan
from emulator.net.meter import DataMeter, ports_of
from emulator.net.metered import MeteredHost
from emulator.profile import Profile
from emulator.trace import Sink, Trace

CONTROL_TIMEOUT_S = 60.0
IMAGES_MAX = 8
"""How many productions with bundles of their own are remembered."""
PEMS = ("roots", "firmware_key", "vendor_root", "bundle_key")
"""What chargers trust, in a ready line."""


@dataclass(frozen=True, slots=True)
class Produced:
    """One charger as it left production."""

    serial: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Anchors:
    """What all chargers of one production trust: PEM texts, and the newest trust bundle as the server would send it."""

    roots_pem: str = field(repr=False)
    firmware_key_pem: str = field(repr=False)
    vendor_root_pem: str = field(repr=False)
    bundle_key_pem: str = field(repr=False)
    bundle: bytes = field(repr=False)
    """One object for thousands of chargers."""

    def to_json(self) -> list[str]:
        """Plain texts."""
        pems = (self.roots_pem, self.firmware_key_pem, self.vendor_root_pem, self.bundle_key_pem)
        return [*pems, self.bundle.decode()]

    @classmethod
    def from_json(cls, data: list[str]) -> "Anchors":
        """The inverse of `to_json`."""
        roots, firmware_key, vendor_root, bundle_key, bundle = data
        return cls(roots, firmware_key, vendor_root, bundle_key, bundle.encode())


@dataclass(frozen=True, slots=True)
class RemoteCloud:
    """What a running cloud said of itself in its ready line."""

    control: str
    plan: LoopbackPlan | None
    """Where its services are on loopback; None: they are on a network of their own."""
    anchors: Anchors

    @property
    def loopback(self) -> LoopbackPlan:
        """Its plan. UsageError: it is not on loopback."""
        if self.plan is None:
            raise UsageError(f"control {self.control}: this cloud is not on loopback; reach it with --interface")
        return self.plan

    @classmethod
    async def attach(cls, control: str) -> "RemoteCloud":
        """Ask the control API where everything is. UsageError when nobody answers there."""
        control = control.rstrip("/")
        ready = await _call("GET", f"{control}/ready")
        try:
            return cls.from_ready({**ready, "control": control})
        except UsageError as error:
            raise UsageError(f"control {control}: {error}") from None

    @classmethod
    def from_ready(cls, ready: dict[str, Any]) -> "RemoteCloud":
        """Build from the ready line of ``cloud_stub up --json``, or of ``serve``, which has texts where the other has
        files. UsageError: it is none, or lacks its files."""
        try:
            control, bundle = ready["control"], ready["bundle"]
            texts = ready.get("anchors")
            found = {name: str((texts or ready)[name]) for name in PEMS}
        except (KeyError, TypeError) as error:
            raise UsageError(f"ready line: this is not a cloud of ours ({error!r})") from None
        pems = found if texts else {name: _read_pem(name, Path(path)) for name, path in found.items()}
        return cls(
            control,
            LoopbackPlan.from_json(ready["loopback"]) if "loopback" in ready else None,
            Anchors(
                pems["roots"],
                pems["firmware_key"],
                pems["vendor_root"],
                pems["bundle_key"],
                json.dumps(bundle).encode(),
            ),
        )

    async def produce(self, count: int, prefix: str = "ZPR") -> list[Produced]:
        """Make `count` chargers with serials ``{prefix}000001`` and on; made ones are handed out again."""
        answer = await _call("POST", f"{self.control}/devices", {"count": count, "prefix": prefix})
        return _produced(answer, count)

    async def produce_one(self, serial: str) -> Produced:
        """Make one charger, or get the key of one that was made."""
        answer = await _call("POST", f"{self.control}/devices", {"serial": serial})
        return _produced(answer, 1)[0]

    async def get(self, path: str) -> Any:
        """Read from the control API."""
        return await _call("GET", f"{self.control}{path}")

    def spec(self, made: Produced, profile: Profile) -> Spec:
        """The charger that production made."""
        trusted = self.anchors
        return Spec(
            made.serial,
            made.key,
            profile,
            trusted.roots_pem,
            trusted.firmware_key_pem,
            vendor_root_pem=trusted.vendor_root_pem,
            bundle_key_pem=trusted.bundle_key_pem,
        )

    def flash(self, flash: Flash | None = None, *, pool: SectorPool | None = None) -> Flash:
        """Flash as it leaves production, with the trust bundle; what `flash` has already, it keeps.

        Without `flash` it is in memory, and `pool` as in `produced_flash`.
        """
        if flash is None:
            return produced_flash(self.anchors.bundle, pool=pool)
        if flash.get(BUNDLE_KEY) is None:
            flash.put(BUNDLE_KEY, self.anchors.bundle)
        return flash


def _read_pem(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise UsageError(f"ready line: {name}: {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"ready line: {name}: {path}: not a PEM file") from None


def _produced(answer: Any, count: int) -> list[Produced]:
    try:
        made = [Produced(device["serial"], b64decode(device["key"], validate=True)) for device in answer["devices"]]
    except (KeyError, TypeError, ValueError):
        made = []
    if len(made) != count:
        raise UsageError("control: POST /devices: the answer is not that of a cloud of ours")
    return made


async def _call(method: str, url: str, body: Any = None) -> Any:
    try:
        async with httpx.AsyncClient(timeout=CONTROL_TIMEOUT_S, trust_env=False) as client:
            response = await client.request(method, url, json=body)
            answer = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"control {url}: no cloud answers there ({type(error).__name__})") from None
    if not isinstance(answer, dict):
        raise UsageError(f"control {url}: this is not a cloud of ours (HTTP {response.status_code})")
    if response.is_error:
        raise UsageError(f"control {url}: {answer.get('error', response.status_code)}")
    return answer


def loopback_env(
    plan: LoopbackPlan,
    spec: Spec,
    sinks: tuple[Sink, ...],
    now: Any,
    *,
    seed: str,
    flash: Flash,
    capture: Capture | None = None,
    around: Callable[[Host], Host] = lambda host: host,
) -> Env:
    """The world of one charger on loopback, as `charger_env`. `capture` records its traffic."""
    host = around(LoopbackHost(plan, spec.serial, link_address=mac_of(spec.serial)))
    keylog = None
    if capture is not None:
        host, keylog = capture.around(host, system_utc), capture.keylog
    return charger_env(host, spec, sinks, now, seed=seed, flash=flash, keylog=keylog)


def charger_env(
    host: Host,
    spec: Spec,
    sinks: tuple[Sink, ...],
    now: Any,
    *,
    seed: str,
    flash: Flash,
    around: Callable[[Host], Host] = lambda host: host,
    keylog: Keylog | None = None,
) -> Env:
    """The world of one charger on `host`; `now` is the loop's clock. `around` puts its host behind something.

    The secrets of its TLS sessions go to `keylog`.
    """
    drift_ppm = spec.profile.clock.drift_ppm(Random(f"{seed}/{spec.serial}/clock"))  # noqa: S311 - no secret
    rtc = Rtc(now, built_at=spec.profile.firmware.built_at, drift_ppm=drift_ppm)
    trace = Trace(spec.serial, sinks, now, lambda: rtc.now() if rtc.trusted else None)
    metered = MeteredHost(around(host), meter := DataMeter(), ports_of(spec.profile.network))
    return Env(metered, rtc, flash, trace, seed, meter, keylog)


def produced_flash(bundle: bytes, layout: Layout = STANDARD, *, pool: SectorPool | None = None) -> MemoryFlash:
    """Flash in memory as it leaves production, with a trust bundle; chargers with the same bundle share its bytes.

    Chargers with the same `pool` share those of the image that they install.
    """
    return MemoryFlash(layout, shared=_production_image(bundle, layout), pool=pool)


@lru_cache(maxsize=IMAGES_MAX)
def _production_image(bundle: bytes, layout: Layout) -> dict[int, bytes]:
    flash = MemoryFlash(layout)
    flash.put(BUNDLE_KEY, bundle)
    return flash.image()


def mac_of(serial: str) -> str:
    """A locally administered MAC address for a serial number, the same every time."""
    number = Random(f"mac/{serial}").getrandbits(40)  # noqa: S311 - an identifier, no secret
    return "02:" + ":".join(f"{(number >> shift) & 255:02x}" for shift in (32, 24, 16, 8, 0))
