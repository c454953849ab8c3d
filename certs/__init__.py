"""Keys and certificates for the emulator and its stub cloud: made on demand, never committed, trusted nowhere else."""

from certs.layout import BadKind, CertsDir
from certs.make import default_dir, ensure

__all__ = ["BadKind", "CertsDir", "default_dir", "ensure"]
