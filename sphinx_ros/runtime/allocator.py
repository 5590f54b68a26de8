"""How the C library keeps memory that was freed, for a process that runs for weeks.

glibc gives each thread an arena, and raises the size from which memory is mapped by itself each
time such a piece is freed. Pictures of changing sizes, freed in a dozen threads, then lie in heaps
that never shrink: a node's memory creeps upward. Knows no picture.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from sphinx_ros.runtime.memory import free_memory

ARENAS = 2
"""Heaps that all threads share; the work is in one thread, the others hand messages over."""

MAPPED_FROM = 1 << 20
"""Bytes from which a piece is mapped by itself and given back when it is freed."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def give_memory_back() -> bool:
    """Let freed memory go back to the system; to be called before the first threads start.

    Returns:
        Whether the C library took it: glibc does, others have no such settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_ARENA_MAX, ARENAS) and mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM))


def give_back() -> None:
    """Give what was freed back to the system and to the GPU now, as after a network was let go."""
    gc.collect()
    free_memory()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):  # not glibc
            pass
