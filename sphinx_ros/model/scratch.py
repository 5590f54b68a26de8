"""Memory for one large intermediate at a time, used again by the next layer. Knows no layer.

On a CPU a tensor of a hundred megabytes costs a page fault for every 4 kB when it is made, and
again for the one after it: the C library gives memory of that size back to the system at once. A
look makes hundreds of them.

    with reused_memory():
        ... take(shape, like) ...
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator

import torch
from torch import Tensor


class _Held(threading.local):
    """What this thread keeps: how many blocks it is in, and the one piece of memory."""

    depth = 0
    memory: Tensor | None = None


_HELD = _Held()


@contextlib.contextmanager
def reused_memory() -> Iterator[None]:
    """A block in which :func:`take` gives the same memory again, as large as the largest that was
    asked for. It is given back at the end; of nested blocks, at the end of the outermost.
    """
    _HELD.depth += 1
    try:
        yield
    finally:
        _HELD.depth -= 1
        if not _HELD.depth:
            _HELD.memory = None


def take(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialised tensor of the number type and device of ``like``.

    In a block of :func:`reused_memory` it is valid until this thread takes the next one; outside
    it is a tensor like any other. Not for what a gradient is taken of.
    """
    size, kept = math.prod(shape), _HELD.memory
    fits = (
        kept is not None
        and (kept.dtype, kept.device) == (like.dtype, like.device)
        and kept.numel() >= size
        and kept.is_inference() == torch.is_inference_mode_enabled()
    )
    if kept is None or not fits:
        _HELD.memory = kept = None  # before the new one is there: never both
        kept = like.new_empty(size)
        if _HELD.depth:
            _HELD.memory = kept
    return kept[:size].view(shape)
