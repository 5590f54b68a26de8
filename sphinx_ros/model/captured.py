"""A packed pass of few tokens -> captured pieces, each started as one, with attention between.

On an accelerator such a pass is bound by starting small operations. Attention follows spans,
caches and lengths that are others in each pass; all that stands between two attentions depends on
the number of tokens alone. So it is captured once for each number of :data:`LADDER`:

    first piece    embeddings and turns; norm, q/k/v and rotary of the first layer
    between two    output product and feed-forward of a layer; norm, q/k/v and rotary of the next
    last piece     output product and feed-forward of the last layer; final norm, all rows' logits

Tokens are padded to the next number: the rows beyond hold what earlier passes left there, no row
depends on another one, and nobody reads them. All pieces read and write buffers that stay where
they are, so that between two pieces nothing lives in memory of the graphs.

The first pass of each number is computed plainly as well. Where the two differ, and where
capturing fails, all further passes are plain ones.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sphinx_ros.errors import first_line
from sphinx_ros.model.cache import Span
from sphinx_ros.model.flat import Flat, Heads, into_attention, out_of_attention, split
from sphinx_ros.model.layers import attend_spans, bias

log = logging.getLogger(__name__)

LADDER = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of tokens that are captured. A pass of more has work enough to hide its starts, and
padding would add to it. Not measured."""

TOLERANCE = {torch.float32: 0.01, torch.float16: 0.03, torch.bfloat16: 0.1}
"""How far a token's logits may lie from the plain ones, as a share of their spread. Products of
padded rows are added up in another order; a row that is wrong is off by the whole."""

Run = Callable[[], object]
"""Does something to tensors that stay where they are."""

Capture = Callable[[Run], Run]
"""Takes what a function does, and returns what does the same again to the same tensors."""

Plain = Callable[[Tensor, Tensor, Sequence[Span]], Tensor]
"""Ids [N], positions [N] and spans to float32 logits [N, vocabulary], without any capture."""


class Parts(NamedTuple):
    """What a pass is made of.

    embedding: ids to rows. norm, output: rows to normalised ones, and to logits. turns: of all
    positions, complex. eps: of the layers' norms.
    """

    layers: Sequence[Flat]
    embedding: nn.Module
    norm: nn.Module
    output: nn.Module
    turns: Tensor
    heads: Heads
    eps: float


class Buffers(NamedTuple):
    """What pieces read and write, of R rows.

    tokens, positions: [R]. turn: [R, D/2] complex. x: [R, dim]. qkv: [R, (H + 2K) * D].
    seen: [R, H * D], from attention. logits: [R, vocabulary], float32.
    """

    tokens: Tensor
    positions: Tensor
    turn: Tensor
    x: Tensor
    qkv: Tensor
    seen: Tensor
    logits: Tensor

    def first(self, rows: int) -> Buffers:
        """Views of the first rows."""
        return Buffers(*(buffer[:rows] for buffer in self))


class Captured:
    """The captured passes of one network, one at a time.

    on: whether there are any; once off it stays off.
    """

    def __init__(self, parts: Parts, capture: Capture):
        self.on = True
        self._parts, self._capture = parts, capture
        self._buffers: Buffers | None = None
        self._rungs: dict[int, list[Run]] = {}

    def step(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span], plain: Plain
    ) -> Tensor | None:
        """Float32 logits [N, vocabulary] of ids [N] in spans, until the next call.

        plain: the same without captures, for the first pass of each rung. None: this pass is to be
        made plainly, as one of many tokens, with gradients, or of tensors that hold no numbers.
        """
        number = len(tokens)
        if not self.on or number > LADDER[-1]:
            return None
        if torch.is_grad_enabled() or type(tokens) is not Tensor:
            return None
        rung = LADDER[bisect.bisect_left(LADDER, number)]
        pieces = self._rungs.get(rung)
        if pieces is None:
            return self._first(rung, tokens, positions, spans, plain)
        return self._pass(pieces, tokens, positions, spans)

    def _pass(
        self, pieces: Sequence[Run], tokens: Tensor, positions: Tensor, spans: Sequence[Span]
    ) -> Tensor:
        assert self._buffers is not None
        at, heads = self._buffers.first(len(tokens)), self._parts.heads
        at.tokens.copy_(tokens)
        at.positions.copy_(positions)
        biases = [bias(s.visible, heads.queries // heads.keys, at.x.dtype) for s in spans]
        q, new = split(at.qkv, heads)
        seen = at.seen.view(len(tokens), -1, heads.size).transpose(0, 1)
        for index, piece in enumerate(pieces[:-1]):
            piece()
            seen.copy_(attend_spans(q, new, spans, biases, index))
        pieces[-1]()
        return at.logits

    def _first(
        self,
        rung: int,
        tokens: Tensor,
        positions: Tensor,
        spans: Sequence[Span],
        plain: Plain,
    ) -> Tensor | None:
        """Capture a rung, and take it if it gives what the plain pass gives."""
        want = None
        try:
            pieces = self._captured(rung)
            found = self._pass(pieces, tokens, positions, spans)
            want = plain(tokens, positions, spans)  # writes the same slots once more
            reason = _difference(found, want, TOLERANCE[self._parts.norm.weight.dtype])
        except Exception as error:  # whatever it is, the plain pass can do without
            reason = f"{type(error).__name__}: {first_line(error)}"
        if reason:
            log.warning("passes of few tokens are not captured on this device: %s", reason)
            self.on, self._buffers = False, None
            self._rungs.clear()
        else:
            self._rungs[rung] = pieces
        return want

    def _captured(self, rung: int) -> list[Run]:
        # what is made in inference mode could not be written to outside of it
        with torch.inference_mode(False), torch.no_grad():
            if self._buffers is None:
                self._buffers = _buffers(self._parts, LADDER[-1])
            pieces = _pieces(self._parts, self._buffers.first(rung))
            return [self._capture(piece) for piece in pieces]


def _buffers(parts: Parts, rows: int) -> Buffers:
    weight, (queries, keys, size) = parts.norm.weight, parts.heads

    def zeros(*shape: int, dtype: torch.dtype = weight.dtype) -> Tensor:
        return torch.zeros(rows, *shape, dtype=dtype, device=weight.device)

    return Buffers(
        tokens=zeros(dtype=torch.long),
        positions=zeros(dtype=torch.long),
        turn=zeros(size // 2, dtype=parts.turns.dtype),
        x=zeros(len(weight)),
        qkv=zeros((queries + 2 * keys) * size),
        seen=zeros(queries * size),
        logits=zeros(parts.output.out_features, dtype=torch.float32),
    )


def _pieces(parts: Parts, at: Buffers) -> list[Run]:
    """What is done before, between and after the layers' attentions, one more than layers."""

    def enter(layer: Flat) -> None:
        into_attention(layer, at.x, at.turn, parts.heads, parts.eps, out=at.qkv)

    def leave(layer: Flat) -> None:
        out_of_attention(layer, at.x, at.seen, parts.eps)

    def first() -> None:
        at.x.copy_(parts.embedding(at.tokens))
        torch.index_select(parts.turns, 0, at.positions, out=at.turn)
        enter(parts.layers[0])

    def between(layer: Flat, following: Flat) -> Run:
        def piece() -> None:
            leave(layer)
            enter(following)

        return piece

    def last() -> None:
        leave(parts.layers[-1])
        at.logits.copy_(parts.output(parts.norm(at.x)))

    return [first, *map(between, parts.layers, parts.layers[1:]), last]


def _difference(found: Tensor, want: Tensor, tolerance: float) -> str:
    """What is wrong with logits [N, vocabulary]; "" if nothing. Waits for the device."""
    spread = (want - want.mean(-1, keepdim=True)).norm(dim=-1)
    off = (found - want).norm(dim=-1)
    if bool((off <= tolerance * spread).all()):  # NaN is not
        return ""
    return f"logits are off by {float((off / spread).max()):.2g} of their spread"
