"""The client's certificates in a TLS 1.2 handshake, read as they come in (RFC 5246 sections 6.2.1, 7.4 and 7.4.2).

Up to TLS 1.2 they travel in the clear, so that a server can look at them before its TLS library judges them.
"""

_HANDSHAKE = 22
_CERTIFICATE, _CLIENT_KEY_EXCHANGE = 11, 16
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
MESSAGE_BYTES_MAX = 100 * 1024  # what OpenSSL takes for a chain, too


class ClientCertificates:
    """Reads one connection's bytes from the client until its certificates are known or cannot come any more."""

    __slots__ = ("_message", "_records", "over")

    def __init__(self) -> None:
        self._records = bytearray()
        self._message = bytearray()
        self.over = False
        """Everything there was to learn is learned: further bytes are ignored."""

    def feed(self, data: bytes) -> tuple[bytes, ...]:
        """The DER certificates, leaf first, when the last byte of the message has come; before and after that ().

        Bytes that are not a TLS 1.2 handshake end it without an error: whoever completes the handshake will notice.
        """
        self._records += data
        while not self.over and len(self._records) >= _RECORD_HEADER:
            kind, end = self._records[0], _RECORD_HEADER + int.from_bytes(self._records[3:5], "big")
            if kind != _HANDSHAKE:
                self._finish()
            elif len(self._records) < end:
                break
            else:
                self._message += self._records[_RECORD_HEADER:end]
                del self._records[:end]
                found = self._read_messages()
                if found is not None:
                    self._finish()
                    return found
        return ()

    def _read_messages(self) -> tuple[bytes, ...] | None:
        message = self._message
        while len(message) >= _MESSAGE_HEADER:
            kind, end = message[0], _MESSAGE_HEADER + int.from_bytes(message[1:4], "big")
            if kind == _CLIENT_KEY_EXCHANGE or end > MESSAGE_BYTES_MAX:
                return ()
            if len(message) < end:
                return None
            if kind == _CERTIFICATE:
                return _certificates(bytes(message[_MESSAGE_HEADER:end]))
            del message[:end]
        return None

    def _finish(self) -> None:
        self.over = True
        self._records.clear()
        self._message.clear()


def _certificates(body: bytes) -> tuple[bytes, ...]:
    """The certificate list: lengths of three bytes, of the whole and of each. () for one that is cut short."""
    found, at = [], 3
    while at < len(body):
        end = at + 3 + int.from_bytes(body[at : at + 3], "big")
        if end > len(body):
            return ()
        found.append(body[at + 3 : end])
        at = end
    return tuple(found)
