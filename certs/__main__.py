"""``python -m certs --out DIR``: make a directory of keys and certificates."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from certs.layout import file_names
from certs.make import ensure
from emulator.command_line import obey

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="The directory to fill; it must be new, empty or made by this command.")],
    as_json: Annotated[bool, typer.Option("--json", help="Report as one JSON object.")] = False,
) -> None:
    """Make the root, server, bad and signing keys and certificates that are missing in a directory."""
    certs = ensure(out)
    if as_json:
        print(json.dumps({"out": str(certs.path), "ca": str(certs.roots_path), "files": sorted(file_names())}))
    else:
        print(f"{len(file_names())} files in {certs.path}; the roots are in {certs.roots_path}")


def main() -> None:
    """Console script."""
    sys.exit(obey(app, "certs", sys.argv[1:]))


if __name__ == "__main__":
    main()
