"""The decoder of SPHINX: embeddings in, logits out. Knows no picture and no sampling.

LLaMA's, or Mixtral's with routed experts: RMSNorm in float32, interleaved rotary positions,
grouped key/value heads, SwiGLU. Keys and values live in static caches that are written in place
and read as views: no step copies them. ``hidden`` takes whole sequences. ``step`` takes single
tokens of any number of questions behind any number of prefixes, as one packed row: each has a
position, a slot of a cache, and the slots it sees, so that ragged lengths need no padding.

Axes: B batch, T tokens of this call, L cached positions, H heads, K key/value heads, D channels.
Where several processes share the network each has some of the heads, channels and words, see
:mod:`sphinx_ros.model.ranks`; every rank gets and gives whole embeddings and logits.
Arithmetic and parameter names follow the official ``accessory/model/LLM/llama_ens.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sphinx_ros.model.cache import Cache, Span
from sphinx_ros.model.captured import Capture, Captured, Parts
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.cuda_graphs import CudaGraphs, has_graphs
from sphinx_ros.model.flat import SMALL, Flat, Heads, flat_layers, flat_pass
from sphinx_ros.model.layers import Block, RMSNorm, bias
from sphinx_ros.model.native import native
from sphinx_ros.model.native_pass import NativePass
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.model.rotary import rotary_table, turns

CHEAP, CHEAP_NATIVE, CHEAP_ON_GPU = 24, 12, 128
"""Tokens of a pass that cost little. CPU: the demonstration model's pass takes 4.2 ms for 2 tokens
and 4.8 for 11, 5.5 for 32, 8 for 64 (2 cores with AVX2); trying all digits takes a box from 35 to
27 ms, and wins nothing for two boxes at once. In one call: 0.5 ms for 1 token, 0.7 for 3 and for 8
(these by both cores), 1.1 for 16 (2 cores with AVX-512). GPU: as many as are captured; not
measured."""


class Decoder(nn.Module):
    """Token embeddings, the layers, the final norm and the output projection."""

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__()
        self.config, self.ranks = config, ranks
        self.tok_embeddings = nn.Embedding(config.vocab_size, ranks.part(config.dim, "channels"))
        self.layers = nn.ModuleList(Block(config, ranks) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        # a vocabulary that can't be shared equally is whole in every rank
        self.words_shared = config.vocab_size % ranks.size == 0
        words = config.vocab_size // (ranks.size if self.words_shared else 1)
        self.output = nn.Linear(config.dim, words, bias=False)
        self._heads = Heads(config.n_heads, config.kv_heads, config.head_dim)
        self._turns: Tensor | None = None
        self._flat: list[Flat] | None = None
        self._native: NativePass | None = None
        self._captured: Captured | None = None
        self._stays_plain = False

    def new_cache(self, batch: int, length: int, like: Cache | None = None) -> Cache:
        """A cache for ``batch`` sequences of up to ``length`` positions; it begins as ``like``."""
        weight = self.norm.weight
        return Cache(self.config, self.ranks, batch, length, weight.dtype, weight.device, like)

    @torch.no_grad()
    def prepare(self) -> None:
        """Get ready for many small passes: see :mod:`sphinx_ros.model.flat`, and for a GPU
        :mod:`sphinx_ros.model.captured`. Any number of times.

        The weights keep their values and their names; from then on they stay where they are.
        """
        if self._stays_plain:
            return
        weight = self.norm.weight
        small = sum(p.nbytes for p in self.layers.parameters()) <= SMALL
        if self._flat is None and (small or weight.is_cuda):
            self._flat = flat_layers(self.layers)
        if self._native is None and weight.device.type == "cpu" and native():
            eps = self.config.norm_eps
            self._native = NativePass.of(self.layers, self._heads, eps, small)
        if has_graphs(weight):
            self.capture_passes(CudaGraphs(weight.device))

    def forget_prepared(self) -> None:
        """Undo :meth:`prepare`: what it made knows the weights as they were."""
        self._flat = self._captured = self._native = None

    def _apply(self, *how: Any, **more: Any) -> Decoder:
        """Move or convert the weights, as ``to`` does; what was prepared knows the old ones."""
        self.forget_prepared()
        return super()._apply(*how, **more)

    def keep_plain(self) -> None:
        """Make small passes layer by layer, whatever :meth:`prepare` is asked: for weights that
        learn, of which flat layers and captures would not know.
        """
        self._stays_plain = True
        self.forget_prepared()

    def capture_passes(self, capture: Capture) -> None:
        """Make small passes of flat layers by captures from now on; a second call does nothing."""
        if self._flat is None or self._captured is not None:
            return
        table = self._turn_table(self.norm.weight.device)
        modules = self.tok_embeddings, self.norm, self.output
        parts = Parts(self._flat, *modules, table, self._heads, self.config.norm_eps)
        self._captured = Captured(parts, capture)

    def _turn_table(self, device: torch.device) -> Tensor:
        """The turns of all positions, made once."""
        if self._turns is None or self._turns.device != device:
            self._turns = turns(self.config, device)
        return self._turns

    @property
    def cheap_tokens(self) -> int:
        """See ``Network``: some, where a pass is bound by starting operations."""
        if self._flat is None:
            return 0
        if self.norm.weight.is_cuda:
            return CHEAP_ON_GPU
        return CHEAP if self._native is None else CHEAP_NATIVE

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., dim] to float32 logits [..., vocabulary]."""
        logits = self.output(hidden).float()
        return self.ranks.join(logits, -1) if self.words_shared else logits

    def hidden(
        self,
        x: Tensor,
        *,
        cache: Cache | None = None,
        start: int = 0,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Embeddings x [B, T, dim] to normalised hidden states [B, T, dim].

        See :meth:`sphinx_ros.model.network.Network.hidden`.
        """
        if cache is not None and start + x.shape[1] > cache.length:
            raise ValueError(
                f"{start + x.shape[1]} positions do not fit into a cache of {cache.length};"
                " shorten the text or allow a longer sequence"
            )
        if positions is None:
            positions = torch.arange(start, start + x.shape[1], device=x.device)
        rope = rotary_table(self.config, positions)
        for index, block in enumerate(self.layers):
            x = block(x, rope, mask, cache, index, start)
        return self.norm(x)

    def packed(self, x: Tensor, positions: Tensor, spans: Sequence[Span]) -> Tensor:
        """Embeddings x [N, dim] of tokens in spans to their last hidden states, not normalised.

        x: may be overwritten. positions: [N] rotary positions. The tokens' keys and values are
        written to the spans' caches.
        """
        config = self.config
        turn = self._turn_table(x.device)[positions]
        if self._native is not None and self._native.takes(x, spans):
            return self._native(x, turn, spans)
        group = config.n_heads // config.kv_heads
        biases = [bias(span.visible, group, x.dtype) for span in spans]
        if self._flat is not None:
            return flat_pass(self._flat, x, turn, spans, biases, self._heads, config.norm_eps)
        for index, block in enumerate(self.layers):
            x = block.packed(x, turn, spans, biases, index)
        return x
