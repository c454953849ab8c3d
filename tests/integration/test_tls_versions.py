"""Our TLS against somebody else's, over real sockets: OpenSSL's `s_server` and asyncio's client."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

import pytest
import uvloop

from certs.layout import HUB_HOST, CertsDir
from certs.make import ensure
from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Host, Interface, Stream
from emulator.net.loopback import LoopbackHost, LoopbackPlan, claim_plan
from emulator.net.reader import Reader
from emulator.net.tls import TlsStream, client_context, server_context, tls_accept, tls_connect
from tests.requirements import program

LIMIT_S = 10.0
TODAY = datetime(2026, 6, 1, tzinfo=UTC)
LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    return ensure(tmp_path_factory.mktemp("certs"))


@asynccontextmanager
async def machines() -> AsyncIterator[tuple[LoopbackPlan, Host, Host]]:
    """A hub and a charger on a loopback network of their own."""
    plan, claim = claim_plan(Random())
    hub, charger = LoopbackHost(plan, "hub", address=f"{plan.prefix}.2.1"), LoopbackHost(plan, "charger")
    charger.set_interface(Interface(f"{plan.prefix}.16.1", 16))
    try:
        yield plan, hub, charger
    finally:
        for host in (hub, charger):
            host.link_down()
        await asyncio.sleep(0.01)
        claim.close()


def unexpected(what: object) -> None:
    pytest.fail(f"the handshake should not have ended so: {what}")


async def handshake(charger: Host, to: Address, certs: CertsDir, today: datetime = TODAY) -> TlsStream:
    """The charger's login to a TLS server."""
    rtc = Rtc(asyncio.get_running_loop().time, built_at=today)
    stream = await charger.connect(to, timeout_s=LIMIT_S)
    context = client_context(certs.roots_pem())
    return await tls_connect(stream, context, server_name=HUB_HOST, rtc=rtc, timeout_s=LIMIT_S)


@asynccontextmanager
async def openssl_server(certs: CertsDir, real: tuple[str, int], *options: str) -> AsyncIterator[None]:
    """``openssl s_server`` that sends back each line reversed, until the block is over."""
    chain, key = certs.server(HUB_HOST)
    server = await asyncio.create_subprocess_exec(
        *(program("openssl"), "s_server", "-accept", f"{real[0]}:{real[1]}", "-rev", "-cert", str(chain)),
        *("-cert_chain", str(chain), "-key", str(key), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert server.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            while b"ACCEPT" not in await server.stdout.readline():
                assert server.returncode is None
        yield
    finally:
        server.kill()
        await server.communicate()


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("new_loop", LOOPS)
def test_openssl_s_server_and_the_charger_agree_on_tls_1_2(certs: CertsDir, new_loop: type) -> None:
    async def story() -> None:
        async with machines() as (plan, _, charger):
            to = Address(f"{plan.prefix}.2.1", 8883)
            async with openssl_server(certs, plan.binding(to)):
                tls = await handshake(charger, to, certs)
                assert tls.info.version == "TLSv1.2"
                reader = Reader(tls)
                tls.write(b"hello\n")
                assert await reader.read(100, LIMIT_S) == b"olleh\n"
                tls.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("options", [("-tls1_3",), ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")])
def test_openssl_s_server_of_another_version_is_refused(certs: CertsDir, options: tuple[str, ...]) -> None:
    async def story() -> None:
        async with machines() as (plan, _, charger):
            to = Address(f"{plan.prefix}.2.1", 8883)
            async with openssl_server(certs, plan.binding(to), *options):
                with pytest.raises(NetError) as caught:
                    await handshake(charger, to, certs)
                assert caught.value.reason is NetReason.TLS_VERSION

    asyncio.run(story())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_our_server_and_asyncio_s_own_tls_client_agree(certs: CertsDir, new_loop: type) -> None:
    async def story() -> None:
        async with machines() as (plan, hub, _):
            context = server_context(*certs.server(HUB_HOST))

            def echo(tls: TlsStream) -> None:
                Echo(tls)

            def serve(stream: Stream) -> None:
                tls_accept(stream, context, echo, unexpected, timeout_s=LIMIT_S)

            listener = await hub.listen(8883, serve)
            host, port = plan.binding(listener.local)
            trust = ssl.create_default_context(cafile=str(certs.roots_path))
            reader, writer = await asyncio.open_connection(host, port, ssl=trust, server_hostname=HUB_HOST)
            sent = bytes(range(256)) * 4000
            writer.write(sent)
            assert await asyncio.wait_for(reader.readexactly(len(sent)), LIMIT_S) == sent
            writer.close()
            await writer.wait_closed()
            listener.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())


class Echo:
    """Sends everything back."""

    def __init__(self, tls: TlsStream) -> None:
        self._tls = tls
        tls.attach(self)

    def data_received(self, data: bytes) -> None:
        self._tls.write(data)

    def connection_lost(self, error: NetError | None) -> None:
        pass

    def pause_writing(self) -> None:
        self._tls.pause_reading()

    def resume_writing(self) -> None:
        self._tls.resume_reading()


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize(
    ("kind", "today", "reason", "alert"),
    [
        ("unknown_root", TODAY, NetReason.TLS_UNKNOWN_CA, "unknown_ca"),
        ("wrong_host", TODAY, NetReason.TLS_WRONG_HOST, "bad_certificate"),
        ("expired", TODAY, NetReason.TLS_EXPIRED, "certificate_expired"),
        (None, datetime(1970, 1, 1, tzinfo=UTC), NetReason.TLS_NOT_YET_VALID, "certificate_expired"),
    ],
)
def test_a_refused_certificate_ends_alike_on_real_sockets_and_the_alert_arrives(
    certs: CertsDir,
    new_loop: type,
    kind: str | None,
    today: datetime,
    reason: NetReason,
    alert: str,
) -> None:
    async def story() -> None:
        async with machines() as (_, hub, charger):
            context = server_context(*(certs.bad(kind) if kind else certs.server(HUB_HOST)))
            learnt: asyncio.Future[NetError] = asyncio.get_running_loop().create_future()
            listener = await hub.listen(
                8883,
                lambda stream: tls_accept(stream, context, unexpected, learnt.set_result, timeout_s=LIMIT_S),
            )
            with pytest.raises(NetError) as caught:
                await handshake(charger, listener.local, certs, today)
            assert caught.value.reason is reason
            error = await asyncio.wait_for(learnt, LIMIT_S)
            assert (error.reason, error.detail) == (NetReason.TLS_ALERT, alert)
            listener.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())
