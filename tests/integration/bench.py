"""``python -m emulator run --bench``, ready, for tests that call it as a user would."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from emulator.bench.client import Bench
from tests.programs import Program, python

TOKEN = "correct-horse-battery"


class BenchProgram(Program):
    """One charger with a bench; `bench` is the client that has its token."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        at: str = "127.0.0.1:0",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.token_file = folder / "bench-token"
        self.token_file.write_text(TOKEN)
        self.token_file.chmod(0o600)
        where = ("--bench", at, "--bench-token-file", str(self.token_file))
        super().__init__(*python("emulator", "run", "--json", *where, *options), env=env)
        self.ready: dict[str, Any] = {}
        self.bench: Bench

    def __enter__(self) -> Self:
        try:
            self.ready = json.loads(self.line_with('"ready"'))
            self.bench = Bench(self.ready["bench"], TOKEN)
        except BaseException:
            super().__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *about: Any) -> None:
        self.bench.close()
        super().__exit__(*about)
