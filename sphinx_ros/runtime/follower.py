"""A follower's whole life: it is given its work, loads its part, and does what the leader says.

Imports torch only after it is sure to end with its leader.
"""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from multiprocessing.connection import Connection

from sphinx_ros.errors import SphinxError, first_line
from sphinx_ros.runtime.crew import REMEDY, Loss
from sphinx_ros.runtime.lifeline import end_with_connection, end_with_parent
from sphinx_ros.runtime.memory import memory_error, out_of_memory


def main(leader: int, descriptor: int) -> None:
    """Do the work that comes over a connection; does not return.

    Args:
        leader: process id of the leader.
        descriptor: of the connection to it, open in this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leader's business
    end_with_parent(leader)
    os.dup2(2, 1)  # standard output belongs to the leader's answers
    line = Connection(descriptor)
    try:
        payload = line.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
    end_with_connection(line)
    try:
        pickle.loads(payload)(line.send)
    except BaseException as error:
        line.send(_last_words(error))
        os._exit(1)
    os._exit(0)


def _last_words(error: BaseException) -> Loss:
    """What the leader says of this process's end."""
    if out_of_memory(error):
        error = memory_error("doing its part of the network", error)
    if isinstance(error, SphinxError):
        return Loss(str(error), error.status, type(error))
    traceback.print_exception(error)
    return Loss(f"{type(error).__name__}: {first_line(error)}; {REMEDY}")
