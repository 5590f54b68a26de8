"""A child process that ends when its parent does, however the parent ends. Imports no torch.

Linux kills such a child itself. Elsewhere, and for a parent that lets go without ending, the child
watches a connection to the parent: the system closes it with the parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

PR_SET_PDEATHSIG = 1
"""The request of Linux's ``prctl(2)``: a signal to this process when its parent ends."""


def end_with_parent(parent: int) -> None:
    """From now on this process is killed when its parent ends; at once if that has ended.

    Linux means the thread that started this process: it must live as long as the parent.

    Args:
        parent: the process id that the parent gave as its own.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def end_with_connection(line: Connection) -> None:
    """From now on this process ends when the other side closes the connection or ends.

    Nobody else may read from the connection then; writing is allowed.
    """

    def watch() -> None:
        """Read until there is nobody to read from, and end then."""
        try:
            while True:
                line.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, name="sphinx-lifeline", daemon=True).start()
