"""How a cloud is told to stop."""

import asyncio
import signal


def cancel_on_signals() -> None:
    """The first SIGINT, SIGTERM or SIGHUP cancels the running task, wherever it is; cleaning up is not disturbed."""
    task, stopping = asyncio.current_task(), asyncio.Event()
    assert task is not None  # noqa: S101 - called from a task

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            asyncio.get_running_loop().add_signal_handler(number, stop)
