from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.bus.properties import clean


@given(st.text())
def test_text_that_a_broker_ends_the_connection_for_is_escaped(text: str) -> None:
    ((name, value),) = clean(((text, text),))
    assert name == value
    assert not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or ord(c) in (0x7F, 0xFFFE, 0xFFFF) for c in value)
    if text.isascii() and text.isprintable():
        assert value == text


def test_ordinary_properties_stay_as_they_are() -> None:
    assert clean((("$.ct", "application/json"), ("name", "Ærø\0\n"))) == (
        ("$.ct", "application/json"),
        ("name", "Ærø%00%0A"),
    )
