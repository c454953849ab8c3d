"""The same image by httpx as it comes, with asyncio's own TLS: one request, each block hashed, written to a file."""

import asyncio
import hashlib
import ssl

import httpx
import uvloop

from emulator.net.api import Address
from emulator.wire.firmware import decode_location, encode_location_request, location_path
from emulator.wire.manifest import MANIFEST_SUFFIX, Manifest, decode_manifest
from tests.bench.firmware_job import UpdateJob
from tests.bench.login_job import Stopwatch, done


async def _run(job: UpdateJob) -> None:
    context = ssl.create_default_context(cadata=job.roots_pem)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with httpx.AsyncClient(verify=context, trust_env=False) as http:
        watch = Stopwatch()
        location = f"https://{job.profile.network.api_host}{location_path(job.made.serial)}"
        image = decode_location(await _whole(http, job, "POST", location, encode_location_request(job.made.key)))
        manifest = decode_manifest(await _whole(http, job, "GET", image.download_url + MANIFEST_SUFFIX))
        response = await http.send(_request(http, job, "GET", image.download_url), stream=True)
        try:
            await _store(response, manifest, job)
        finally:
            await response.aclose()
        done(watch.read())


async def _whole(http: httpx.AsyncClient, job: UpdateJob, method: str, url: str, content: bytes | None = None) -> bytes:
    response = await http.send(_request(http, job, method, url, content))
    return response.raise_for_status().content


async def _store(response: httpx.Response, manifest: Manifest, job: UpdateJob) -> None:
    whole, hashes = hashlib.sha256(), iter(manifest.blocks)
    with (job.directory / "image.bin").open("wb") as file:
        async for block in response.raise_for_status().aiter_bytes(manifest.block_bytes):
            if hashlib.sha256(block).digest() != next(hashes):
                raise SystemExit("httpx: a block is wrong")
            whole.update(block)
            file.write(block)
    if whole.digest() != manifest.sha256:
        raise SystemExit("httpx: the image is wrong")


def _request(
    http: httpx.AsyncClient, job: UpdateJob, method: str, url: str, content: bytes | None = None
) -> httpx.Request:
    """A request to the real socket that stands for the host, which must prove to be that host all the same."""
    wanted = httpx.URL(url)
    host, port = job.cloud.loopback.binding(Address(job.addresses[wanted.host], job.profile.network.https_port))
    there = wanted.copy_with(host=host, port=port)
    return http.build_request(
        method, there, content=content, headers={"Host": wanted.host}, extensions={"sni_hostname": wanted.host}
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(UpdateJob.read()))
