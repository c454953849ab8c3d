"""TLS 1.2 over any `Stream`, through memory BIOs and from callbacks: a tenth of the memory of asyncio's own TLS.

OpenSSL verifies chain and host name. The dates of the chain are checked against the charger's `Rtc`, before the
client's second flight leaves, so that a clock that was never set really fails the handshake.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.net.api import Receiver, Stream
from emulator.net.around import StreamAround
from emulator.net.tls_context import Session, client_context, server_context, trusting
from emulator.net.tls_verdict import date_error, tls_error, verified_chain
from emulator.wire.tls_certificates import ClientCertificates

__all__ = ["TlsInfo", "TlsStream", "client_context", "server_context", "tls_accept", "tls_connect"]

RECORD_MAX_BYTES = 16 * 1024  # RFC 5246 section 6.2.1

_ALERT_EXPIRED = bytes.fromhex("1503030002022d")  # fatal certificate_expired(45): RFC 5246 sections 6.2.1 and 7.2


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What a finished handshake agreed on. `server_name` is the name the client asked for (SNI)."""

    version: str
    cipher: str
    server_name: str
    client_certificates: tuple[bytes, ...] = ()
    """DER, leaf first, of a client that showed some to a server that asked. It has the leaf's key: no more is known."""


async def tls_connect(
    stream: Stream, context: ssl.SSLContext, *, server_name: str, rtc: Rtc, timeout_s: float
) -> "TlsStream":
    """Client handshake over a connected `stream`. On NetError TLS_*, CLOSED, RESET or TIMED_OUT the stream is ended."""
    done: asyncio.Future[TlsStream] = asyncio.get_running_loop().create_future()

    def ready(tls: TlsStream) -> None:
        if not done.done():
            done.set_result(tls)

    def failed(error: NetError) -> None:
        if not done.done():
            done.set_exception(error)

    tls = TlsStream(stream, context, ready, failed, timeout_s=timeout_s, server_name=server_name, rtc=rtc)
    try:
        return await done
    except asyncio.CancelledError:
        tls.abort()
        raise


def tls_accept(
    stream: Stream,
    context: ssl.SSLContext,
    ready: Callable[["TlsStream"], None],
    failed: Callable[[NetError], None],
    *,
    timeout_s: float,
) -> None:
    """Server handshake; exactly one of `ready` and `failed` is called. An alert by the client names itself in `detail`.

    `ready` attaches the receiver. A connection that ends before a byte came fails with CLOSED or RESET.
    """
    TlsStream(stream, context, ready, failed, timeout_s=timeout_s)


HANDSHAKE_BYTES, RECORD_BYTES, BULK_BYTES = 512, 2048, 16384
"""Pieces that are given to OpenSSL at once. A MemoryBIO keeps the largest size it ever had, for each of thousands of
connections, so a flight with certificates is taken in by little and little (2.5 KiB less for each connection), and
telemetry goes in small records; a transfer of more than `BULK_BYTES` in the largest that TLS has."""


class _State(Enum):
    HANDSHAKE = auto()
    OPEN = auto()
    CLOSING = auto()  # by us: nothing more is sent or delivered, connection_lost is on its way
    ENDED = auto()


class TlsStream(StreamAround):
    """A `Stream` that encrypts over another. Made by `tls_connect` and `tls_accept`."""

    __slots__ = (
        "_asking",
        "_certificates",
        "_error",
        "_failed",
        "_held",
        "_in",
        "_info",
        "_out",
        "_read_paused",
        "_ready",
        "_rtc",
        "_ssl",
        "_state",
        "_timer",
    )

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        ready: Callable[["TlsStream"], None],
        failed: Callable[[NetError], None],
        *,
        timeout_s: float,
        server_name: str | None = None,
        rtc: Rtc | None = None,
    ) -> None:
        """A client if `rtc` is given, which judges the server's certificates; else a server."""
        super().__init__(stream)
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_side=rtc is None, server_hostname=server_name)
        self._ready: Callable[[TlsStream], None] | None = ready
        self._failed: Callable[[NetError], None] | None = failed
        self._rtc = rtc
        asks = rtc is None and context.verify_mode is ssl.CERT_OPTIONAL
        self._asking = ClientCertificates() if asks else None
        self._certificates: tuple[bytes, ...] = ()
        self._info: TlsInfo | None = None
        self._error: NetError | None = None
        self._read_paused = False
        self._held: bytes | memoryview = b""
        self._state = _State.HANDSHAKE
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out, timeout_s)
        stream.attach(self)
        if rtc is not None:
            self._handshake()

    # Stream

    @property
    def info(self) -> TlsInfo:
        """What the handshake agreed on."""
        assert self._info is not None, "the handshake is not over"  # noqa: S101 - users get only finished streams
        return self._info

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._go_on()

    def write(self, data: bytes) -> None:
        if self._state is not _State.OPEN or not data:
            return
        if len(data) <= RECORD_BYTES:
            self._ssl.write(data)
            self._stream.write(self._out.read())
            return
        step = RECORD_BYTES if len(data) <= BULK_BYTES else BULK_BYTES
        records, rest = [], memoryview(data)
        while rest:
            rest = rest[self._ssl.write(rest[:step]) :]
            records.append(self._out.read())
        self._stream.write(b"".join(records))

    def close(self) -> None:
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            self._say_goodbye()
            self._stream.resume_reading()
            self._stream.close()

    def abort(self) -> None:
        if self._state is not _State.ENDED:
            self._state = _State.CLOSING
            self._stream.abort()

    def pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._go_on()

    # Receiver of the stream below

    def data_received(self, data: bytes) -> None:
        if not self._held and len(data) <= self._piece_bytes:
            self._take(data)
            return
        self._held = bytes(self._held) + data if self._held else data
        self._feed()

    def _feed(self) -> None:
        """Take what is held piece by piece, as long as somebody wants it: a MemoryBIO never shrinks."""
        while self._held and self._state in (_State.HANDSHAKE, _State.OPEN):
            if self._state is _State.OPEN and (self._read_paused or self._receiver is None):
                self._stream.pause_reading()
                return
            held, size = memoryview(self._held), self._piece_bytes  # what is left is not copied for every piece
            piece, self._held = bytes(held[:size]), held[size:] or b""
            self._take(piece)

    @property
    def _piece_bytes(self) -> int:
        return HANDSHAKE_BYTES if self._state is _State.HANDSHAKE else BULK_BYTES

    def _take(self, data: bytes) -> None:
        self._in.write(data)
        if self._state is _State.HANDSHAKE:
            if self._asking is not None:
                self._look_for_certificates(self._asking, data)
            self._handshake()
        else:
            self._decrypt()

    def connection_lost(self, error: NetError | None) -> None:
        if self._state is _State.HANDSHAKE:
            self._state = _State.CLOSING
            self._fail(error or NetError(NetReason.CLOSED, "during the TLS handshake"))
        elif self._state is _State.OPEN:
            self._error = error or self._error or NetError(NetReason.CLOSED, "without a TLS close_notify")
        self._state = _State.ENDED
        self._timer.cancel()
        self._ready = self._failed = None
        self._report_end()

    # Handshake

    def _handshake(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._send_flight()
            return
        except ssl.SSLError as error:
            self._give_up(tls_error(error), alert=self._out.read())
            return
        if self._send_flight():
            self._open()

    def _look_for_certificates(self, asking: ClientCertificates, data: bytes) -> None:
        """OpenSSL refuses clients whose issuer it does not know; so it gets to know every client's certificate."""
        self._certificates = asking.feed(data)
        if self._certificates:
            with contextlib.suppress(ssl.SSLError, ValueError):  # no certificate: the handshake will say so
                self._ssl.context = trusting(self._certificates[0])
        if asking.over:
            self._asking = None

    def _send_flight(self) -> bool:
        """Send what OpenSSL has to say, unless it answers certificates whose dates are wrong. True if all is well."""
        if not self._out.pending:
            return True
        if self._rtc is not None and (chain := verified_chain(self._ssl)):
            error = date_error(chain, self._rtc.now())
            if error is not None:
                self._give_up(error, alert=_ALERT_EXPIRED)
                return False
            self._rtc = None  # judged
        self._stream.write(self._out.read())
        return True

    def _open(self) -> None:
        ready, server_name = self._ready, self._ssl.server_hostname
        if isinstance(self._ssl, Session):
            server_name = self._ssl.asked_name
        cipher = self._ssl.cipher()
        self._info = _shared_info(
            self._ssl.version() or "", cipher[0] if cipher else "", server_name or "", self._certificates
        )
        self._state = _State.OPEN
        self._timer.cancel()
        self._ready = self._failed = None
        if ready is not None:
            ready(self)
        if self._in.pending:
            self._decrypt()

    def _give_up(self, error: NetError, *, alert: bytes) -> None:
        self._state = _State.CLOSING
        if alert:
            self._stream.write(alert)
        self._stream.close()
        self._fail(error)

    def _fail(self, error: NetError) -> None:
        failed = self._failed
        self._timer.cancel()
        self._ready = self._failed = None
        if failed is not None:
            failed(error)

    def _time_out(self, timeout_s: float) -> None:
        self._state = _State.CLOSING
        self._stream.abort()
        self._fail(NetError(NetReason.TIMED_OUT, f"no TLS handshake in {timeout_s:g} s"))

    # Data

    def _decrypt(self) -> None:
        """Hand on whole records until there are no more, or nobody wants them now."""
        session, incoming = self._ssl, self._in
        try:
            while self._state is _State.OPEN and (size := incoming.pending or session.pending()):
                if self._receiver is None or self._read_paused:
                    self._stream.pause_reading()
                    return
                data = session.read(min(size, RECORD_MAX_BYTES))
                if not data:
                    self.close()  # the peer's close_notify
                    return
                self._receiver.data_received(data)
        except ssl.SSLWantReadError:
            return  # the rest of a record is still on its way
        except ssl.SSLError as error:
            self._error = tls_error(error)
            self._stream.write(self._out.read())
            self._stream.close()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # only means that the peer has not said goodbye yet
            self._ssl.unwrap()
        if self._out.pending:
            self._stream.write(self._out.read())

    def _go_on(self) -> None:
        """Somebody wants bytes (again): deliver what waits, from the loop as the contract says."""
        if self._state is _State.OPEN and not (self._in.pending or self._ssl.pending() or self._held):
            if not self._read_paused:
                self._stream.resume_reading()
        else:
            asyncio.get_running_loop().call_soon(self._deliver_waiting)

    def _deliver_waiting(self) -> None:
        if self._state is _State.ENDED:
            self._report_end()
        elif not self._read_paused:
            self._stream.resume_reading()
            self._decrypt()
            self._feed()

    def _report_end(self) -> None:
        super().connection_lost(self._error)


@lru_cache(maxsize=256)
def _shared_info(version: str, cipher: str, server_name: str, certificates: tuple[bytes, ...]) -> TlsInfo:
    return TlsInfo(version, cipher, server_name, certificates)
