"""Rotary positions: neighbouring pairs of channels are turned by an angle that grows with them.

Source: accessory/model/LLM/llama_ens.py, ``precompute_freqs_cis`` and ``apply_rotary_emb``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sphinx_ros.model.config import ModelConfig

Rope = tuple[Tensor, Tensor]
"""Cosines and sines of :func:`rotary_table`."""


def rotary_table(config: ModelConfig, positions: Tensor) -> Rope:
    """Cosines and sines [..., T, D/2] of positions [..., T], float32.

    ``rope_scaling`` multiplies the positions. They stay float32 here; the official code rounds
    them to the model's own type when it was loaded in half precision, which moves positions
    from 257 on (bfloat16): an accident that we do not repeat.
    """
    pairs = torch.arange(0, config.head_dim, 2, device=positions.device).float()
    frequencies = 1.0 / (config.rope_theta ** (pairs / config.head_dim))
    angles = (positions.float() * (config.rope_scaling or 1.0))[..., None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring channel pairs of x [B, T, H, D] by angles [(B,) T, D/2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # [B, T, H, D/2] each
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)


def turns(config: ModelConfig, device: torch.device) -> Tensor:
    """The turns of all positions 0 .. max_seq_len - 1 as complex numbers [max_seq_len, D/2]."""
    return torch.complex(*rotary_table(config, torch.arange(config.max_seq_len, device=device)))


def turn_(x: Tensor, by: Tensor) -> None:
    """Turn x [N, H, D] in place by complex numbers [N, D/2]: :func:`rotate` in one operation."""
    wide = x if x.dtype is torch.float32 else x.float()
    torch.view_as_complex(wide.unflatten(-1, (-1, 2))).mul_(by[:, None])
    if wide is not x:
        x.copy_(wide)
