"""What C libraries write to standard error while a file is decoded -> words for an error.

libtiff prints what it finds wrong, and Pillow offers no other way to hear it. Standard error is
one for the whole process: what other threads write meanwhile is passed on.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator

STDERR = 2
"""The file descriptor that C libraries write to."""

MOST = 1 << 16
"""Bytes of what was written that are read."""

_TURN = threading.Lock()


@contextlib.contextmanager
def overheard(sign: re.Pattern[str]) -> Iterator[Callable[[], str]]:
    """Hold standard error back while something runs, and Python's warnings with it.

    sign: what lines of the library look like. Other lines are written afterwards. Gives a function
    that tells the library's lines, joined, once the block is left; "" where there are none.
    """
    said: list[str] = []
    with _TURN, warnings.catch_warnings(), tempfile.TemporaryFile() as kept:
        warnings.simplefilter("ignore")
        try:
            before = os.dup(STDERR)
        except OSError:  # closed: nobody hears it anyway
            yield lambda: ""
            return
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(kept.fileno(), STDERR)
            yield lambda: "; ".join(said)
        finally:
            os.dup2(before, STDERR)
            os.close(before)
            kept.seek(0)
            for line in kept.read(MOST).decode(errors="replace").splitlines():
                if sign.search(line):
                    said.append(line.strip())
                elif sys.stderr is not None:
                    print(line, file=sys.stderr)
