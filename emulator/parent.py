"""A child process that ends when its parent is gone, even if the parent was killed. On Linux; elsewhere it may stay."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
LOST = 127
"""Exit status of a child whose parent was gone before its program started."""


def signalled_at_our_end(number: signal.Signals) -> Callable[[], None]:
    """What a child does before its program starts (``preexec_fn``), so that the kernel sends it this when we end.

    That is when the *thread* ends that started it, so start it from one that stays. The kernel forgets about it when
    the child changes its user (prctl(2), PR_SET_PDEATHSIG).
    """
    if sys.platform != "linux":
        return lambda: None
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(LOST)

    return ask
