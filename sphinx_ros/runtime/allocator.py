"""How the C library keeps memory that was freed, for a process that runs for weeks.

glibc gives each thread an arena. Pictures of changing sizes, freed in a dozen threads, then lie in
heaps that never shrink: a node's memory creeps upward. Few arenas bound that. What is freed at the
top of one stays there for the next picture, up to a limit: memory that comes anew from the system
is cleared page by page, which takes longer than all else that is done to a camera's picture. Knows
no picture.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

from sphinx_ros.runtime.memory import free_memory

ARENAS = 2
"""Heaps that all threads share; the work is in one thread, the others hand messages over."""

MAPPED_FROM = 32 << 20
"""Bytes from which a piece is mapped by itself and given back when it is freed: the most that
glibc takes. A 4K picture of a camera is below."""

KEPT = 128 << 20
"""Free bytes at the top of an arena from which on they are given back. A 1080p picture is there
four times while it is taken out of the middleware."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def bound_memory() -> bool:
    """Bound what is kept of freed memory; to be called before the first threads start.

    Returns:
        Whether the C library took it: glibc does, others have no such settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {
        _M_ARENA_MAX: ARENAS,
        _M_MMAP_THRESHOLD: MAPPED_FROM,
        _M_TRIM_THRESHOLD: KEPT,
    }
    return all([mallopt(setting, value) for setting, value in settings.items()])


def give_back() -> None:
    """Give what was freed back to the system and to the GPU now, as after a network was let go."""
    gc.collect()
    free_memory()
    trim()


def trim() -> None:
    """Give the free pages inside the heaps back to the system; to be called now and then.

    Pictures of changing sizes leave holes there, which are used again only in part.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)
