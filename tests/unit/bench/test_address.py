"""Where the bench may listen and who may use it: addresses, networks, tokens and their files."""

import os
from pathlib import Path

import pytest

from emulator.bench.address import bench_from
from emulator.bench.token import ENVIRONMENT, Token
from emulator.errors import UsageError

SECRET = "correct-horse-battery"


def token_file(folder: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(text: str | None, file: Path | None = None, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        bench_from(text, file, environ)
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8090", "127.0.0.1", 8090),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:8090", "::1", 8090),
        ("127.0.0.0/8:8090", "127.0.0.1", 8090),
    ],
)
def test_on_loopback_no_token_is_needed(text: str, host: str, port: int) -> None:
    at = bench_from(text, None, {})
    assert at is not None and (str(at.host), at.port, at.access.token) == (host, port, None)


def test_a_network_is_where_callers_come_from() -> None:
    for text, callers in (("127.0.0.0/8:0", "127.0.0.0/8"), ("127.0.0.1:0", "None")):
        at = bench_from(text, None, {})
        assert at is not None and str(at.access.callers) == callers


@pytest.mark.parametrize("text", ["", "8090", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:-1"])
def test_what_is_no_address_and_port(text: str) -> None:
    assert refusal(text).startswith(f"--bench {text}: ")


@pytest.mark.parametrize("host", ["localhost", "charger", "10.9.0.1/24", "300.1.1.1"])
def test_a_host_is_an_address_or_a_network(host: str) -> None:
    assert refusal(f"{host}:8090") == (
        f"--bench {host}:8090: HOST must be an IP address, or a network such as 10.9.0.0/24"
    )


def test_where_others_reach_it_a_token_is_needed(tmp_path: Path) -> None:
    why = f"--bench 192.0.2.1:8090: other machines reach this; it needs --bench-token-file FILE or {ENVIRONMENT}"
    assert refusal("192.0.2.1:8090") == why
    assert bench_from("192.0.2.1:8090", token_file(tmp_path), {}) is not None
    assert bench_from("192.0.2.1:8090", None, {ENVIRONMENT: SECRET}) is not None


@pytest.mark.parametrize("text", ["0.0.0.0:8090", "[::]:8090", "0.0.0.0/0:8090"])
def test_never_everywhere_for_that_is_the_chargers_network_too(tmp_path: Path, text: str) -> None:
    assert "would listen on the charger's own network too" in refusal(text, token_file(tmp_path))


def test_a_network_that_this_machine_is_not_in(tmp_path: Path) -> None:
    assert refusal("198.51.100.0/29:8090", token_file(tmp_path)).startswith("--bench 198.51.100.0/29:8090: ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o777])
def test_a_token_file_that_others_may_touch(tmp_path: Path, mode: int) -> None:
    file = token_file(tmp_path, mode=mode)
    why = f"--bench-token-file {file}: others may touch it (mode {mode:o}); it must have mode 600"
    assert refusal("127.0.0.1:0", file) == why


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 characters; it needs 16"),
        ("short\n", "5 characters; it needs 16"),
        ("two words of some length", "without blanks"),
        ("pässwort-pässwort", "visible ASCII"),
        ("line-one-of-two\nline-two-of-two", "visible ASCII"),
        ("x" * 1025, "over 1024 bytes"),
    ],
)
def test_a_token_that_is_none(tmp_path: Path, text: str, why: str) -> None:
    assert why in refusal("127.0.0.1:0", token_file(tmp_path, text))


def test_a_token_file_that_is_no_file(tmp_path: Path) -> None:
    assert refusal("127.0.0.1:0", tmp_path / "none").endswith(": No such file or directory")
    assert refusal("127.0.0.1:0", tmp_path).endswith(": is not a file")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert refusal("127.0.0.1:0", tmp_path / "pipe").endswith(": is not a file")


def test_a_token_without_a_bench_is_a_mistake(tmp_path: Path) -> None:
    assert refusal(None, tmp_path / "none").endswith(": is of no use without --bench")
    assert bench_from(None, None, {ENVIRONMENT: SECRET}) is None


def test_the_environment_is_asked_when_there_is_no_file(tmp_path: Path) -> None:
    assert refusal("127.0.0.1:0", None, **{ENVIRONMENT: "short"}).startswith(ENVIRONMENT)
    at = bench_from("127.0.0.1:0", token_file(tmp_path, "the-token-of-the-file"), {ENVIRONMENT: SECRET})
    assert at is not None and at.access.token is not None
    assert at.access.token.opens(b"Bearer the-token-of-the-file")


@pytest.mark.parametrize(
    ("header", "opens"),
    [
        (f"Bearer {SECRET}", True),
        (f"bearer   {SECRET} ", True),
        (f"Basic {SECRET}", False),
        (SECRET, False),
        (f"Bearer {SECRET[:-1]}", False),
        (f"Bearer {SECRET}x", False),
        ("Bearer ", False),
        ("", False),
        ("Bearer \xff", False),
    ],
)
def test_only_the_whole_token_opens(header: str, opens: bool) -> None:
    assert Token(SECRET, where="test").opens(header.encode("latin-1")) is opens


def test_a_token_does_not_show() -> None:
    token = Token(SECRET, where="test")
    assert SECRET not in repr(token) and SECRET not in str(token)
