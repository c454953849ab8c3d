"""HTTPS as an update uses it: only with hosts that firmware comes from, wherever a reply sends the charger.

The certificate is verified before a byte is asked for (manual row M6), by the client that is given. A reply that drips
in more slowly than a limit allows is broken off: it would keep the charger busy for ever.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import httpx

from emulator.errors import EmulatorError, NetReason
from emulator.machines.update_steps import Failed, Refused
from emulator.net.http import net_error_of
from emulator.wire.update_reason import UpdateReason

REDIRECTS_MAX = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
KEEPING_THE_METHOD = frozenset({307, 308})  # RFC 9110 section 15.4
TRY_AGAIN = frozenset({408, 425, 429})
"""Of the statuses below 500 those after which the next try may do."""

UNVERIFIED = frozenset(
    {NetReason.TLS_UNKNOWN_CA, NetReason.TLS_WRONG_HOST, NetReason.TLS_EXPIRED, NetReason.TLS_NOT_YET_VALID}
)
"""What the Go sees as TLS error 0x2700 (zaptec.md section 5)."""

IDENTITY: Mapping[str, str] = {"Accept-Encoding": "identity"}


class FetchError(EmulatorError):
    """No usable reply. Becomes the event `Failed` or `Refused`."""

    def __init__(self, event: Failed | Refused) -> None:
        super().__init__(event.detail)
        self.event = event


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, read as a whole."""

    status: int
    body: bytes


class Requests:
    """Requests of one update. `hosts` are those that firmware comes from; `limit_s` is for one whole reply."""

    __slots__ = ("_hosts", "_http", "_limit_s")

    def __init__(self, http: httpx.AsyncClient, hosts: Collection[str], limit_s: float) -> None:
        self._http = http
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limit_s = limit_s

    def check(self, url: str | httpx.URL) -> httpx.URL:
        """The address, if it is one that firmware may come from: FetchError MALFORMED, NOT_HTTPS, FOREIGN_REDIRECT."""
        try:
            parsed = httpx.URL(url)
            host = parsed.host.lower()
        except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: httpx lets those of IDNA pass
            raise refusal(UpdateReason.MALFORMED, str(error)) from None
        if parsed.scheme != "https":
            raise refusal(UpdateReason.NOT_HTTPS, f"an address of {host or 'no host'} without TLS")
        if host not in self._hosts or parsed.userinfo:
            raise refusal(UpdateReason.FOREIGN_REDIRECT, f"firmware does not come from {host or 'no host'}")
        return parsed

    async def ask(
        self, method: str, url: str, limit_bytes: int, *, or_else: int | None = None, json: bytes | None = None
    ) -> Reply:
        """The whole reply, of at most `limit_bytes`, if its status is 200 or `or_else`. FetchError."""
        try:
            async with asyncio.timeout(self._limit_s):
                response = await self.open(method, url, json=json)
                try:
                    if response.status_code not in (httpx.codes.OK, or_else):
                        raise status_error(response)
                    return Reply(response.status_code, await _whole(response, limit_bytes))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise too_slow(f"no whole reply in {self._limit_s:g} s") from None
        except httpx.TransportError as error:
            raise transport_error(error) from None

    async def open(
        self, method: str, url: str, headers: Mapping[str, str] = IDENTITY, *, json: bytes | None = None
    ) -> httpx.Response:
        """A reply whose body is not read yet, behind `REDIRECTS_MAX` redirects at most. TransportError, FetchError."""
        headers = {**IDENTITY, **headers} if json is None else {**IDENTITY, "Content-Type": "application/json"}
        target = self.check(url)
        for _ in range(REDIRECTS_MAX + 1):
            request = self._http.build_request(method, target, content=json, headers=headers)
            response = await self._http.send(request, stream=True)
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            target = self._behind(response, target)
            if method != "GET" and response.status_code not in KEEPING_THE_METHOD:
                raise status_error(response)
        raise refusal(UpdateReason.REFUSED, f"more than {REDIRECTS_MAX} redirects")

    def _behind(self, response: httpx.Response, target: httpx.URL) -> httpx.URL:
        try:
            return self.check(target.join(response.headers.get("location", "")))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise refusal(UpdateReason.MALFORMED, f"redirect: {error}") from None


def refusal(reason: UpdateReason, detail: str) -> FetchError:
    """Something that must not be followed."""
    return FetchError(Refused(reason, detail))


def too_slow(detail: str) -> FetchError:
    """The limit for a reply or a block is over."""
    return FetchError(Failed(detail, UpdateReason.TOO_SLOW))


def status_error(response: httpx.Response) -> FetchError:
    """A status that nobody has asked for: worth another try if the server has a trouble, else final."""
    status = response.status_code
    detail = f"HTTP {status} for {response.request.method} {response.request.url.path}"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in TRY_AGAIN:
        return FetchError(Failed(detail))
    return refusal(UpdateReason.REFUSED, detail)


def transport_error(error: httpx.TransportError) -> FetchError:
    """What the network did. A server that cannot prove who it is has a reason of its own."""
    cause = net_error_of(error)
    unverified = cause is not None and cause.reason in UNVERIFIED
    return FetchError(Failed(str(cause or error), UpdateReason.TLS if unverified else None))


async def _whole(response: httpx.Response, limit_bytes: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > limit_bytes:
            path = response.request.url.path
            raise refusal(UpdateReason.ENDLESS, f"a reply of more than {limit_bytes} bytes for {path}")
    return bytes(body)
