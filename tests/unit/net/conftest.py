from pathlib import Path

import pytest

from certs.layout import CertsDir
from certs.make import ensure


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    """A full set of certificates, made once per run."""
    directory: Path = tmp_path_factory.mktemp("certs")
    return ensure(directory)
