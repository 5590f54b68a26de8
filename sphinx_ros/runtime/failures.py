"""Any error -> one with a name, for those who must tell it and live on."""

from __future__ import annotations

import logging

from sphinx_ros.errors import SphinxError, Status, first_line
from sphinx_ros.runtime.memory import memory_error, out_of_memory

log = logging.getLogger("sphinx_ros")


def named(error: BaseException, whose: str) -> SphinxError:
    """The error with a name. INTERNAL for what is not foreseen.

    whose: who has the log that its message sends to: "the server's", "the node's".
    """
    if isinstance(error, SphinxError):
        return error
    if out_of_memory(error):
        return memory_error("answering", error)
    return SphinxError(f"{type(error).__name__}: {first_line(error)}; see {whose} log")


def logged(error: BaseException, whose: str, what: str) -> SphinxError:
    """The same; what is not foreseen leaves its trace in the log. what: failed, for the log."""
    found = named(error, whose)
    if found.status is Status.INTERNAL:
        log.error("%s failed: %s", what, found, exc_info=error)
    return found
