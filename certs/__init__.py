"""Keys and certificates for the emulator and its stub cloud: made on demand, never committed, trusted nowhere else."""

from certs.layout import BadKind, CertsDir, Root
from certs.make import default_dir, ensure

__all__ = ["BadKind", "CertsDir", "Root", "default_dir", "ensure"]
