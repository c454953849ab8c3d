"""openssl alone judges a firmware image, with the commands of the README as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from certs.layout import CertsDir
from cloud_stub.firmware.cms import cms_signature

pytestmark = pytest.mark.needs("openssl")

ROOT = Path(__file__).parents[2]


def commands_under(heading: str) -> list[str]:
    """The indented lines of a section of the README, without their comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    block = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    return [re.sub(r"\s+# .*$", "", line) for line in lines]


MADE = commands_under("### Build and sign an image")
JUDGED = commands_under("### With openssl alone")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands for keys, image and signature have run."""
    path = tmp_path_factory.mktemp("desk")
    for command in MADE:
        done = run(path, command)
        assert done.returncode == 0, (command, done.stderr)
    return path


def run(desk: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command line as somebody types it in a shell."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    line = ["bash", "-o", "pipefail", "-c", command]
    return subprocess.run(line, cwd=desk, env=environment, capture_output=True, text=True, timeout=60)


def judged(desk: Path) -> list[tuple[int, str]]:
    """Exit status and output of each of the README's openssl commands."""
    return [(done.returncode, done.stdout.strip()) for done in (run(desk, command) for command in JUDGED)]


def inspected(desk: Path) -> dict[str, str]:
    """The words of inspect, by the first of each line."""
    lines = run(desk, "python -m cloud_stub firmware inspect image.bin").stdout.splitlines()
    return {line.split()[0]: line for line in lines}


def test_the_readme_shows_every_step() -> None:
    assert [line.split()[3:5] for line in MADE] == [
        ["--out", "keys"],
        ["firmware", "build"],
        ["firmware", "sign"],
        ["firmware", "inspect"],
        ["firmware", "verify"],
    ]
    assert len(JUDGED) == 3 and all("openssl" in line for line in JUDGED)


def test_openssl_says_that_the_signature_holds_the_image_is_the_signed_one_and_whose_key_it_is(desk: Path) -> None:
    signature, image, key = judged(desk)
    assert signature == (0, "Verified OK")
    shown = inspected(desk)
    assert image[0] == 0 and shown["sha256"].split()[1] in image[1]
    assert key[0] == 0 and shown["key"].split()[1] == f"{key[1]};"


@pytest.mark.parametrize(("name", "spoils"), [("image.bin.manifest", 0), ("image.bin.sig", 0), ("image.bin", 1)])
def test_openssl_notices_one_altered_byte(desk: Path, name: str, spoils: int) -> None:
    original = (desk / name).read_bytes()
    middle = len(original) // 2
    try:
        (desk / name).write_bytes(original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :])
        assert [status != 0 for status, _ in judged(desk)] == [index == spoils for index in range(3)]
        refused = run(desk, MADE[-1])
        assert refused.returncode == 1 and "refused: " in refused.stdout
    finally:
        (desk / name).write_bytes(original)


def test_what_openssl_signs_is_accepted(desk: Path) -> None:
    """For who keeps the key where only openssl gets at it."""
    ours = (desk / "image.bin.sig").read_bytes()
    sign = "openssl dgst -sha256 -sign keys/firmware-signer.key -out image.bin.sig image.bin.manifest"
    try:
        assert run(desk, sign).returncode == 0
        verified = run(desk, MADE[-1])
        assert verified.returncode == 0, verified.stdout
        assert verified.stdout.startswith("image.bin: good: ")
    finally:
        (desk / "image.bin.sig").write_bytes(ours)


@pytest.fixture(scope="module")
def vouched(desk: Path) -> str:
    """An image whose manifest names a key that the old root has certified; the result is the command to verify it."""
    build = MADE[1].replace("firmware-signer", "vouched-signer").replace("image.bin", "vouched.bin")
    assert run(desk, build).returncode == 0
    return MADE[-1].replace("image.bin", "vouched.bin")


def test_openssl_agrees_that_the_old_root_vouches_for_a_key_whose_image_is_refused(desk: Path, vouched: str) -> None:
    """The chain is good, and still nobody may sign firmware with it."""
    chain = run(desk, "openssl verify -CAfile keys/root-old.pem keys/vouched-signer.pem")
    assert chain.stdout.strip() == "keys/vouched-signer.pem: OK"
    assert run(desk, "python -m cloud_stub firmware sign vouched.bin --key keys/vouched-signer.key").returncode == 0
    refused = run(desk, vouched)
    assert refused.returncode == 1 and "refused: unknown_key" in refused.stdout


@pytest.mark.parametrize(
    "options",
    [
        "cms",
        "cms -noattr",
        "cms -nodetach",
        "cms -nocerts",
        "cms -keyid -md sha512",
        "cms -certfile keys/root-old.pem",
        "cms -stream -nodetach",
        "smime",
    ],
)
def test_what_openssl_signs_with_a_certificate_is_refused_as_that(desk: Path, vouched: str, options: str) -> None:
    """The way of RAUC and SWUpdate; openssl itself is content with it."""
    tool, *more = options.split()
    signer = "-signer keys/vouched-signer.pem -inkey keys/vouched-signer.key"
    files = "-in vouched.bin.manifest -outform DER -out vouched.bin.sig"
    assert run(desk, f"openssl {tool} -sign -binary {signer} {files} {' '.join(more)}").returncode == 0
    trusted = "-CAfile keys/root-old.pem -purpose any -certfile keys/vouched-signer.pem"
    content = f"-content vouched.bin.manifest {trusted} -in vouched.bin.sig -inform DER"
    assert run(desk, f"openssl {tool} -verify -binary {content} -out /dev/null").returncode == 0
    refused = run(desk, vouched)
    assert refused.returncode == 1
    assert refused.stdout == (
        "vouched.bin: refused: certificate_signer: signed with a certificate: "
        "certificates vouch for servers, never for firmware\n"
    )


def test_openssl_is_content_with_what_the_cloud_hands_out_for_a_key_of_a_ca(desk: Path) -> None:
    certs = CertsDir(desk / "keys")
    certificate = load_pem_x509_certificate(certs.vouched_certificate_pem().encode())
    manifest = (desk / "image.bin.manifest").read_bytes()
    made = cms_signature(manifest, certs.firmware_signers()["vouched"], certificate)
    (desk / "handed-out.sig").write_bytes(made)
    check = "openssl cms -verify -binary -inform DER -in handed-out.sig -content image.bin.manifest"
    judged = run(desk, f"{check} -CAfile keys/root-old.pem -purpose any -out /dev/null")
    assert judged.returncode == 0, judged.stderr
