"""Small arrays of the host -> tensors of a device, by one copy that nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def send(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Arrays of one type to tensors of their shapes. On a CPU they share the arrays' memory.

    Elsewhere a copy of each would be started alone, and from memory that may be paged out it
    would wait for all that the device was given before.
    """
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    flat = [torch.from_numpy(array).flatten() for array in arrays]
    sizes = [len(part) for part in flat]
    whole = torch.empty(sum(sizes), dtype=flat[0].dtype, pin_memory=device.type == "cuda")
    parts = torch.cat(flat, out=whole).to(device, non_blocking=True).split(sizes)
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]
