"""A decoder's layers as a flat list of products: the packed pass of a network of plain weights.

A pass of a small network, or of any on an accelerator, is bound by starting operations. Here the
products that read the same input are joined, what is added lands in the product that comes next,
positions are turned in place, and no module stands between. The numbers are those of
:mod:`sphinx_ros.model.layers`, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.cache import Span
from sphinx_ros.model.layers import Block, FeedForward, attend_packed
from sphinx_ros.model.rotary import turn_

SMALL = 1 << 26
"""Bytes of a decoder up to which this pays on a CPU too. Above, a pass is bound by reading the
weights, and joining them would copy what stays mapped from its file."""


class Heads(NamedTuple):
    """Heads of queries, heads of keys, and the channels of each."""

    queries: int
    keys: int
    size: int


class Flat(NamedTuple):
    """One layer; the products' weights lie the other way round than a linear layer's."""

    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    ffn_norm: Tensor
    gate_up: Tensor
    down: Tensor


def flat_layers(blocks: Sequence[Block]) -> list[Flat] | None:
    """The layers, flat; None where one is shared with others, routed, or stored in fewer bits.

    The blocks' own weights become views of the joined ones: they take no memory twice.
    """
    found = []
    for block in blocks:
        attention, feed = block.attention, block.feed_forward
        if not isinstance(feed, FeedForward) or attention.ranks.size > 1:
            return None
        layers = (
            attention.wq,
            attention.wk,
            attention.wv,
            attention.wo,
            feed.w1,
            feed.w2,
            feed.w3,
        )
        if any(type(layer) is not nn.Linear for layer in layers):
            return None
        found.append((block, attention, feed))
    return [
        Flat(
            block.attention_norm.weight.detach(),
            _joined(attention.wq, attention.wk, attention.wv),
            attention.wo.weight.detach().t(),
            block.ffn_norm.weight.detach(),
            _joined(feed.w1, feed.w3),
            feed.w2.weight.detach().t(),
        )
        for block, attention, feed in found
    ]


def _joined(*layers: nn.Linear) -> Tensor:
    weights = [layer.weight for layer in layers]
    joined = torch.cat([weight.detach() for weight in weights])
    for weight, part in zip(weights, joined.split([len(w) for w in weights]), strict=True):
        weight.data = part
    return joined.t()


def flat_pass(
    layers: Sequence[Flat],
    x: Tensor,
    turn: Tensor,
    spans: Sequence[Span],
    biases: Sequence[Tensor],
    heads: Heads,
    eps: float,
) -> Tensor:
    """X [N, dim] of tokens in spans -> [N, dim], in its place.

    turn: [N, D/2] of their positions. biases: of :func:`sphinx_ros.model.layers.bias`.
    """
    for index, layer in enumerate(layers):
        q, new = split(into_attention(layer, x, turn, heads, eps), heads)
        seen = attend_packed(q, new, spans, biases, index)
        x = out_of_attention(layer, x, seen, eps)
    return x


def into_attention(
    layer: Flat, x: Tensor, turn: Tensor, heads: Heads, eps: float, out: Tensor | None = None
) -> Tensor:
    """X [N, dim] to queries, keys and values [N, (H + 2K) * D], turned.

    out: where to; none: memory of their own.
    """
    y = torch.mm(_norm(x, layer.attention_norm, eps), layer.qkv, out=out)
    turned = heads.queries + heads.keys
    turn_(y.view(len(x), -1, heads.size).narrow(1, 0, turned), turn)
    return y


def split(y: Tensor, heads: Heads) -> tuple[Tensor, Tensor]:
    """What :func:`into_attention` made, to queries [H, N, D] and keys before values [2K, N, D]."""
    y = y.view(len(y), -1, heads.size).transpose(0, 1)
    queries, new = y.split((heads.queries, 2 * heads.keys))
    return queries, new


def out_of_attention(layer: Flat, x: Tensor, seen: Tensor, eps: float) -> Tensor:
    """X [N, dim] before attention and what that gave [N, H * D] -> [N, dim], in x's place."""
    x.addmm_(seen, layer.out)
    gate, up = _norm(x, layer.ffn_norm, eps).mm(layer.gate_up).chunk(2, -1)
    return x.addmm_(F.silu(gate).mul_(up), layer.down)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    if x.dtype is torch.float32:
        return F.rms_norm(x, weight.shape, weight, eps)
    # computed in float32, and rounded before the weight as the official code does
    return F.rms_norm(x, weight.shape, None, eps) * weight
