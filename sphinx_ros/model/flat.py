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
    heads: tuple[int, int, int],
    eps: float,
) -> Tensor:
    """X [N, dim] of tokens in spans -> [N, dim]; heads: of queries, of keys, channels of each."""
    queries, keys, size = heads
    width = (x.shape[1],)
    for index, layer in enumerate(layers):
        y = _norm(x, width, layer.attention_norm, eps).mm(layer.qkv)
        y = y.view(len(x), queries + 2 * keys, size)
        turn_(y.narrow(1, 0, queries + keys), turn)
        q, new = y.transpose(0, 1).split((queries, 2 * keys))
        seen = attend_packed(q, new, spans, biases, index)
        x = torch.addmm(x, seen, layer.out)
        gate, up = _norm(x, width, layer.ffn_norm, eps).mm(layer.gate_up).chunk(2, -1)
        x = torch.addmm(x, F.silu(gate).mul_(up), layer.down)
    return x


def _norm(x: Tensor, width: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
    if x.dtype is torch.float32:
        return F.rms_norm(x, width, weight, eps)
    wide = x.float()  # rounded before the weight, as the official code does
    return (wide * torch.rsqrt(wide.square().mean(-1, True) + eps)).type_as(x) * weight
