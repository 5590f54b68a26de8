"""A packed pass of few tokens in memory that stays where it is: float32 on a CPU.

A pass of a small network is bound by starting operations. All that a layer of
:mod:`sphinx_ros.model.flat` writes goes to the same buffers in each layer and each pass, so that
their views (heads, complex numbers, halves) are made once for each number of tokens, and those of
a cache once for each pass. The numbers are those of :func:`sphinx_ros.model.flat.flat_pass`, up to
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.model.cache import Span
from sphinx_ros.model.flat import Flat, Heads
from sphinx_ros.model.layers import FEW

ROWS = 32
"""Tokens of a pass from which on the products take longer than starting operations does."""


class Buffers(NamedTuple):
    """What the layers write, of n tokens, and its views.

    both: [n, 2, dim], x and -x; x, minus: its halves. qkv: [n, (H + 2K) * D].
    turned: queries and keys in it as complex numbers [n, H + K, D / 2]. queries: [H, n, D].
    new: [2K, n, D], keys before values. seen: [n, H * D], by_head: the same as [H, n, D]. wide:
    [n, 2 * hidden]; gate, up: its halves.
    """

    both: Tensor
    x: Tensor
    minus: Tensor
    qkv: Tensor
    turned: Tensor
    queries: Tensor
    new: Tensor
    seen: Tensor
    by_head: Tensor
    wide: Tensor
    gate: Tensor
    up: Tensor


class Place(NamedTuple):
    """Where the tokens of a span stand in a pass: views of the buffers and of the span's cache.

    rows, keys, values: of each layer; [2K, L, D], [K, D, used] and [K, used, D].
    """

    bias: Tensor
    slots: Tensor
    queries: Tensor
    new: Tensor
    by_head: Tensor
    rows: Sequence[Tensor]
    keys: Sequence[Tensor]
    values: Sequence[Tensor]


class Steady:
    """The layers of one network with their buffers. One pass at a time."""

    def __init__(self, layers: Sequence[Flat], norm: Tensor, heads: Heads, eps: float):
        """norm: weight [dim] of the norm behind the layers."""
        self._heads, self._eps = heads, eps
        # views of the norms' weights, twice each, which follow their values: see `_norm`
        self._norm = norm.expand(2, -1)
        self._layers = [
            layer._replace(
                attention_norm=layer.attention_norm.expand(2, -1),
                ffn_norm=layer.ffn_norm.expand(2, -1),
            )
            for layer in layers
        ]
        self._memory: tuple[Tensor, ...] | None = None
        self._made: dict[int, Buffers] = {}

    @staticmethod
    def serves(layers: Sequence[Flat], heads: Heads) -> bool:
        """Whether it is for these layers: float32 on a CPU, no keys that several queries share."""
        weight = layers[0].qkv
        return weight.dtype is torch.float32 and not weight.is_cuda and heads.queries == heads.keys

    def takes(self, x: Tensor, biases: Sequence[Tensor] = ()) -> bool:
        """Whether this pass is one: few tokens that see few positions, no gradient, numbers."""
        few = len(x) <= ROWS and all(bias.numel() <= FEW for bias in biases)
        return few and type(x) is Tensor and not torch.is_grad_enabled()

    def __call__(
        self, x: Tensor, turn: Tensor, spans: Sequence[Span], biases: Sequence[Tensor]
    ) -> Tensor:
        """X [N, dim] of tokens in spans -> [N, dim], until the next call. See `flat_pass`."""
        at = self._made.get(len(x))
        if at is None:
            at = self._made[len(x)] = self._buffers(len(x))
        at.x.copy_(x)
        turn = turn[:, None]
        places = _places(at, spans, biases)
        scale, eps = self._heads.size**-0.5, self._eps
        for index, layer in enumerate(self._layers):
            torch.neg(at.x, out=at.minus)
            torch.mm(_norm(at.both, layer.attention_norm, eps), layer.qkv, out=at.qkv)
            at.turned.mul_(turn)
            for place in places:
                place.rows[index].index_copy_(1, place.slots, place.new)
                scores = torch.baddbmm(place.bias, place.queries, place.keys[index], alpha=scale)
                torch.bmm(scores.softmax(-1), place.values[index], out=place.by_head)
            at.x.addmm_(at.seen, layer.out)
            torch.neg(at.x, out=at.minus)
            torch.mm(_norm(at.both, layer.ffn_norm, eps), layer.gate_up, out=at.wide)
            at.x.addmm_(F.silu(at.gate).mul_(at.up), layer.down)
        return at.x

    def normed(self, x: Tensor) -> Tensor:
        """The norm behind the layers, of x [..., dim]."""
        return _norm(torch.stack((x, x.neg()), -2), self._norm, self._eps)

    def _buffers(self, n: int) -> Buffers:
        """Those of n tokens: the first rows of the memory that passes of all sizes write."""
        heads = self._heads
        # what is made in inference mode could not be written to outside of it
        with torch.inference_mode(False), torch.no_grad():
            if self._memory is None:
                layer = self._layers[0]
                dim, inner = layer.qkv.shape[0], heads.queries * heads.size
                widths = 2 * dim, layer.qkv.shape[1], inner, layer.gate_up.shape[1]
                self._memory = tuple(torch.zeros(ROWS, width) for width in widths)
            both, qkv, seen, wide = (memory[:n] for memory in self._memory)
            by_token = qkv.view(n, -1, heads.size)
            turned = by_token[:, : heads.queries + heads.keys].unflatten(-1, (-1, 2))
            by_head = by_token.transpose(0, 1)
            both = both.unflatten(-1, (2, -1))
            return Buffers(
                both,
                both[:, 0],
                both[:, 1],
                qkv,
                torch.view_as_complex(turned),
                by_head[: heads.queries],
                by_head[heads.queries :],
                seen,
                seen.view(n, -1, heads.size).transpose(0, 1),
                wide,
                *wide.chunk(2, -1),
            )


def _norm(both: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm of x [..., dim], given both x and -x [..., 2, dim], and twice the weight [2, dim].

    torch has no kernel for it on a CPU, but one for layer norm: x and -x together have the mean 0,
    and as variance the mean square of x.
    """
    return torch.layer_norm(both, weight.shape, weight, None, eps).select(-2, 0)


def _places(at: Buffers, spans: Sequence[Span], biases: Sequence[Tensor]) -> list[Place]:
    found, first = [], 0
    for span, bias in zip(spans, biases, strict=True):
        n, used = span.visible.shape
        stored = span.cache.stored[:, 0].narrow(3, 0, used)
        found.append(
            Place(
                bias,
                span.slots,
                at.queries.narrow(1, first, n),
                at.new.narrow(1, first, n),
                at.by_head.narrow(1, first, n),
                span.cache.rows,
                stored[:, 0].transpose(-1, -2).unbind(),
                stored[:, 1].unbind(),
            )
        )
        first += n
    return found
