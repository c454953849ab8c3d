"""The certificates directory: what is in it, that OpenSSL agrees, and that making it is safe."""

import multiprocessing
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import BadKind, CertsDir, Root, default_dir, ensure
from certs.layout import HUB_HOST, LAYOUT, SERVER_NAMES, file_names, roots_of
from emulator.errors import UsageError
from emulator.wire.firmware_keys import public_pem

NO_CHECK_TIME = 0x200000


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    return ensure(tmp_path_factory.mktemp("made") / "certs")


def handshake(
    certs: CertsDir, chain: Path, key: Path, host: str, *, check_time: bool = True, root: Root | None = None
) -> None:
    """One TLS handshake in memory; raises what the client raises. It trusts all roots, or the one that is named."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(chain, key)
    client_context = ssl.create_default_context(cadata=certs.root_pem(root) if root else certs.roots_pem())
    if not check_time:
        client_context.verify_flags |= NO_CHECK_TIME
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=host)
    server = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() is not None


@pytest.mark.parametrize("host", [*SERVER_NAMES, "worker-1.azure-devices.net"])
def test_every_default_host_is_vouched_for_by_the_roots(certs: CertsDir, host: str) -> None:
    chain, key = certs.server(host if host in SERVER_NAMES else HUB_HOST)
    handshake(certs, chain, key, host)


@pytest.mark.parametrize("host", SERVER_NAMES)
def test_a_chain_leads_to_its_own_root_and_to_no_other(certs: CertsDir, host: str) -> None:
    for issuer in roots_of(host):
        for trusted in Root:
            if issuer is trusted:
                handshake(certs, *certs.server(host, issuer), host, root=trusted)
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match="unable to get"):
                    handshake(certs, *certs.server(host, issuer), host, root=trusted)


def test_the_bundle_host_is_the_vendors_and_the_others_are_under_the_old_public_root() -> None:
    assert {host: roots_of(host)[0] for host in SERVER_NAMES} == {
        host: Root.VENDOR if host == "devices.zaptec.com" else Root.OLD for host in SERVER_NAMES
    }


def test_a_public_host_has_no_certificate_of_the_vendor(certs: CertsDir) -> None:
    with pytest.raises(UsageError, match="under the vendor root"):
        certs.server(HUB_HOST, Root.VENDOR)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (BadKind.EXPIRED, "certificate has expired"),
        (BadKind.NOT_YET_VALID, "not yet valid"),
        (BadKind.WRONG_HOST, "Hostname mismatch"),
        (BadKind.UNKNOWN_ROOT, "self-signed certificate"),
        (BadKind.INTERCEPTED, "self-signed certificate"),
    ],
)
def test_each_bad_kind_is_refused_for_its_own_reason(certs: CertsDir, kind: BadKind, complaint: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        handshake(certs, *certs.bad(kind), HUB_HOST)


@pytest.mark.parametrize("kind", [BadKind.EXPIRED, BadKind.NOT_YET_VALID])
@pytest.mark.parametrize("host", SERVER_NAMES)
def test_bad_dates_are_the_only_thing_wrong_with_them(certs: CertsDir, kind: BadKind, host: str) -> None:
    handshake(certs, *certs.bad(kind), host, check_time=False)


def test_private_keys_are_for_the_owner_only(certs: CertsDir) -> None:
    assert stat.S_IMODE(certs.path.stat().st_mode) == 0o700
    keys = list(certs.path.glob("*.key"))
    assert len(keys) == 17
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_public_halves_belong_to_the_signers(certs: CertsDir) -> None:
    pairs = [
        (certs.firmware_signer(), certs.firmware_public_pem()),
        (certs.bundle_signer(), certs.bundle_public_pem()),
    ]
    for signer, published_pem in pairs:
        own = signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert own.decode() == published_pem
        assert signer.curve.name == "secp256r1"
    pems = certs.firmware_public_pems()
    assert {name: public_pem(key.public_key()) for name, key in certs.firmware_signers().items()} == pems
    assert len(set(pems.values())) == 4 and pems["firmware"] == certs.firmware_public_pem()
    foreign = certs.foreign_signer().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert foreign.decode() != certs.firmware_public_pem()


def test_the_old_root_vouches_for_a_key_that_signs_code(certs: CertsDir) -> None:
    certificate = x509.load_pem_x509_certificate(certs.vouched_certificate_pem().encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(certs.root_pem(Root.OLD).encode()))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
    key = certificate.public_key()
    assert isinstance(key, EllipticCurvePublicKey)
    assert public_pem(key) == certs.firmware_public_pems()["vouched"]


def test_two_issues_have_equal_lengths_so_simulated_handshakes_take_equal_time(certs: CertsDir, tmp_path: Path) -> None:
    def lengths(made: CertsDir) -> dict[str, list[int]]:
        return {
            path.name: [len(c.public_bytes(Encoding.DER)) for c in x509.load_pem_x509_certificates(path.read_bytes())]
            for path in made.path.glob("*.pem")
            if not path.name.endswith(".pub.pem")
        }

    assert lengths(ensure(tmp_path / "again")) == lengths(certs)


def test_a_complete_directory_is_left_alone(certs: CertsDir) -> None:
    before = {path: path.stat().st_mtime_ns for path in certs.path.iterdir()}
    assert ensure(certs.path) == certs
    assert {path: path.stat().st_mtime_ns for path in certs.path.iterdir()} == before
    assert file_names() <= {path.name for path in before}


def test_an_incomplete_directory_is_made_anew_as_a_whole(tmp_path: Path) -> None:
    certs = ensure(tmp_path)
    root = certs.roots_pem()
    certs.server("localhost")[0].unlink()
    handshake(ensure(tmp_path), *certs.server("localhost"), "localhost")
    assert certs.roots_pem() != root


def test_a_run_that_died_half_way_is_picked_up(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".making").mkdir()
    (tmp_path / ".making" / "roots.pem").write_text("half")
    (tmp_path / "root-old.key").write_text("half")
    assert ensure(tmp_path).is_complete()
    assert not (tmp_path / ".making").exists()


def test_somebody_elses_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "root.key").write_text("precious")
    with pytest.raises(UsageError, match="not ours"):
        ensure(tmp_path)
    assert (tmp_path / "root.key").read_text() == "precious"


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        ensure(tmp_path / "file")


def _root_of(out: Path) -> str:
    return ensure(out).roots_pem()


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        roots = pool.map(_root_of, [tmp_path / "shared"] * 3)
    assert len(set(roots)) == 1


def test_unknown_names_are_refused(certs: CertsDir) -> None:
    with pytest.raises(UsageError, match=r"example\.org"):
        certs.server("example.org")
    with pytest.raises(UsageError, match="rotten"):
        certs.bad("rotten")


def test_the_default_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZAPTEC_CERTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_dir() == Path(f"/somewhere/zaptec-pro-emulator/certs-{LAYOUT}")
    monkeypatch.setenv("ZAPTEC_CERTS", "/elsewhere")
    assert default_dir() == Path("/elsewhere")
