"""Start values of the miniature network: from a seed, or from a trained one that is smaller.

A network may grow by ConvNeXt blocks and by layers of its decoder. Knows no file.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

LAYERS_BEFORE = 2
"""Layers of the decoder before those that a network grows by: they gather the question's words."""
CONVNEXT_BLOCK = re.compile(r"openclip_convnext_xxl\.stages\.(\d)\.blocks\.(\d+)\.")
LAYER = re.compile(r"layers\.(\d+)\.")


def sin_cos_table(grid: int, width: int) -> Tensor:
    """Fixed 2-D position codes [1 + grid^2, width], zero for the class token: a start to learn
    from that already tells neighbours from strangers.
    """
    half = width // 4
    frequency = 1.0 / 100 ** (torch.arange(half) / half)
    angle = torch.arange(grid)[:, None] * frequency * (2 * math.pi / grid)
    code = torch.cat((angle.sin(), angle.cos()), 1)  # [grid, width / 2]
    rows = code[:, None].expand(grid, grid, -1)
    columns = code[None].expand(grid, grid, -1)
    table = torch.cat((rows, columns), -1).flatten(0, 1)
    table = F.pad(table, (0, width - table.shape[1]))
    return torch.cat((torch.zeros(1, width), 0.3 * table))


@torch.no_grad()
def initialise(model: SphinxModel, seed: int) -> None:
    """Start values for training from scratch; the libraries' own suit fine-tuning of deep ones."""
    torch.manual_seed(seed)
    grid = model.config.patch_grid
    for name, p in model.named_parameters():
        if name.endswith("gamma"):
            p.fill_(0.5)
        elif p.dim() <= 1:
            p.fill_(1.0 if name.endswith("weight") else 0.0)
        elif p.dim() == 4:
            p.normal_(0, 1 / math.sqrt(p[0].numel()))
        elif p.dim() == 2 and name.endswith(("weight", "in_proj_weight")):
            p.normal_(0, 0.7 / math.sqrt(p.shape[1]))
        else:
            p.normal_(0, 0.3)
    depth = 1 / math.sqrt(2 * model.config.n_layers)
    for layer in model.layers:
        layer.attention.wo.weight.mul_(depth)
        layer.feed_forward.w2.weight.mul_(depth)
    model.tok_embeddings.weight.normal_(0, 0.3)
    clip, dino = model.clip.visual, model.dinov2_vitg14
    clip.positional_embedding.copy_(sin_cos_table(grid, clip.positional_embedding.shape[-1]))
    dino.pos_embed.copy_(sin_cos_table(grid, dino.pos_embed.shape[-1])[None])
    positions = model.qformer.vision_model.embeddings.position_embedding
    positions.copy_(sin_cos_table(grid, positions.shape[-1])[None])


def grows_into(small: ModelConfig, large: ModelConfig) -> bool:
    """Whether the two are the same, or differ only in what ``large`` has more of: ConvNeXt blocks
    and layers of the decoder.
    """
    had, has = small.towers.convnext.depths, large.towers.convnext.depths
    if len(had) != len(has) or any(a > b for a, b in zip(had, has, strict=True)):
        return False
    if not LAYERS_BEFORE <= small.n_layers <= large.n_layers:
        return small == large
    convnext = replace(small.towers.convnext, depths=has)
    towers = replace(small.towers, convnext=convnext)
    return replace(small, towers=towers, n_layers=large.n_layers) == large


@torch.no_grad()
def take_up(model: SphinxModel, weights: dict[str, Tensor], smaller: ModelConfig) -> list[str]:
    """Begin ``model`` with the weights of one that may have fewer blocks or layers.

    ConvNeXt blocks that are new come last in their stage, layers that are new behind the first
    :data:`LAYERS_BEFORE`. They begin as the identity (nothing is added), so that the grown network
    answers exactly as the small one did. Returns the new keys.
    """
    had, more = smaller.towers.convnext.depths, model.config.n_layers - smaller.n_layers
    weights = {_moved(key, more): value for key, value in weights.items()}
    own = model.state_dict()
    new = [key for key in own if key not in weights]
    for key in new:
        block, layer = CONVNEXT_BLOCK.match(key), LAYER.match(key)
        if not (block and int(block[2]) >= had[int(block[1])]) and not (layer and more):
            raise CheckpointError(f"the checkpoint that training begins with lacks {key}")
        if key.endswith(("gamma", "attention.wo.weight", "feed_forward.w2.weight")):
            own[key].zero_()
    model.load_state_dict({key: own[key] for key in new} | weights)
    return new


def _moved(key: str, more: int) -> str:
    """The name of a tensor in a network that has more layers."""
    layer = LAYER.match(key)
    if not layer or int(layer[1]) < LAYERS_BEFORE:
        return key
    return f"layers.{int(layer[1]) + more}.{key[layer.end() :]}"
