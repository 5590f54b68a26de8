"""A network -> the memory that one look at a picture takes beside its weights.

The look is run through the real code on tensors without numbers (torch's "meta" device), and what
it holds at each moment is added up: nothing is loaded and nothing computed. Knows no checkpoint.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sphinx_ros.model.sphinx import SphinxModel


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors made while it is on: held now, and at most.

    there: tensors that were there before, views of which are nothing new.
    """

    def __init__(self, there: Iterable[torch.Tensor]):
        super().__init__()
        self.now = self.peak = 0
        self._there = [tensor.untyped_storage() for tensor in there]
        self._known = weakref.WeakValueDictionary({id(s): s for s in self._there})

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._take(tensor.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._known:
            return  # a view of something counted
        self._known[id(storage)] = storage
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._give_back, size)

    def _give_back(self, size: int) -> None:
        self.now -= size


@torch.inference_mode()
def look_numbers(model: SphinxModel) -> int:
    """How many numbers encoding one picture holds at once, at most, weights not counted.

    model: on any device; on "meta" nothing is computed. The decoder needs less for reading the
    image tokens, and needs it later.
    """
    side, like = model.config.image_size, model.norm.weight
    with Held([*model.parameters(), *model.buffers()]) as held:
        picture = torch.zeros(1, 3, side, side, dtype=like.dtype, device=like.device)
        model.encode_image(picture)
    return held.peak // like.element_size()
