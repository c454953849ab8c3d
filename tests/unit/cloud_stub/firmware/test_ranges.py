"""Ranges and conditions as RFC 9110 has them, sections 13 and 14."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.firmware.ranges import parse_range, part_for

TAG = '"a1"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", range(10)),
        ("Bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-500", range(90, 100)),
        ("bytes=90-99999999999999999999999999", range(90, 100)),
        ("bytes=-30", range(70, 100)),
        ("bytes=-300", range(100)),
        ("bytes=99-99", range(99, 100)),
        ("bytes= 5-6 ,", range(5, 7)),
        ("bytes=100-100", None),
        ("bytes=-0", None),
        ("", range(100)),
        ("bytes", range(100)),
        ("bytes=", range(100)),
        ("bytes=-", range(100)),
        ("bytes=9-1", range(100)),
        ("bytes=0-1,5-6", range(100)),
        ("bytes=0-1" + " " * 300, range(100)),
        ("bytes=٣-٤", range(100)),
        ("lines=0-1", range(100)),
    ],
)
def test_one_range_of_bytes_is_served_and_anything_else_means_everything(header: str, expected: range | None) -> None:
    assert parse_range(header, 100) == expected


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d*-\d*"), st.integers(1, 10_000))
def test_any_range_header_stays_inside_the_file(header: str, total: int) -> None:
    span = parse_range(header, total)
    assert span is None or (0 <= span.start < span.stop <= total and span.step == 1)


@given(
    st.dictionaries(
        st.sampled_from(["range", "if-range", "if-match", "if-none-match"]),
        st.text(max_size=30) | st.sampled_from(["*", TAG, f"W/{TAG}", "bytes=0-9", "bytes=200-"]),
    )
)
def test_whatever_is_asked_for_status_bytes_and_headers_agree(headers: dict[str, str]) -> None:
    part = part_for(headers, TAG, 100)
    assert part.headers["ETag"] == TAG and part.headers["Accept-Ranges"] == "bytes"
    said = part.headers.get("Content-Range")
    match part.status:
        case 200:
            assert (part.span, said) == (range(100), None)
        case 206:
            assert said == f"bytes {part.span.start}-{part.span.stop - 1}/100" and part.span
        case 416:
            assert (part.span, said) == (range(0), "bytes */100")
        case status:
            assert status in (304, 412) and not part.span and said is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"range": "bytes=0-9"}, 206),
        ({"range": "bytes=0-"}, 206),
        ({"range": "bytes=0-99"}, 206),
        ({"range": "bytes=0-9", "if-range": TAG}, 206),
        ({"range": "bytes=0-9", "if-range": '"b2"'}, 200),
        ({"range": "bytes=0-9", "if-range": f"W/{TAG}"}, 200),
        ({"range": "bytes=0-9", "if-range": "Wed, 21 Oct 2015 07:28:00 GMT"}, 200),
        ({"range": "bytes=500-", "if-range": '"b2"'}, 200),
        ({"if-range": TAG}, 200),
        ({"range": "bytes=500-", "if-range": TAG}, 416),
        ({"if-match": f'"b2", {TAG}'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"b2"', "range": "bytes=0-9"}, 412),
        ({"if-match": f"W/{TAG}"}, 412),
        ({"if-none-match": f"W/{TAG}"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"b2"', "range": "bytes=0-9"}, 206),
    ],
)
def test_a_part_of_another_file_is_never_sent(headers: dict[str, str], status: int) -> None:
    assert part_for(headers, TAG, 100).status == status
