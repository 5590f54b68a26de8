"""The decoder of SPHINX: embeddings in, logits out. Knows no picture and no sampling.

LLaMA's, or Mixtral's with routed experts: RMSNorm in float32, interleaved rotary positions,
grouped key/value heads, SwiGLU. Keys and values live in one static cache that is written in place
and read as views: no step copies it, and a prefix in it can be continued by any number of
questions, each from the same position.

Axes: B batch, T tokens of this call, L cached positions, H heads, K key/value heads, D channels.
Where several processes share the network each has some of the heads, channels and words, see
:mod:`sphinx_ros.model.ranks`; every rank gets and gives whole embeddings and logits.
Arithmetic and parameter names follow the official ``accessory/model/LLM/llama_ens.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.moe import MixtureOfExperts
from sphinx_ros.model.ranks import ALONE, Ranks

Rope = tuple[Tensor, Tensor]
"""Cosines and sines of :func:`rotary_table`."""


class Cache:
    """Keys and values of every layer: two tensors [layers, B, K, L, D]; K: this rank's heads."""

    def __init__(
        self,
        config: ModelConfig,
        ranks: Ranks,
        batch: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        heads = ranks.part(config.kv_heads, "key/value heads")
        shape = (config.n_layers, batch, heads, length, config.head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    @property
    def length(self) -> int:
        """Positions there is room for."""
        return self.keys.shape[3]

    @property
    def batch(self) -> int:
        """Sequences there is room for."""
        return self.keys.shape[1]

    def write(self, layer: int, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store [B, K, T, D] from position ``start``; views of all positions so far come back."""
        end = start + k.shape[2]
        self.keys[layer, :, :, start:end] = k
        self.values[layer, :, :, start:end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


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


def rotary_table(config: ModelConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
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

    def new_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for ``batch`` sequences of up to ``length`` positions."""
        weight = self.norm.weight
        return Cache(self.config, self.ranks, batch, length, weight.dtype, weight.device)

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

        Without a cache the T positions see each other causally, or as ``mask`` [B, 1, T, T] says
        (True = may look). With one they are written from ``start`` on and see everything before.
        ``positions`` ([T] or [B, T], default start..start+T-1) are the rotary positions.
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
