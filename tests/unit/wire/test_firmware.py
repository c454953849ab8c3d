"""Where the firmware is, on the wire: request and reply, and that garbage never does anything else."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.firmware import (
    LOCATION_MAX_BYTES,
    Location,
    decode_location,
    decode_location_request,
    encode_location,
    encode_location_request,
)
from emulator.wire.update_reason import FirmwareError, UpdateReason


def reason_of(call: Callable[..., Any], *args: Any) -> UpdateReason:
    with pytest.raises(FirmwareError) as caught:
        call(*args)
    return caught.value.reason


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_location, decode_location_request):
        assert reason_of(decode, data) is UpdateReason.MALFORMED


@given(st.binary(max_size=64))
def test_the_key_of_a_location_request_comes_back(key: bytes) -> None:
    assert decode_location_request(encode_location_request(key)) == key


def test_a_bad_location_request_does_not_quote_the_key() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    with pytest.raises(FirmwareError) as caught:
        decode_location_request(json.dumps({"psk": f"!{key}"}).encode())
    assert key not in str(caught.value)


def test_a_location_comes_back_as_it_went() -> None:
    location = Location("https://devices.zaptec.com/firmware/ZPR000001/5.4.0.0.bin", "5.4.0.0")
    assert decode_location(encode_location(location)) == location


@pytest.mark.parametrize("host", ["host", "a.b", "3com.a-b.x1:8443", f"{'x' * 63}.com", f"{'abc.' * 62}abcde"])
def test_a_location_may_be_on_any_host_with_a_name(host: str) -> None:
    location = Location(f"https://{host}/a", "5.4.0.0")
    assert decode_location(encode_location(location)) == location


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https://host",
        "https://host:0/a",
        "https://host:123456/a",
        "https://user@host/a",
        "https://host/a?b",
        "https://host/a#b",
        "https://host/a b",
        "https://höst/a",
        "https://host//a",
        "file:///etc/passwd",
        "https://[::1/a",
        "https://a..b/a",
        "https://../a",
        "https://.a/a",
        "https://a./a",
        "https://-/a",
        "https://-a.com/a",
        "https://a-.com/a",
        "https://1.2.3.999/a",
        "https://127.0.0.1/a",
        f"https://{'x' * 64}.com/a",
        f"https://{'abc.' * 63}com/a",
    ],
)
def test_a_download_url_must_be_a_plain_https_file(url: str) -> None:
    data = json.dumps({"DownloadUrl": url, "Version": "5.4.0.0"}).encode()
    assert reason_of(decode_location, data) is UpdateReason.MALFORMED


@pytest.mark.parametrize("url", ["http://devices.zaptec.com/a", "HTTP://devices.zaptec.com/a", "http:x"])
def test_an_address_without_tls_has_a_reason_of_its_own(url: str) -> None:
    data = json.dumps({"DownloadUrl": url, "Version": "5.4.0.0"}).encode()
    assert reason_of(decode_location, data) is UpdateReason.NOT_HTTPS


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"DownloadUrl": "https://host/a"}',
        b'{"DownloadUrl": "https://host/a", "Version": 5}',
        b'{"DownloadUrl": "https://host/a", "Version": "new"}',
        b'{"DownloadUrl": null, "Version": "5.4"}',
        b'{"DownloadUrl": "https://host/a", "Version": "5.4"}'.ljust(LOCATION_MAX_BYTES + 1),
    ],
)
def test_a_location_reply_must_be_whole_and_short(data: bytes) -> None:
    assert reason_of(decode_location, data) is UpdateReason.MALFORMED
