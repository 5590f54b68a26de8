"""Routed experts in place of one feed-forward layer, as in Mixtral: [.., dim] to [.., dim].

Each token is worked on by the few experts that its router chose. Which these are is known on the
device first; asking it stops the host in each layer until all before is done. So there are three
ways, by what a pass costs:

    by_expert    the host asks how many tokens each expert has: any weights; always on a CPU
    grouped      groups of unknown size in one operation, where a GPU has that for bfloat16
    all_at_once  every expert works on every token, and what nobody chose is dropped: few tokens
                 on other GPUs, if that takes no longer than the question

Parameter names and storage are the official ones (``accessory/model/LLM/mixtral_sparse_ens.py``):
w1, w2 and w3 hold all experts below each other, and w2 lies the other way round than a linear
layer's weight.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.kernels import grouped_kernel
from sphinx_ros.model.ranks import ALONE, Ranks

FEW = 64
"""Rows up to which a product takes as long as reading its weights; more take longer alike."""

SPARE = 64 << 20
"""Bytes of weights that a GPU reads in about the time in which the host gets an answer (30 us at
2 TB/s: of data sheets, not measured)."""


class MixtureOfExperts(nn.Module):
    """SwiGLU experts behind a linear router."""

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__()
        assert config.moe is not None
        self.ranks = ranks
        self.experts, self.chosen = config.moe.num_experts, config.moe.num_experts_per_tok
        rows = self.experts * ranks.part(config.ffn_hidden, "channels of an expert")
        self.gate = nn.Linear(config.dim, self.experts, bias=False)
        self.w1, self.w2, self.w3 = (nn.Parameter(torch.empty(rows, config.dim)) for _ in range(3))

    def layer(self, name: str, expert: int) -> Callable[[Tensor], Tensor]:
        """One of the three linear layers of an expert."""
        stored = getattr(self, name)
        if isinstance(stored, nn.ModuleList):  # layers of :mod:`sphinx_ros.model.quant`
            return stored[expert]
        weight = stored.unflatten(0, (self.experts, -1))[expert]
        return functools.partial(F.linear, weight=weight.T if name == "w2" else weight)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X [N, dim] to (weights, experts), both [N, chosen].

        The weights of the chosen experts, softmax over all of them in float32, add up to 1.
        """
        shares = self.gate(x).float().softmax(-1)
        weights, experts = shares.topk(self.chosen, dim=-1)
        return (weights / weights.sum(-1, keepdim=True)).to(x.dtype), experts

    def forward(self, x: Tensor) -> Tensor:
        """Any shape [..., dim]."""
        tokens = x.reshape(-1, x.shape[-1])
        work = self._way(tokens)
        return self.ranks.sum(work(tokens, *self.route(tokens))).view_as(x)

    def _way(self, tokens: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        stored = isinstance(self.w1, nn.ModuleList)
        if not tokens.is_cuda or stored or torch.is_grad_enabled():
            return self.by_expert
        # rows of weights have to begin at multiples of 16 bytes
        width = self.w1.shape[0] // self.experts
        fits = tokens.dtype is torch.bfloat16 and not (tokens.shape[1] % 8 or width % 8)
        if fits and type(tokens) is Tensor and grouped_kernel(tokens.device):
            return self.grouped
        return self.all_at_once if self._spares(len(tokens)) else self.by_expert

    def _spares(self, rows: int) -> bool:
        """Whether what all experts at once do in vain takes no longer than a question."""
        vain = 1 - self.chosen / self.experts
        # few rows: the weights that no row chose; more: the arithmetic of all others
        vain = vain**rows if rows <= FEW else vain * rows / FEW
        return 3 * self.w1.nbytes * vain <= SPARE

    def by_expert(self, tokens: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """Tokens [N, dim] and what :meth:`route` gave to [N, dim], an expert after the other."""
        order = experts.flatten().argsort(stable=True)  # pairs (token, choice), expert by expert
        weights = weights.flatten()[order, None]
        order = order // self.chosen  # the token of each pair
        counts = self._counts(experts).tolist()
        out = torch.zeros_like(tokens)
        for expert, (mine, weight) in enumerate(
            zip(order.split(counts), weights.split(counts), strict=True)
        ):
            if len(mine):
                rows = tokens[mine]
                w1, w2, w3 = (self.layer(name, expert) for name in ("w1", "w2", "w3"))
                out.index_add_(0, mine, w2(F.silu(w1(rows)) * w3(rows)) * weight)
        return out

    def grouped(self, tokens: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """The same by products of groups whose ends the device knows."""
        order = experts.flatten().argsort(stable=True)
        ends = self._counts(experts).cumsum(0, dtype=torch.int32)
        rows = tokens[order // self.chosen]
        w1, w2, w3 = (w.unflatten(0, (self.experts, -1)) for w in (self.w1, self.w2, self.w3))
        inner = F.silu(F.grouped_mm(rows, w1.mT, offs=ends))
        inner = inner.mul_(F.grouped_mm(rows, w3.mT, offs=ends))
        given = F.grouped_mm(inner, w2, offs=ends)
        pairs = torch.empty_like(given).index_copy_(0, order, given)
        return (pairs.unflatten(0, (-1, self.chosen)) * weights[..., None]).sum(1)

    def all_at_once(self, tokens: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """The same as one wide layer, whose channels count by the share of their expert."""
        shares = weights.new_zeros(len(tokens), self.experts).scatter_(1, experts, weights)
        inner = F.silu(tokens @ self.w1.T).mul_(tokens @ self.w3.T)
        inner = inner.view(len(tokens), self.experts, -1).mul_(shares[..., None])
        # what was not chosen may be infinite
        inner = inner.masked_fill_(shares[..., None] == 0, 0.0)
        return inner.flatten(1) @ self.w2

    def _counts(self, experts: Tensor) -> Tensor:
        """How many tokens each expert has [E]."""
        if not experts.is_cuda:
            return experts.flatten().bincount(minlength=self.experts)
        # which on a GPU waits for the largest number
        number = torch.arange(self.experts, device=experts.device)
        return (experts.flatten()[:, None] == number).sum(0)
