"""The client's Certificate message, in handshakes as OpenSSL and the RFC write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.tls_certificates import MESSAGE_BYTES_MAX, ClientCertificates

HELLO = b"\x01" + (40).to_bytes(3, "big") + bytes(40)
KEY_EXCHANGE = b"\x10" + (33).to_bytes(3, "big") + bytes(33)
LEAF, ISSUER = b"leaf" * 50, b"issuer" * 70


def certificate_message(*certificates: bytes) -> bytes:
    """RFC 5246 section 7.4.2."""
    entries = b"".join(len(each).to_bytes(3, "big") + each for each in certificates)
    body = len(entries).to_bytes(3, "big") + entries
    return b"\x0b" + len(body).to_bytes(3, "big") + body


def records(data: bytes, size: int = 16_384, kind: int = 22) -> bytes:
    """RFC 5246 section 6.2.1."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(bytes((kind, 3, 3)) + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("record_bytes", [16_384, 100, 1])
@pytest.mark.parametrize("piece_bytes", [100_000, 7, 1])
def test_a_chain_is_found_in_any_pieces(record_bytes: int, piece_bytes: int) -> None:
    flight = records(HELLO) + records(certificate_message(LEAF, ISSUER) + KEY_EXCHANGE, record_bytes)
    reader, found = ClientCertificates(), list[bytes]()
    for at in range(0, len(flight), piece_bytes):
        found += reader.feed(flight[at : at + piece_bytes])
    assert found == [LEAF, ISSUER] and reader.over


@pytest.mark.parametrize(
    "flight",
    [
        records(HELLO + certificate_message() + KEY_EXCHANGE),
        records(HELLO + KEY_EXCHANGE + certificate_message(LEAF)),
        records(HELLO) + records(b"\x01", kind=20) + records(certificate_message(LEAF)),
        b"GET / HTTP/1.1\r\n\r\n",
        records(b"\x0b" + (MESSAGE_BYTES_MAX).to_bytes(3, "big")),
        records(b"\x0b\x00\x00\x09\x00\x00\x06\x00\x00\x07abc"),
    ],
    ids=["none shown", "too late", "finished", "no TLS", "too long", "cut short"],
)
def test_clients_without_certificates_are_read_no_further(flight: bytes) -> None:
    reader = ClientCertificates()
    assert reader.feed(flight) == () and reader.over
    assert reader.feed(records(certificate_message(LEAF))) == ()


def test_a_hello_alone_says_nothing() -> None:
    reader = ClientCertificates()
    assert reader.feed(records(HELLO)) == () and not reader.over


@given(st.lists(st.binary(max_size=400), max_size=8))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    reader = ClientCertificates()
    for piece in pieces:
        assert all(isinstance(each, bytes) for each in reader.feed(piece))


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4))
def test_whatever_is_shown_is_found(certificates: list[bytes]) -> None:
    assert ClientCertificates().feed(records(certificate_message(*certificates))) == tuple(certificates)
