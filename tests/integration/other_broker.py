"""A Mosquitto that the cloud has not started, and ports for those who want to come back to where they were."""

import getpass
import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

from cloud_stub.bus.broker import CONFIGURATION, SAVE_S
from tests.programs import Program
from tests.requirements import program


class OtherBroker:
    """A Mosquitto of somebody else's, that saves as often as ours. Killed, it comes back at the same port."""

    def __init__(self, directory: Path) -> None:
        self._file, self.port = directory / "broker.conf", free_port()
        directory.mkdir()
        text = CONFIGURATION.format(
            port=self.port, host="127.0.0.1", directory=directory, save_s=SAVE_S, user=getpass.getuser()
        )
        self._file.write_text(text)

    def run(self, stack: ExitStack) -> Program:
        """It listens."""
        running = stack.enter_context(Program(program("mosquitto"), "-c", str(self._file), tell=subprocess.STDOUT))
        running.line_with(" running")
        return running


def free_port() -> int:
    """For somebody who listens in a moment."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
