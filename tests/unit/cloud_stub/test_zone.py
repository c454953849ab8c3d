"""What name servers know, out of a file like /etc/hosts."""

from pathlib import Path

import pytest

from cloud_stub.zone import ZONE_BYTES_MAX, parse_zone, read_zone
from emulator.errors import UsageError


def test_a_line_is_an_address_and_its_names() -> None:
    zone = parse_zone("# internet\n\n198.51.100.43\tapi.example  Files.Example # two\n", where="hosts")
    assert zone == {"api.example": ("198.51.100.43",), "files.example": ("198.51.100.43",)}


def test_a_name_of_several_lines_has_their_addresses_in_order() -> None:
    assert parse_zone("10.0.0.2 pool\n10.0.0.1 pool\n", where="hosts") == {"pool": ("10.0.0.2", "10.0.0.1")}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.1 a\n10.0.0.256 b", "hosts: line 2: 10.0.0.256 is no IPv4 address"),
        ("::1 localhost", "hosts: line 1: ::1 is no IPv4 address"),
        ("10.0.0.1 # nobody", "hosts: line 1: 10.0.0.1 has no name"),
    ],
)
def test_a_line_that_is_none_is_named(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_zone(text, where="hosts")
    assert str(refused.value) == complaint


def test_files_that_are_no_zone_are_named(tmp_path: Path) -> None:
    missing, binary, big = tmp_path / "missing", tmp_path / "binary", tmp_path / "big"
    binary.write_bytes(b"\xff\xfe")
    big.write_bytes(b"#" * (ZONE_BYTES_MAX + 1))
    for path, why in ((missing, "No such file"), (binary, "not a text file"), (big, "over"), (tmp_path, "directory")):
        with pytest.raises(UsageError, match=f"{path}: .*{why}"):
            read_zone(path)
