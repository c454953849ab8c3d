"""Processes of one hub that start at the same moment all get its state, even where there is none yet."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from cloud_stub.state.database import FILE_NAME, State

OPENERS, ROUNDS = 3, 60


def test_several_may_open_a_new_state_at_once(tmp_path: Path) -> None:
    """To switch a file to the write-ahead log SQLite needs it for itself, and does not wait for that."""
    start = Barrier(OPENERS)

    def open_and_close(path: Path) -> None:
        start.wait()
        State(path).close()

    with ThreadPoolExecutor(OPENERS) as pool:
        for number in range(ROUNDS):
            place = tmp_path / str(number)
            place.mkdir()
            for opened in [pool.submit(open_and_close, place / FILE_NAME) for _ in range(OPENERS)]:
                opened.result()
