"""The packed pass of a whole decoder in one call, for a few tokens on a CPU.

The call is of native.c; the structures are those of its headers.

A pass of few tokens is bound by starting operations in a small network, and by reading the weights
in a large one: there all operations between the products are a seventh of its time. Written for
small networks of float32, and for any whose matrices are of a kind in matrix.h.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from sphinx_ros.model import native
from sphinx_ros.model.cache import Span
from sphinx_ros.model.flat import Heads
from sphinx_ros.model.layers import Block, FeedForward
from sphinx_ros.model.native import Matrix
from sphinx_ros.model.stored_layers import StoredLinear

ALONE = 10_000_000
"""Products of weights and activations in a pass from which on several threads do it. They wait for
each other some 40 times in a pass of the demonstration model, whatever else runs on their cores.
One token takes one thread 0.6 ms and two 0.4 ms on two idle cores; beside one busy process 0.55
and 1.3 ms, beside two 1.1 and 3.5 ms."""

TOGETHER = 4
"""Queries that meet the same keys, at most: ``TOGETHER`` of attention.h."""

MATRICES = ("queries", "keys", "values", "out", "gate", "up", "down")


class _Layer(ctypes.Structure):
    _fields_ = [
        ("attention_norm", c_void_p),
        ("ffn_norm", c_void_p),
        *((name, Matrix) for name in MATRICES),
    ]


class _Sizes(ctypes.Structure):
    _fields_ = [
        *((n, c_int64) for n in ("layers", "dim", "heads", "keys", "size", "hidden", "narrow")),
        ("eps", c_double),
    ]


class _Span(ctypes.Structure):
    _fields_ = [
        ("cache", c_void_p),
        *((name, c_int64) for name in ("layer_bytes", "length", "tokens", "used")),
        *((name, c_void_p) for name in ("slots", "visible", "places", "added")),
        ("seen", c_int64),
    ]


class _Work(ctypes.Structure):
    _fields_ = [
        *((n, c_void_p) for n in ("normed", "heads", "seen", "gate", "up", "scores")),
        ("most", c_int64),
        ("ready", native.Ready),
    ]


class NativePass:
    """The layers of one decoder; their weights must stay where they are, and as they are.

    A copy, or what is read from a pickle, is None: the addresses are of this network.
    """

    def __init__(self, blocks: Sequence[Block], heads: Heads, eps: float):
        self._heads = heads
        self._owners: list[Any] = []  # of the memory that the structures point to
        self._layers = (_Layer * len(blocks))(*map(self._layer, blocks))
        first = blocks[0]
        self._dtype = first.attention_norm.weight.dtype
        self._dim = len(first.attention_norm.weight)
        self._hidden = first.feed_forward.w2.in_features
        self._products = sum(
            getattr(layer, name).outs * getattr(layer, name).ins
            for layer in self._layers
            for name in MATRICES
        )
        self._sizes = _Sizes(
            len(blocks), self._dim, *heads, self._hidden, self._dtype == torch.bfloat16, eps
        )

    @classmethod
    def of(
        cls, blocks: Sequence[Block], heads: Heads, eps: float, small: bool = True
    ) -> NativePass | None:
        """That of some layers; None where one is not of a kind that it is written for.

        small: whether plain layers are: large ones are multiplied as fast by torch.
        """
        if not blocks or not all(_takes(block, heads, small) for block in blocks):
            return None
        return cls(blocks, heads, eps)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def takes(self, x: Tensor, spans: Sequence[Span]) -> bool:
        """Whether these tokens can be given to it: few, on the CPU, real, without gradients."""
        if type(x) is not Tensor or x.device.type != "cpu" or len(x) > native.MOST:
            return False
        if torch.is_grad_enabled() and x.requires_grad:
            return False
        return all(
            span.cache.stored.dtype == self._dtype and span.cache.batch == 1 for span in spans
        )

    def __call__(self, x: Tensor, turn: Tensor, spans: Sequence[Span]) -> Tensor:
        """X [N, dim] of at most ``native.MOST`` tokens in spans -> [N, dim]; x may be overwritten.

        turn: [N, D/2] of their positions, complex. Where :meth:`takes` is true.

        Raises:
            IndexError: a slot, or what is visible, lies outside its cache.
        """
        wide, turn = x.float().contiguous(), turn.contiguous()
        threads = torch.get_num_threads() if len(x) * self._products >= ALONE else 1
        most = max(_padded(span.visible.shape[1]) for span in spans)
        work, owner = self._work(len(x), most, threads)
        made = [_span(span) for span in spans]
        native.functions().pass_of(
            self._layers,
            ctypes.byref(self._sizes),
            (_Span * len(made))(*(span for span, _ in made)),
            len(made),
            wide.data_ptr(),
            turn.data_ptr(),
            ctypes.byref(work),
            len(x),
            threads,
        )
        del owner, made
        return wide.to(self._dtype)

    def _work(self, rows: int, most: int, threads: int) -> tuple[_Work, Any]:
        """Memory for a pass, and what owns it."""
        queries, keys, size = self._heads
        widths = self._dim, (queries + 2 * keys) * size, queries * size, self._hidden, self._hidden
        places, memory = _memory([*(rows * width for width in widths), threads * TOGETHER * most])
        ready, more = native.ready(rows, max(widths))
        return _Work(*places, most, ready), (memory, more)

    def _layer(self, block: Block) -> _Layer:
        norms = [self._wide(block.attention_norm.weight), self._wide(block.ffn_norm.weight)]
        return _Layer(*norms, *map(self._matrix, _matrices(block)))

    def _wide(self, weight: Tensor) -> int:
        wide = weight.detach().float().contiguous()
        self._owners.append(wide)
        return wide.data_ptr()

    def _matrix(self, layer: nn.Module) -> Matrix:
        self._owners.append([*layer.parameters(), *layer.buffers()])
        if isinstance(layer, StoredLinear):
            return layer.matrix()
        weight = layer.weight.detach()
        return Matrix(native.FLOAT32, *weight.shape, weight.data_ptr())


def _matrices(block: Block) -> list[Any]:
    """In the order of :data:`MATRICES`."""
    attention, feed = block.attention, block.feed_forward
    return [attention.wq, attention.wk, attention.wv, attention.wo, feed.w1, feed.w3, feed.w2]


def _padded(positions: int) -> int:
    return -(-positions // native.LANES) * native.LANES


def _memory(sizes: Sequence[int]) -> tuple[list[int], Tensor]:
    """Addresses of pieces of so many numbers of 4 bytes, and what owns them."""
    owner = torch.empty(sum(sizes))
    starts = itertools.accumulate(sizes[:-1], initial=0)
    return [owner.data_ptr() + 4 * start for start in starts], owner


def _span(span: Span) -> tuple[_Span, Any]:
    """The structure, and what owns the memory it points to."""
    stored, slots, visible = span.cache.stored, span.slots.contiguous(), span.visible.contiguous()
    tokens, used = visible.shape
    last = int(slots.max())
    inside = max(used, last + 1) <= span.cache.length and len(slots) == tokens
    if not inside or slots.dtype != torch.int64:
        raise IndexError(f"slot {last} and {used} visible positions of {span.cache.length}")
    memory, owner = _memory([_padded(used), tokens * _padded(used)])
    made = _Span(
        stored.data_ptr(),
        stored.stride(0) * stored.element_size(),
        span.cache.length,
        tokens,
        used,
        slots.data_ptr(),
        visible.data_ptr(),
        *memory,
    )
    return made, (slots, visible, owner)


def _takes(block: Block, heads: Heads, small: bool) -> bool:
    """Whether a layer is whole, dense, of sizes in whole vectors, its norms of one number type
    and its matrices of one kind.
    """
    if not isinstance(block.feed_forward, FeedForward) or block.attention.ranks.size > 1:
        return False
    layers = _matrices(block)
    one = layers[0]
    norms = {block.attention_norm.weight.dtype, block.ffn_norm.weight.dtype}
    if norms not in ({torch.float32}, {torch.bfloat16}):
        return False
    if type(one.weight.detach()) is not Tensor or len({type(layer) for layer in layers}) > 1:
        return False
    if any(layer.bias is not None for layer in layers) or heads.size % native.LANES:
        return False
    if type(one) is nn.Linear:
        sizes = {size for layer in layers for size in layer.weight.shape}
        plain = all(
            layer.weight.dtype == torch.float32 and layer.weight.is_contiguous()
            for layer in layers
        )
        return small and plain and not any(size % native.LANES for size in sizes)
    return isinstance(one, StoredLinear) and all(layer.is_native for layer in layers)
