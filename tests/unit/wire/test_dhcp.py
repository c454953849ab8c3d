import contextlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.dhcp import (
    INFINITE_S,
    MAX_BYTES_LEAST,
    MIN_BYTES,
    DhcpError,
    DhcpMessage,
    Lease,
    MessageType,
    decode,
    encode,
    lease_from,
)
from emulator.wire.dhcp_options import collect, lay_out

VECTORS = Path(__file__).parents[2] / "vectors" / "dhcp"
MAC = "02:5a:70:72:00:01"
OVERLOAD = 52
IP_UDP_BYTES = 28


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


def ack(**changes: object) -> DhcpMessage:
    whole = DhcpMessage(
        type=MessageType.ACK,
        xid=1,
        mac=MAC,
        your_address="192.168.40.107",
        prefix_length=24,
        routers=("192.168.40.1",),
        dns=("192.168.40.1",),
        lease_s=3600,
        server="192.168.40.1",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


addresses = st.ip_addresses(v=4).map(str)
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=600)
uint32 = st.integers(0, 0xFFFFFFFF)
messages = st.builds(
    DhcpMessage,
    type=st.sampled_from(MessageType),
    xid=uint32,
    mac=st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":")),
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
    client_address=addresses,
    your_address=addresses,
    next_server=addresses,
    relay=addresses,
    prefix_length=st.none() | st.integers(0, 32),
    routers=st.lists(addresses, max_size=4).map(tuple),
    dns=st.lists(addresses, max_size=80).map(tuple),
    hostname=st.none() | texts,
    requested=st.none() | addresses,
    lease_s=st.none() | uint32,
    server=st.none() | addresses,
    parameters=st.lists(st.integers(0, 255), max_size=255).map(tuple),
    message=st.none() | texts,
    max_bytes=st.none() | st.integers(0, 0xFFFF),
    t1_s=st.none() | uint32,
    t2_s=st.none() | uint32,
    vendor_class=st.none() | texts,
    client_id=st.none() | st.binary(min_size=2, max_size=600),
)
raw_options = st.tuples(st.integers(1, 254).filter(lambda code: code != OVERLOAD), st.binary(max_size=700))


@given(messages)
def test_every_message_survives_the_wire(message: DhcpMessage) -> None:
    assert decode(encode(message)) == message


@given(messages, st.integers(MAX_BYTES_LEAST, 3000), st.booleans())
def test_in_little_room_a_message_survives_whole_or_is_refused(
    message: DhcpMessage, max_bytes: int, overload: bool
) -> None:
    try:
        data = encode(message, max_bytes=max_bytes, overload=overload)
    except DhcpError:
        return
    assert len(data) + IP_UDP_BYTES <= max(max_bytes, MIN_BYTES)
    assert decode(data) == message


@given(st.lists(raw_options, max_size=12, unique_by=lambda option: option[0]), st.integers(-5, 900), st.booleans())
def test_options_come_back_from_wherever_they_were_put(
    options: list[tuple[int, bytes]], room: int, overload: bool
) -> None:
    options = [(53, b"\x05"), *(option for option in options if option[0] != 53)]
    try:
        fields = lay_out(options, room, overload=overload)
    except DhcpError:
        return
    assert len(fields.options) <= max(room, 7) and len(fields.file) <= 128 and len(fields.sname) <= 64
    assert fields.options[:3] == b"\x35\x01\x05", "the type is found without looking further"
    assert collect(fields) == dict(options)


@given(st.binary(max_size=600))
def test_garbage_is_a_dhcp_error(data: bytes) -> None:
    with pytest.raises(DhcpError):
        decode(data)


@given(st.binary(max_size=80), st.binary(min_size=1, max_size=8), st.integers(0, 239))
def test_garbage_inside_a_real_message_is_a_message_or_a_dhcp_error(options: bytes, patch: bytes, at: int) -> None:
    offer = vector("offer_dnsmasq")
    data = bytearray(offer[:240] + b"\x35\x01\x02" + options)
    data[at : at + len(patch)] = patch
    with contextlib.suppress(DhcpError):
        message = decode(bytes(data))
        encode(message)
        lease_from(message)


def test_short_messages_are_padded_for_old_relays() -> None:
    assert len(encode(DhcpMessage(type=MessageType.DISCOVER, xid=7, mac=MAC))) == MIN_BYTES


def test_an_offer_of_dnsmasq_is_understood() -> None:
    offer = decode(vector("offer_dnsmasq"))
    assert (offer.type, offer.xid, offer.mac) == (MessageType.OFFER, 0x5A505201, MAC)
    assert (offer.your_address, offer.server, offer.broadcast) == ("192.168.40.107", "192.168.40.1", True)


def test_an_ack_of_dnsmasq_makes_a_lease() -> None:
    assert lease_from(decode(vector("ack_dnsmasq"))) == Lease(
        address="192.168.40.107",
        prefix_length=24,
        server="192.168.40.1",
        router="192.168.40.1",
        dns=("192.168.40.1", "9.9.9.9"),
        lease_s=3600.0,
        t1_s=1800.0,
        t2_s=3150.0,
    )


def test_a_renewal_of_dnsmasq_carries_its_own_timers() -> None:
    renewal = decode(vector("renewal_dnsmasq"))
    assert renewal.client_address == renewal.your_address == "192.168.40.107"
    assert (lease_from(renewal).t1_s, lease_from(renewal).t2_s) == (1582.0, 2932.0)


def test_a_nak_of_dnsmasq_says_why() -> None:
    nak = decode(vector("nak_dnsmasq"))
    assert (nak.type, nak.message, nak.server) == (MessageType.NAK, "wrong address", "192.168.40.1")


def test_a_lease_may_name_no_dns_server() -> None:
    assert lease_from(decode(vector("ack_no_dns_dnsmasq"))).dns == ()


def test_a_lease_without_end_is_never_renewed() -> None:
    lease = lease_from(decode(vector("ack_infinite_dnsmasq")))
    assert (lease.lease_s, lease.t1_s, lease.t2_s) == (math.inf, math.inf, math.inf)
    assert lease.router is None


def test_what_we_encode_keeps_the_options_of_dnsmasq() -> None:
    offer = decode(vector("offer_dnsmasq"))
    assert decode(encode(offer)) == offer


def test_options_may_lie_in_the_file_and_name_fields() -> None:
    message = decode(vector("overloaded"))
    assert (message.server, message.lease_s) == ("192.168.40.1", 3600)


def test_a_repeated_option_is_one_long_option() -> None:
    head = vector("offer_dnsmasq")[:240]
    split = bytes.fromhex("350102060408080808060401010101ff")
    assert decode(head + split).dns == ("8.8.8.8", "1.1.1.1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("malformed_truncated_header", "too few"),
        ("malformed_no_cookie", "cookie"),
        ("malformed_option_overrun", "option 54 runs past"),
        ("malformed_option_without_length", "option 54 runs past"),
        ("malformed_no_message_type", "option 53"),
        ("malformed_mask_with_holes", "option 1: 255.0.255.0"),
        ("malformed_dns_of_three_bytes", "option 6: 3 bytes"),
        ("malformed_token_ring", "not Ethernet"),
        ("malformed_offer_as_request", "OFFER with BOOTP operation 1"),
    ],
)
def test_malformed_frames_say_what_is_wrong(name: str, words: str) -> None:
    with pytest.raises(DhcpError, match=words):
        decode(vector(name))


@pytest.mark.parametrize("options", ["350109ff", "35020101ff", "350102340104ff", "3501020c00ff", "3501023d0101ff"])
def test_options_of_wrong_value_or_size_are_refused(options: str) -> None:
    with pytest.raises(DhcpError):
        decode(vector("offer_dnsmasq")[:240] + bytes.fromhex(options))


@pytest.mark.parametrize(
    "changes",
    [
        {"mac": "02:00"},
        {"mac": "zz:zz:zz:zz:zz:zz"},
        {"your_address": "300.1.1.1"},
        {"xid": 1 << 32},
        {"secs": -1},
        {"prefix_length": 33},
        {"lease_s": -1},
        {"max_bytes": 1 << 16},
        {"hostname": "ø"},
        {"hostname": ""},
        {"vendor_class": "x" * 66_000},
        {"server": "nowhere"},
        {"dns": ("8.8.8.8", "nowhere")},
        {"parameters": (256,)},
    ],
)
def test_what_does_not_fit_is_not_encoded(changes: dict[str, object]) -> None:
    with pytest.raises(DhcpError):
        encode(ack(**changes))


def many_dns(count: int) -> DhcpMessage:
    return ack(dns=tuple(f"10.0.{number >> 8}.{number & 255}" for number in range(count)))


def test_a_long_option_is_sent_in_parts_that_other_decoders_can_read_too() -> None:
    data = encode(many_dns(100))
    parts = data[data.index(b"\x06\xff") :]
    assert parts[:2] == b"\x06\xff" and parts[257:259] == bytes((6, 400 - 255))
    assert decode(data).dns == many_dns(100).dns


def test_what_finds_no_room_lies_in_the_file_and_name_fields() -> None:
    data = encode(many_dns(90), max_bytes=MAX_BYTES_LEAST)
    assert len(data) <= MAX_BYTES_LEAST - IP_UDP_BYTES
    assert bytes((OVERLOAD, 1, 1)) in data[240:]
    assert data[108:236].strip(b"\0") and not data[44:108].strip(b"\0")
    assert decode(data) == many_dns(90)


def test_options_can_be_put_into_the_file_and_name_fields_on_purpose() -> None:
    data = encode(ack(), overload=True)
    assert data[240:247] == bytes((53, 1, MessageType.ACK, OVERLOAD, 1, 3, 255))
    assert decode(data) == ack()


def test_more_than_all_fields_hold_is_refused() -> None:
    with pytest.raises(DhcpError, match="bytes of options do not fit"):
        encode(many_dns(130), max_bytes=MAX_BYTES_LEAST)


def test_options_can_be_replaced_left_out_and_added_byte_by_byte() -> None:
    reply = decode(encode(ack(), instead={51: None, 58: (60).to_bytes(4, "big"), 224: b"ours"}))
    assert (reply.lease_s, reply.t1_s, reply.dns) == (None, 60, ack().dns)
    with pytest.raises(DhcpError, match="option 6: 3 bytes"):
        decode(encode(ack(), instead={6: b"\x08\x08\x08"}))


@pytest.mark.parametrize(
    ("t1_s", "t2_s", "expected"),
    [
        (None, None, (1800.0, 3150.0)),
        (600, None, (600.0, 3150.0)),
        (600, 1200, (600.0, 1200.0)),
        (1200, 600, (1800.0, 3150.0)),
        (600, 7200, (1800.0, 3150.0)),
        (0, 0, (1800.0, 3150.0)),
        (0, 1200, (1800.0, 3150.0)),
        (3600, 3600, (1800.0, 3150.0)),
        (1200, 3600, (1800.0, 3150.0)),
        (INFINITE_S, INFINITE_S, (1800.0, 3150.0)),
        (1, 2, (1.0, 2.0)),
    ],
)
def test_timers_that_make_no_sense_are_replaced(
    t1_s: int | None, t2_s: int | None, expected: tuple[float, float]
) -> None:
    lease = lease_from(ack(t1_s=t1_s, t2_s=t2_s))
    assert (lease.t1_s, lease.t2_s) == expected


def test_an_endless_lease_ends_nowhere() -> None:
    assert lease_from(ack(lease_s=INFINITE_S, t1_s=60, t2_s=120)).lease_s == math.inf


@pytest.mark.parametrize(("address", "prefix_length"), [("10.1.1.1", 8), ("172.16.1.1", 16), ("192.168.1.1", 24)])
def test_without_a_mask_the_class_of_the_address_decides(address: str, prefix_length: int) -> None:
    assert lease_from(ack(your_address=address, prefix_length=None)).prefix_length == prefix_length


@pytest.mark.parametrize(
    "changes",
    [
        {"server": None},
        {"lease_s": None},
        {"lease_s": 0},
        {"your_address": "0.0.0.0"},
        {"your_address": "224.0.0.1"},
        {"your_address": "255.255.255.255"},
    ],
)
def test_an_ack_of_no_use_is_no_lease(changes: dict[str, object]) -> None:
    with pytest.raises(DhcpError, match="no lease"):
        lease_from(ack(**changes))
