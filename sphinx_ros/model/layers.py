"""The layers of the decoder, for whole sequences and for packed tokens. Knows no vocabulary.

Axes: B batch, T tokens of this call, N packed tokens, L cached positions, H heads, K key/value
heads, D channels. Where several processes share the network each has some of the heads and
channels, see :mod:`sphinx_ros.model.ranks`; every rank gets and gives whole embeddings.
Arithmetic and parameter names follow the official ``accessory/model/LLM/llama_ens.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.cache import Cache, Span
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.moe import MixtureOfExperts
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.model.rotary import Rope, rotate, turn_

FEW = 1 << 16
"""Scores of tokens with positions up to which two plain products are the faster attention."""


class RMSNorm(nn.Module):
    """Root mean square normalisation, computed in float32 and cast back before the weight."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape [..., dim]."""
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.square().mean(-1, True) + self.eps)).type_as(x) * self.weight


class Attention(nn.Module):
    """Causal self-attention with grouped key/value heads."""

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__()
        self.ranks = ranks
        self.heads = ranks.part(config.n_heads, "heads")
        self.kv_heads = ranks.part(config.kv_heads, "key/value heads")
        self.head_dim = config.head_dim
        width, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.wq = nn.Linear(config.dim, width, bias=False)
        self.wk = nn.Linear(config.dim, kv, bias=False)
        self.wv = nn.Linear(config.dim, kv, bias=False)
        self.wo = nn.Linear(width, config.dim, bias=False)

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
        start: int = 0,
    ) -> Tensor:
        """X [B, T, dim]; mask [(B, 1,) T, L] bool, True = may look, or None for plain causal."""
        b, t, _ = x.shape
        q = rotate(self.wq(x).view(b, t, self.heads, self.head_dim), *rope).transpose(1, 2)
        k = rotate(self.wk(x).view(b, t, self.kv_heads, self.head_dim), *rope).transpose(1, 2)
        v = self.wv(x).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        if cache is not None:
            k, v = cache.write(layer, start, k, v)
        out = self._attend(q, k, v, mask)  # [B, H, T, D]
        return self.ranks.sum(self.wo(out.transpose(1, 2).reshape(b, t, -1)))

    def packed(
        self, x: Tensor, turn: Tensor, spans: Sequence[Span], biases: Sequence[Tensor], layer: int
    ) -> Tensor:
        """X [N, dim] of tokens that lie in spans -> [N, dim]; biases: of :func:`bias`."""
        n, turned = len(x), self.heads + self.kv_heads
        y = torch.cat([layer(x) for layer in (self.wq, self.wk, self.wv)], -1)
        y = y.view(n, turned + self.kv_heads, self.head_dim)
        turn_(y[:, :turned], turn)
        q, new = y.transpose(0, 1).split((self.heads, 2 * self.kv_heads))
        return self.ranks.sum(self.wo(attend_packed(q, new, spans, biases, layer)))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        b, _, t, d = q.shape
        length, group = k.shape[2], self.heads // self.kv_heads
        if mask is None and t == length:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=group > 1)
        # The query heads that share a key head become rows of one product, so that keys and
        # values are read where they lie instead of being repeated.
        q = q.reshape(b, self.kv_heads, group * t, d)
        if mask is None and t > 1:
            mask = torch.ones(t, length, dtype=torch.bool, device=q.device).tril(length - t)
        if mask is not None and group > 1:
            mask = mask.repeat(*(1,) * (mask.dim() - 2), group, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.reshape(b, self.heads, t, d)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__()
        self.ranks = ranks
        hidden = ranks.part(config.ffn_hidden, "feed-forward channels")
        self.w1 = nn.Linear(config.dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape [..., dim]."""
        return self.ranks.sum(self.w2(F.silu(self.w1(x)) * self.w3(x)))


class Block(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__()
        self.attention = Attention(config, ranks)
        self.feed_forward = (MixtureOfExperts if config.moe else FeedForward)(config, ranks)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: Cache | None,
        layer: int,
        start: int,
    ) -> Tensor:
        """X [B, T, dim] -> [B, T, dim]."""
        x = x + self.attention(self.attention_norm(x), rope, mask, cache, layer, start)
        return x + self.feed_forward(self.ffn_norm(x))

    def packed(
        self, x: Tensor, turn: Tensor, spans: Sequence[Span], biases: Sequence[Tensor], layer: int
    ) -> Tensor:
        """X [N, dim] -> [N, dim]."""
        x = x + self.attention.packed(self.attention_norm(x), turn, spans, biases, layer)
        return x + self.feed_forward(self.ffn_norm(x))


def attend_packed(
    q: Tensor, new: Tensor, spans: Sequence[Span], biases: Sequence[Tensor], layer: int
) -> Tensor:
    """Queries q [H, N, D] of packed tokens to what they see [N, H * D].

    new: [2K, N, D] their keys and values, which are put into the spans' caches.
    """
    out = attend_spans(q, new, spans, biases, layer)
    return out.transpose(0, 1).reshape(q.shape[1], -1)


def attend_spans(
    q: Tensor, new: Tensor, spans: Sequence[Span], biases: Sequence[Tensor], layer: int
) -> Tensor:
    """:func:`attend_packed`, with heads in front: [H, N, D]."""
    if len(spans) == 1:
        return _attend_span(q, new, spans[0], biases[0], layer)
    outs, at = [], 0
    for span, bias in zip(spans, biases, strict=True):
        n = len(span.visible)
        outs.append(_attend_span(q.narrow(1, at, n), new.narrow(1, at, n), span, bias, layer))
        at += n
    return torch.cat(outs, 1)


def _attend_span(q: Tensor, new: Tensor, span: Span, bias: Tensor, layer: int) -> Tensor:
    """The tokens of one span. bias: [H / K * n, used], of :func:`bias`."""
    heads, n, d = q.shape
    k, v = span.cache.put(layer, span.slots, new, span.visible.shape[1])
    if heads != len(k):  # the queries that share a key become rows of one product
        q = q.reshape(len(k), -1, d)
    if q.dtype is torch.float32 and bias.numel() <= FEW:
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=d**-0.5)
        out = torch.bmm(scores.softmax(-1), v)
    else:
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias)[0]
    return out.view(heads, n, d)


def bias(visible: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores: [n, used] bool -> [group * n, used], 0 or -inf."""
    if not visible.is_cuda:
        added = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return added.masked_fill_(~visible, float("-inf")).repeat(group, 1)
    # attention on a GPU copies, in each layer, a bias whose rows don't begin at multiples of 8
    n, used = visible.shape
    wide = torch.zeros(group * n, -(-used // 8) * 8, dtype=dtype, device=visible.device)
    added = wide[:, :used]
    added.unflatten(0, (group, n)).masked_fill_(~visible, float("-inf"))
    return added
