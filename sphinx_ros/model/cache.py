"""Keys and values of every layer, written in place and read as views. Knows no question.

Axes: B sequences, K key/value heads, L positions, D channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import Ranks


class Cache:
    """One tensor [layers, B, 2, K, L, D], keys before values; K: this rank's heads.

    like: a cache for as many sequences whose positions begin this one.
    """

    def __init__(
        self,
        config: ModelConfig,
        ranks: Ranks,
        batch: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
        like: Cache | None = None,
    ):
        heads = ranks.part(config.kv_heads, "key/value heads")
        shape = (config.n_layers, batch, 2, heads, length, config.head_dim)
        self.stored = torch.empty(shape, dtype=dtype, device=device)
        if like is not None:
            kept = min(length, like.length)
            self.stored[..., :kept, :] = like.stored[..., :kept, :]
        self.keys, self.values = self.stored[:, :, 0], self.stored[:, :, 1]
        # views are made once: a pass of a small network is bound by making them
        self.rows = list(self.stored[:, 0].flatten(1, 2)) if batch == 1 else []

    @property
    def length(self) -> int:
        """Positions there is room for."""
        return self.stored.shape[4]

    @property
    def batch(self) -> int:
        """Sequences there is room for."""
        return self.stored.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory of this rank's part."""
        return self.stored.nbytes

    def write(self, layer: int, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, K, T, D] from position ``start``; views of all positions so far come back."""
        end = start + k.shape[2]
        self.keys[layer, :, :, start:end] = k
        self.values[layer, :, :, start:end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def put(self, layer: int, slots: Tensor, new: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """Store ``new`` [2K, n, D] at positions ``slots`` [n] of a single sequence.

        Views of the keys and the values [K, used, D] of its first positions come back.
        """
        rows = self.rows[layer].index_copy_(1, slots, new)
        keys, values = rows.narrow(1, 0, used).chunk(2)
        return keys, values


class Span(NamedTuple):
    """Tokens that stand next to each other in a packed pass and belong to one cache.

    cache: of a single sequence. slots: [n] where their keys and values go, any free positions.
    visible: [n, used] bool, the first positions of the cache that each of them sees, its own slot
    included.
    """

    cache: Any
    slots: Tensor
    visible: Tensor
