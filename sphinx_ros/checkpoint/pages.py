"""Tensors that map files, and fresh ones, as pages of memory: advice to the system about them.

All of it is advice: where the system does not know it (anything but Linux; filling needs 5.14),
the same numbers come, only slower or in more memory.
"""

from __future__ import annotations

import ctypes
import functools
import mmap

from torch import Tensor

FILL = 22
"""MADV_POPULATE_READ: map all pages now, reading the file in large pieces."""

HUGE = 2 << 20
"""Bytes of a large page; tensors smaller than two of them are left alone."""


@functools.cache
def _libc():
    return ctypes.CDLL(None, use_errno=True)


def _advise(start: int, end: int, advice: int) -> bool:
    """Advice about the whole pages between two addresses; whether the system took it."""
    page = mmap.PAGESIZE
    start, end = -(-start // page) * page, end // page * page
    if end <= start:
        return True
    return _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice) == 0


def span(tensor: Tensor) -> tuple[int, int]:
    """Addresses of a CPU tensor's first byte and of the one behind its last, gaps included."""
    if not tensor.numel():
        return tensor.data_ptr(), tensor.data_ptr()
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def read_ahead(tensor: Tensor) -> None:
    """Have the file behind a tensor read now: a page at a time, as they are touched, is several
    times slower.
    """
    if not _advise(*span(tensor), FILL):
        _advise(*span(tensor), mmap.MADV_WILLNEED)  # an older system begins to read, and goes on


def large_pages(tensor: Tensor) -> None:
    """Let a fresh tensor get its memory in large pages: fewer faults now, and fewer misses of the
    processor's page tables each time that its weights are read.
    """
    start, end = span(tensor)
    if end - start >= 2 * HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        _advise(start, end, mmap.MADV_HUGEPAGE)


def forget_pages(tensor: Tensor) -> None:
    """Drop the pages of a tensor that maps a file and was not written to. Any other tensor is left
    as it is.

    They stay in the system's file cache. Without this a process that streams through a checkpoint
    seems to grow by all of its files.
    """
    start, end = span(tensor)
    if end > start and maps_file(start, end):
        _advise(start, end, mmap.MADV_DONTNEED)


def maps_file(start: int, end: int) -> bool:
    """Whether these addresses map a file, as Linux says; False elsewhere."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                low, high = (int(n, 16) for n in line.split(None, 1)[0].split("-"))
                if low <= start < high:
                    fields = line.split(None, 5)
                    return end <= high and len(fields) == 6 and fields[5].startswith("/")
    except OSError:
        pass
    return False
