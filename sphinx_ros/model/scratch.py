"""Memory for one large intermediate at a time, used again by the next layer. Knows no layer.

On a CPU a tensor of a hundred megabytes costs a page fault for every 4 kB when it is made, and
again for the one after it: the C library gives memory of that size back to the system at once. A
look makes hundreds of them.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class Scratch(threading.local):
    """One piece of memory for each thread, as large as the largest that was asked for."""

    def __init__(self):
        self._kept: Tensor | None = None

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An uninitialised tensor, valid until the next one is taken in this thread.

        Its number type and device are those of ``like``. Not for what a gradient is taken of.
        """
        size, kept = math.prod(shape), self._kept
        fits = (
            kept is not None
            and (kept.dtype, kept.device) == (like.dtype, like.device)
            and kept.numel() >= size
            and kept.is_inference() == torch.is_inference_mode_enabled()
        )
        if not fits:
            self._kept = kept = None  # before the new one is there: never both
            self._kept = kept = like.new_empty(size)
        return kept[:size].view(shape)

    def drop(self) -> None:
        """Give this thread's memory back."""
        self._kept = None


SCRATCH = Scratch()
