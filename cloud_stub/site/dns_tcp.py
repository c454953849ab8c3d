"""DNS over TCP (RFC 7766) for a server that answers message by message. No task per connection."""

import asyncio
from collections.abc import Callable
from enum import StrEnum

from emulator.errors import NetError
from emulator.net.api import Address, Closer, Host, Stream
from emulator.wire.dns import UDP_MAX_BYTES, DnsError, Messages, with_length

CONNECTIONS_MAX = 1024
QUERIES_MAX = 100
"""Of one connection, those whose answer is on its way included."""
QUERY_MAX_BYTES = UDP_MAX_BYTES
UNSENT_MAX_BYTES = 256 * 1024
IDLE_LIMIT_S = 10.0  # RFC 7766 section 6.2.3: of the order of seconds


class TcpEnd(StrEnum):
    """Why the server ended a connection of itself."""

    TOO_MANY = "too many connections"
    TOO_LONG = "a query that is too long"
    TOO_MUCH = "too many queries"
    UNREAD = "answers that nobody reads"
    IDLE = "nothing said for too long"


Respond = Callable[[bytes, Address], tuple[bytes, float] | None]
"""Query and sender to answer and its delay in seconds; None is silence."""

Ended = Callable[[Address, TcpEnd], None]


class DnsListener:
    """One listening port. `ended` hears of each connection that the server itself has ended, and why."""

    def __init__(self, respond: Respond, ended: Ended) -> None:
        self._respond = respond
        self._ended = ended
        self._listener: Closer | None = None
        self._askers: dict[_Asker, None] = {}

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._askers)

    async def start(self, host: Host, port: int) -> None:
        """Listen on a host. NetError when the port is taken."""
        self._listener = await host.listen(port, self._accept)

    def stop(self) -> None:
        """Free the port and end every connection."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for asker in tuple(self._askers):
            asker.abort()

    def _accept(self, stream: Stream) -> None:
        if len(self._askers) >= CONNECTIONS_MAX:
            self._ended(stream.peer, TcpEnd.TOO_MANY)
            stream.abort()
        else:
            self._askers[_Asker(stream, self._respond, self._end)] = None

    def _end(self, asker: "_Asker", why: TcpEnd | None) -> None:
        if asker in self._askers:
            del self._askers[asker]
            if why is not None:
                self._ended(asker.peer, why)


class _Asker:
    """One connection; the `Receiver` of its stream."""

    __slots__ = ("_answered", "_end", "_idle", "_loop", "_messages", "_respond", "_stream", "peer")

    def __init__(self, stream: Stream, respond: Respond, end: Callable[["_Asker", TcpEnd | None], None]) -> None:
        self.peer = stream.peer
        self._stream = stream
        self._respond = respond
        self._end = end
        self._messages = Messages(QUERY_MAX_BYTES)
        self._answered = 0
        self._loop = asyncio.get_running_loop()
        self._idle = self._loop.call_later(IDLE_LIMIT_S, self.abort, TcpEnd.IDLE)
        stream.attach(self)

    def abort(self, why: TcpEnd | None = None) -> None:
        """End the connection now."""
        self._idle.cancel()
        self._stream.abort()
        self._end(self, why)

    def data_received(self, data: bytes) -> None:
        """Part of `Receiver`."""
        self._idle.cancel()
        try:
            queries = self._messages.feed(data)
        except DnsError:
            self.abort(TcpEnd.TOO_LONG)
            return
        self._answered += len(queries)
        if self._answered > QUERIES_MAX:
            self.abort(TcpEnd.TOO_MUCH)
            return
        self._idle = self._loop.call_later(IDLE_LIMIT_S, self.abort, TcpEnd.IDLE)
        for query in queries:
            self._answer(query)

    def connection_lost(self, error: NetError | None) -> None:
        """Part of `Receiver`."""
        self._idle.cancel()
        self._end(self, None)

    def pause_writing(self) -> None:
        """Part of `Receiver`."""

    def resume_writing(self) -> None:
        """Part of `Receiver`."""

    def _answer(self, query: bytes) -> None:
        response = self._respond(query, self.peer)
        if response is None:
            return
        data, delay_s = response
        if delay_s > 0:
            self._loop.call_later(delay_s, self._send, data)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self._stream.unsent_bytes > UNSENT_MAX_BYTES:
            self.abort(TcpEnd.UNREAD)
        else:
            self._stream.write(with_length(data))
