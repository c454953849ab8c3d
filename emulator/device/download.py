"""The image as it comes: several blocks to a request, handed out one by one as they arrive.

Nothing is read ahead of the block that is wanted but what the network has buffered, so memory does not grow with the
image, and a charger with something better to do reads more slowly (`Pace`).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import httpx

from emulator.device.update_requests import Requests, refusal, status_error, too_slow, transport_error
from emulator.machines.update_steps import Arrived, FetchBlock
from emulator.profile import Firmware
from emulator.wire.firmware import TOTAL_LENGTH_HEADER
from emulator.wire.update_reason import UpdateReason

LENGTH_DIGITS_MAX = 12
LOOK_S = 1.0
"""How often it is looked whether there still is something better to do."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,12})-(\d{1,12})/(\d{1,12}|\*)", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')


class Pace:
    """How fast blocks may be asked for: at most `bytes_per_s` while `held_back` says so, else as fast as they come."""

    __slots__ = ("_bytes_per_s", "_held_back", "_next")

    def __init__(self, bytes_per_s: float, held_back: Callable[[], bool]) -> None:
        self._bytes_per_s = bytes_per_s
        self._held_back = held_back
        self._next = 0.0

    async def wait(self, size_bytes: int) -> None:
        """Return when so many bytes may come."""
        loop = asyncio.get_running_loop()
        while self._held_back() and self._next > loop.time():  # noqa: ASYNC110 - nobody tells when a charge is over
            await asyncio.sleep(min(self._next - loop.time(), LOOK_S))
        self._next = loop.time() + size_bytes / self._bytes_per_s


class Download:
    """The replies that bring one image."""

    __slots__ = ("_buffer", "_last", "_limit_s", "_next", "_pace", "_parts", "_range_blocks", "_requests", "_response")

    def __init__(self, requests: Requests, firmware: Firmware, pace: Pace) -> None:
        self._requests = requests
        self._range_blocks = firmware.range_blocks
        self._limit_s = firmware.block_timeout_s
        self._pace = pace
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None
        self._buffer = bytearray()
        self._next = self._last = -1

    async def block(self, wanted: FetchBlock) -> Arrived:
        """The block, from the reply that is being read if it is the next there, else from a new one. FetchError."""
        await self._pace.wait(wanted.last - wanted.first + 1)
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._block(wanted)
        except TimeoutError:
            await self.close()
            raise too_slow(f"no whole block in {self._limit_s:g} s") from None
        except httpx.TransportError as error:
            await self.close()
            raise transport_error(error) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Break off the reply that is being read."""
        response, self._response, self._parts = self._response, None, None
        self._buffer.clear()
        if response is not None:
            await response.aclose()

    async def _block(self, wanted: FetchBlock) -> Arrived:
        if self._response is None or self._next != wanted.first:
            await self.close()
            await self._open(wanted)
        response = self._response
        assert response is not None  # noqa: S101 - just opened
        size = wanted.last - wanted.first + 1
        data = await self._read(size)
        self._next = wanted.last + 1
        if len(data) < size or wanted.last == self._last:
            await self._finish(wanted)
        return Arrived(data, _total_of(response), _range_total_of(response), _tag_of(response))

    async def _open(self, wanted: FetchBlock) -> None:
        manifest = wanted.manifest
        last = min(wanted.first + self._range_blocks * manifest.block_bytes, manifest.size_bytes) - 1
        self._last = max(last, wanted.last)
        headers = {"Range": f"bytes={wanted.first}-{self._last}"}
        if wanted.etag:
            headers["If-Range"] = wanted.etag
        response = await self._requests.open("GET", wanted.location.download_url, headers)
        self._response, self._parts = response, response.aiter_raw()
        _check_part(response, wanted, self._last)

    async def _read(self, size: int) -> bytes:
        """So many bytes, or what there is before the end."""
        assert self._parts is not None  # noqa: S101 - as above
        while len(self._buffer) < size and (part := await anext(self._parts, None)) is not None:
            self._buffer += part
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _finish(self, wanted: FetchBlock) -> None:
        """The reply must end here."""
        if await self._read(1):
            raise refusal(UpdateReason.ENDLESS, f"more than the bytes to {self._last} that were asked for")
        await self.close()


def _check_part(response: httpx.Response, wanted: FetchBlock, last: int) -> None:
    """FetchError unless the reply is the part that was asked for."""
    match response.status_code:
        case 206:
            said = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if said is not None and (int(said[1]), int(said[2])) != (wanted.first, last):
                short = int(said[1]) == wanted.first and int(said[2]) < last
                reason = UpdateReason.SHORT if short else UpdateReason.MALFORMED
                raise refusal(reason, f"bytes {said[1]}-{said[2]} came, {wanted.first}-{last} were asked for")
        case 412:
            raise refusal(UpdateReason.CHANGED, "the server has another image now")
        case 200 if wanted.etag and _tag_of(response) != wanted.etag:
            raise refusal(UpdateReason.CHANGED, "the server has another image now")
        case 200:
            raise refusal(UpdateReason.REFUSED, "the server does not hand out parts of the image")
        case 416:
            raise refusal(UpdateReason.SHORT, f"the server has no bytes from {wanted.first} on")
        case _:
            raise status_error(response)


def _total_of(response: httpx.Response) -> int | None:
    text = response.headers.get(TOTAL_LENGTH_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LENGTH_DIGITS_MAX else None


def _range_total_of(response: httpx.Response) -> int | None:
    said = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(said[3]) if said is not None and said[3] != "*" else None


def _tag_of(response: httpx.Response) -> str:
    """The strong entity tag of the reply; empty: it has none (RFC 9110 section 8.8.3)."""
    tag = str(response.headers.get("etag", ""))
    return tag if _STRONG_TAG.fullmatch(tag) else ""
