"""What a connection makes of a transport that behaves oddly."""

import asyncio

from emulator.net.api import Address
from emulator.net.sockets import SocketStream


class Vanishing(asyncio.Transport):
    """A transport of uvloop that is about to end: its socket is gone already."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_a_connection_whose_socket_is_gone_already_can_be_lost() -> None:
    async def story() -> None:
        owner: set[SocketStream] = set()
        stream, transport = SocketStream(owner, Address("127.7.16.1", 0), Address("127.7.2.1", 8883)), Vanishing()
        stream.connection_made(transport)
        assert owner == {stream}
        stream.lose()
        assert transport.aborted and owner == set()

    asyncio.run(story())
