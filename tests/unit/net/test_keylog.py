"""The key log: OpenSSL writes the secrets of those sessions that ask for it, and of no others."""

import ssl
from pathlib import Path

import pytest

from certs.layout import HUB_HOST, CertsDir
from emulator.errors import UsageError
from emulator.net.capture import CaptureFiles, capturing
from emulator.net.keylog import Keylog, KeylogReader
from emulator.net.tls import client_context, server_context


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes:
    """A handshake in memory; the master secret is nowhere but in a key log."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HUB_HOST)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() == theirs.version() == "TLSv1.2"
    return theirs.getpeercert(binary_form=True) or b""


@pytest.fixture
def server(certs: CertsDir) -> ssl.SSLContext:
    return server_context(*certs.server(HUB_HOST))


def test_a_session_is_a_line_of_a_file_that_only_its_owner_may_read(
    certs: CertsDir, server: ssl.SSLContext, tmp_path: Path
) -> None:
    log = Keylog(tmp_path / "keys")
    reader = KeylogReader(log.path)
    for _ in range(2):
        shake_hands(client_context(certs.roots_pem(), log), server)
    comment, first, second = reader.read().splitlines()
    assert comment.startswith(b"#") and first != second
    for line in (first, second):
        label, client_random, secret = line.split()
        assert (label, len(client_random), len(secret)) == (b"CLIENT_RANDOM", 64, 96)
    assert reader.read() == b""
    assert log.path.stat().st_mode & 0o777 == 0o600
    reader.close()
    log.close()


def test_sessions_of_others_are_not_logged(certs: CertsDir, server: ssl.SSLContext, tmp_path: Path) -> None:
    log = Keylog(tmp_path / "keys")
    client_context(certs.roots_pem(), log)
    shake_hands(client_context(certs.roots_pem()), server)
    assert b"CLIENT_RANDOM" not in log.path.read_bytes()
    log.close()


def test_a_server_can_log_its_side(certs: CertsDir, tmp_path: Path) -> None:
    log = Keylog(tmp_path / "keys")
    server = server_context(*certs.server(HUB_HOST), keylog=log)
    assert server is server_context(*certs.server(HUB_HOST), keylog=log)
    shake_hands(client_context(certs.roots_pem()), server)
    assert log.path.read_bytes().count(b"CLIENT_RANDOM") == 1
    log.close()


def test_a_new_log_of_the_same_name_has_sessions_of_its_own(
    certs: CertsDir, server: ssl.SSLContext, tmp_path: Path
) -> None:
    for _ in range(2):
        log = Keylog(tmp_path / "keys")
        shake_hands(client_context(certs.roots_pem(), log), server)
        log.close()
        assert log.path.read_bytes().count(b"CLIENT_RANDOM") == 1


def test_files_that_cannot_be_made_are_named_and_nothing_is_half_open(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "x"
    with pytest.raises(UsageError, match=f"--keylog {nowhere}: No such file"), capturing(CaptureFiles(None, nowhere)):
        pass
    files = CaptureFiles(nowhere, tmp_path / "keys")
    with pytest.raises(UsageError, match=f"--pcap {nowhere}: No such file"), capturing(files):
        pass
    with pytest.raises(UsageError, match="that is the file of --pcap"):
        CaptureFiles(tmp_path / "x", tmp_path / "x")
    with pytest.raises(UsageError, match=f"--pcap {nowhere}"):
        CaptureFiles(nowhere).make()


def test_several_stories_have_files_of_their_own(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path / "all.pcapng", tmp_path / "all.keys").of_story("wrong-ca")
    assert files == CaptureFiles(tmp_path / "all-wrong-ca.pcapng", tmp_path / "all-wrong-ca.keys")
    assert CaptureFiles.from_json(files.to_json()) == files
    assert CaptureFiles().of_story("wrong-ca") == CaptureFiles()


def test_who_wants_nothing_gets_nothing() -> None:
    with capturing(CaptureFiles()) as capture:
        assert capture is None
