"""Routed experts in place of one feed-forward layer, as in Mixtral: [.., dim] to [.., dim].

Each token is worked on by the few experts that its router chose, and an expert sees its tokens
as one batch; nothing is computed for the others. Parameter names and storage are the official ones
(``accessory/model/LLM/mixtral_sparse_ens.py``): w1, w2 and w3 hold all experts below each other,
and w2 lies the other way round than a linear layer's weight.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import ALONE, Ranks


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
        weights, experts = self.route(tokens)
        order = experts.flatten().argsort(stable=True)  # pairs (token, choice), expert by expert
        weights = weights.flatten()[order, None]
        order = order // self.chosen  # the token of each pair
        counts = experts.flatten().bincount(minlength=self.experts).tolist()
        out = torch.zeros_like(tokens)
        for expert, (mine, weight) in enumerate(
            zip(order.split(counts), weights.split(counts), strict=True)
        ):
            if len(mine):
                rows = tokens[mine]
                w1, w2, w3 = (self.layer(name, expert) for name in ("w1", "w2", "w3"))
                out.index_add_(0, mine, w2(F.silu(w1(rows)) * w3(rows)) * weight)
        return self.ranks.sum(out).view_as(x)
