"""The fifth stage: the roots to trust (M4, zaptec.md section 5), and the keeper that asks for them again.

What the charger accepts at hub and API is a signed bundle in flash. The stage fetches one when there is none that can
be verified, and after a TLS error at the hub, before the next login. Until the server answers the keeper asks again.
"""

import asyncio

import httpx

from emulator.boot.outcome import WHY_OF_NET, Degraded, Failed, Outcome, Passed, Why
from emulator.boot.roots import Source, Trust
from emulator.boot.state import Boot
from emulator.errors import EmulatorError, NetError, NetReason
from emulator.machines.bundle import Current, Fetched, Retry, Verdict
from emulator.net.http import https_client, net_error_of
from emulator.net.tls import client_context
from emulator.wire.bundle import PATH, REPLY_MAX_BYTES, BundleError


async def trust(boot: Boot) -> Outcome:
    """The roots to trust: the stored bundle if it verifies, one that is fetched, or those built in (M4)."""
    held = boot.trust
    if held.doubt is not None and held.retry_at is None:
        verdict = await fetch_bundle(boot)
        if isinstance(verdict, Retry):
            boot.bundle_wanted(verdict.after_s)
    boot.notes = {"version": held.version, "source": held.source.value}
    if held.doubt is None or held.failure is None:
        return Passed(_in_words(held))
    why, detail = held.failure
    boot.notes["fetch"] = why.value
    if boot.spec.profile.trust.without_bundle == "wait":
        return Failed(why, detail)
    goes_on = f"{detail}; goes on with {_in_words(held)}"
    if held.source is Source.BUILT_IN and why is not Why.BUNDLE_INVALID:
        return Degraded(Why.BUNDLE_BUILT_IN, f"{why.value}: {goes_on}")
    return Degraded(why, goes_on)


async def fetch_bundle(boot: Boot) -> Verdict:
    """Ask the bundle server once and store what it brings. Takes `trust.timeout_s` at most; a failure is a `Retry`."""
    held = boot.trust
    try:
        reply = await _ask(boot)
    except NetError as error:
        return _failed(boot, held.fetch.lost(error.detail), WHY_OF_NET[error.reason])
    except _NoBundle as error:
        return _failed(boot, held.fetch.lost(str(error)), Why.BUNDLE_UNAVAILABLE)
    verdict = held.fetch.answered(reply)
    match verdict:
        case Retry():
            return _failed(boot, verdict, Why.BUNDLE_INVALID if verdict.invalid else Why.BUNDLE_UNAVAILABLE)
        case Fetched(bundle):
            held.take(reply, bundle)
            boot.env.trace.emit("trust.fetched", version=held.version)
        case Current():
            boot.env.trace.emit("trust.current", version=held.version)
    held.settle()
    return verdict


def doubt_roots(boot: Boot, why: Why) -> None:
    """A connection other than the hub's failed in TLS: ask for a bundle now, unless the next question has its time."""
    boot.trust.suspect(why)
    if boot.trust.retry_at is None:
        boot.bundle_wanted(0.0)


def order_bundle(boot: Boot, *, override: int | None = None) -> None:
    """Somebody wants the charger to ask for a bundle now; `override`: for this version, newer or not."""
    boot.trust.doubt, boot.trust.override = boot.trust.doubt or "ordered", override
    boot.bundle_wanted(0.0)


async def keep_trust(boot: Boot, after_s: float) -> None:
    """Ask for a bundle in `after_s` seconds, and again until the server has answered, at the times of section 5."""
    held, loop = boot.trust, asyncio.get_running_loop()
    while True:
        held.retry_at = loop.time() + after_s
        await asyncio.sleep(after_s)
        verdict = await fetch_bundle(boot)
        if not isinstance(verdict, Retry):
            break
        after_s = verdict.after_s
    held.retry_at = None


class _NoBundle(EmulatorError):
    """There was an answer, but not by a bundle server that can give one."""


async def _ask(boot: Boot) -> bytes:
    """The body of the server's reply, cut off when it is too long. NetError or _NoBundle: there is none."""
    spec, held = boot.spec, boot.trust
    network, limit_s = spec.profile.network, spec.profile.trust.timeout_s
    try:
        body = held.fetch.ask(spec.serial, boot.slots.running.version, error=held.doubt or "", override=held.override)
    except BundleError as error:
        raise _NoBundle(str(error)) from None
    async with https_client(
        boot.env.host,
        resolve=boot.lookup.address_of,
        context=client_context(spec.vendor_root_pem, boot.env.keylog),
        rtc=boot.env.rtc,
        timeout_s=limit_s,
    ) as http:
        try:
            async with asyncio.timeout(limit_s):
                return await _post(http, f"https://{network.devices_host}:{network.https_port}{PATH}", body)
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"no reply within {limit_s:g} s") from None
        except httpx.TransportError as error:
            raise net_error_of(error) or _NoBundle(str(error)) from None


async def _post(http: httpx.AsyncClient, url: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    async with http.stream("POST", url, content=body, headers=headers) as response:
        if response.status_code != httpx.codes.OK:
            raise _NoBundle(f"HTTP {response.status_code}")
        reply = bytearray()
        async for part in response.aiter_raw():
            reply += part
            if len(reply) > REPLY_MAX_BYTES:
                break
        return bytes(reply)


def _failed(boot: Boot, retry: Retry, why: Why) -> Retry:
    boot.trust.failure = (why, retry.detail)
    boot.env.trace.emit("trust.fetch_failed", why=why.value, detail=retry.detail, retry_s=retry.after_s)
    return retry


def _in_words(held: Trust) -> str:
    if held.source is Source.BUILT_IN:
        return "the built-in roots"
    return f"bundle {held.version}, {'fetched' if held.source is Source.FETCHED else 'from flash'}"
