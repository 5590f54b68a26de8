"""Adapters with random factors: strong enough that answers are other ones."""

from pathlib import Path

import torch

from sphinx_ros.checkpoint.adapter import Adapter, fingerprint
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.teach.low_rank import linear_layers


def random_adapter(folder: Path, base, seed: int = 0, strength: float = 0.02) -> Path:
    """An adapter of all layers that `sphinx-ros tune` teaches, written into a folder."""
    stored = open_checkpoint(base)
    draw = torch.Generator().manual_seed(seed)
    factors = {}
    for layer in linear_layers(stored.model, towers=False):
        out, wide = stored.shape(f"{layer}.weight")
        a, b = (torch.randn(size, generator=draw) for size in ((2, wide), (out, 2)))
        factors[f"{layer}.weight"] = (a, strength * b)
    return Adapter(2, 2.0, fingerprint(stored), str(base), factors).write(folder)
