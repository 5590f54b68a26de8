"""Adapters with random factors, strong enough that answers are other ones; and a mixture."""

from pathlib import Path

import torch
from goldens import TOKENIZER
from small_network import SIZES

from sphinx_ros.checkpoint import save_checkpoint
from sphinx_ros.checkpoint.adapter import Adapter, fingerprint
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.teach.low_rank import linear_layers

EXPERTS = {key: value for key, value in SIZES.items() if key != "multiple_of"} | {
    "hidden_dim": 64,
    "n_kv_heads": 2,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}


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


def experts_checkpoint(folder: Path) -> Path:
    """A small mixture of experts with random weights."""
    model = SphinxModel(ModelConfig.from_json(EXPERTS, "mixtral_sparse_ens", 512))
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    kind = torch.float32
    return save_checkpoint(model, EXPERTS, "mixtral_sparse_ens", TOKENIZER, folder, dtype=kind)
