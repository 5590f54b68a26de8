"""What the layers of the visual encoders have in common: attention and wide linear layers.

Axes: N views, T tokens of a view, C channels, H heads. Knows no text.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.scratch import take
from sphinx_ros.model.stored_layers import linear_into

ROWS = 8192
"""Rows that :func:`mlp_in_pieces` takes at a time. Between a ConvNeXt block's layers the map has
four times its channels: in the first stage of a 512 pixel view that would be 0.1 GB of float32,
the most that a look ever holds. With fewer rows at a time the weights would be the larger part,
and stored ones would become floating point more than once."""


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of all to all: queries [N, T, C], keys and values [N, S, C] to [N, T, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def attend_joint(qkv: Tensor, heads: int) -> Tensor:
    """As :func:`attend`, for queries, keys and values that lie side by side: [N, T, 3 C]."""
    q, k, v = qkv.chunk(3, dim=-1)
    return attend(q, k, v, heads)


class JointProjection(nn.Module):
    """Self-attention whose q, k and v are one matrix, with the names of ``MultiheadAttention``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, C] to [N, T, C]."""
        # the matrix may be kept in bfloat16 where float32 is computed
        qkv = F.linear(x, self.in_proj_weight.to(x), self.in_proj_bias)
        return self.out_proj(attend_joint(qkv, self.heads))


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        if torch.is_grad_enabled():
            return self.fc2(F.gelu(self.fc1(x)))
        return mlp_in_pieces(x, self.fc1, gelu_, self.fc2)


def gelu_(x: Tensor) -> Tensor:
    """The exact GELU, in place; without gradients."""
    return F.gelu(x, out=x)


def mlp_in_pieces(x: Tensor, first: nn.Module, act: Callable, second: nn.Module) -> Tensor:
    """second(act(first(x))) for x [..., C] without gradients, at most ROWS rows at a time.

    What the first layer makes is by far the widest: it lies in memory that the next block uses
    again (:mod:`sphinx_ros.model.scratch`), and ``act`` works in place on it; ``act`` may return
    a part of it.
    """
    flat = x.flatten(0, -2)
    pieces = max(1, math.ceil(len(flat) / ROWS))
    each = max(1, math.ceil(len(flat) / pieces))
    wide = take((each, first.out_features), flat)
    out = flat.new_empty(len(flat), second.out_features)
    for part, into in zip(flat.split(each), out.split(each), strict=True):
        linear_into(second, act(linear_into(first, part, wide[: len(part)])), into)
    return out.unflatten(0, x.shape[:-1])
