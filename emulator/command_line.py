"""How every command of the project ends: its exit status, and one line for what it could not do."""

import errno
import sys

import typer

from emulator.errors import EmulatorError

AS_EXPECTED, NOT_AS_EXPECTED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def obey(app: typer.Typer, name: str, arguments: list[str]) -> int:
    """The exit status of one command line; bad usage or a start that fails has been said in one line on stderr."""
    try:
        status = app(arguments, prog_name=name, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except typer.TyperException as error:
        return _refuse(name, error.format_message())
    except EmulatorError as error:
        return _refuse(name, str(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # who read us has gone; there is nothing to flush
        return NOT_AS_EXPECTED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None  # nor here
        return _refuse(name, f"{error.filename or 'standard output'}: {error.strerror}")
    return int(status or 0)


def _refuse(name: str, message: str) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return BAD_USAGE
