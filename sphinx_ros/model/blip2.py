"""BLIP-2's ViT-g and the Q-Former that reads it, with the parameter names of transformers.

Source: "BLIP-2" (Li et al., 2023). Knows no text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sphinx_ros.model.towers import QFormerTower, Towers
from sphinx_ros.model.visual_layers import Mlp, attend, attend_joint, gelu_, mlp_in_pieces

VIT_EPS = 1e-6
QFORMER_EPS = 1e-12
CROSS_EVERY = 2
"""Every second layer of the Q-Former looks at the picture."""


class Blip2(nn.Module):
    """The learned queries, what the ViT sees, and the Q-Former that brings them together."""

    def __init__(self, size: QFormerTower, towers: Towers):
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, size.queries, size.width))
        self.vision_model = Blip2Vit(size, towers)
        self.qformer = QFormer(size)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] CLIP-normalised to [N, queries, width]."""
        return self.qformer(self.query_tokens.expand(len(x), -1, -1), self.vision_model(x))


class Blip2Vit(nn.Module):
    """The ViT, up to the norm after its last layer."""

    def __init__(self, size: QFormerTower, towers: Towers):
        super().__init__()
        self.embeddings = PatchEmbeddings(size.vit_width, towers)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(VitLayer(size) for _ in range(size.vit_layers))
        self.post_layernorm = nn.LayerNorm(size.vit_width, eps=VIT_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] to [N, 1 + patches, vit_width]."""
        x = self.embeddings(x)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x)


class PatchEmbeddings(nn.Module):
    """A class token, the patches by rows, and what says where each is."""

    def __init__(self, width: int, towers: Towers):
        super().__init__()
        tokens = 1 + (towers.view // towers.patch) ** 2
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(torch.zeros(1, tokens, width))
        self.patch_embedding = nn.Conv2d(3, width, towers.patch, towers.patch)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] to [N, 1 + patches, width]."""
        patches = self.patch_embedding(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches).expand(len(x), -1, -1)
        return torch.cat((first, patches), dim=1) + self.position_embedding.to(patches)


class VitLayer(nn.Module):
    """Attention and MLP, each behind a norm and beside its input."""

    def __init__(self, size: QFormerTower):
        super().__init__()
        self.self_attn = VitAttention(size.vit_width, size.vit_heads)
        self.layer_norm1 = nn.LayerNorm(size.vit_width, eps=VIT_EPS)
        self.mlp = Mlp(size.vit_width, size.vit_hidden)
        self.layer_norm2 = nn.LayerNorm(size.vit_width, eps=VIT_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, vit_width] to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VitAttention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] to the same shape."""
        return self.projection(attend_joint(self.qkv(x), self.heads))


class QFormer(nn.Module):
    """A BERT whose input is the queries."""

    def __init__(self, size: QFormerTower):
        super().__init__()
        self.layernorm = nn.LayerNorm(size.width, eps=QFORMER_EPS)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            QFormerLayer(size, looks=i % CROSS_EVERY == 0) for i in range(size.layers)
        )

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        """Queries [N, queries, width] that look at [N, T, vit_width] to [N, queries, width]."""
        x = self.layernorm(queries)
        for layer in self.encoder.layer:
            x = layer(x, seen)
        return x


class QFormerLayer(nn.Module):
    """Attention among the queries, to the picture where it ``looks``, and an MLP."""

    def __init__(self, size: QFormerTower, looks: bool):
        super().__init__()
        self.attention = QFormerAttention(size, size.width)
        self.crossattention = QFormerAttention(size, size.vit_width) if looks else None
        self.intermediate_query = nn.Module()
        self.intermediate_query.dense = nn.Linear(size.width, size.hidden)
        self.output_query = Added(size.hidden, size.width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """See :class:`QFormer`."""
        x = self.attention(x, x)
        if self.crossattention is not None:
            x = self.crossattention(x, seen)
        first = self.intermediate_query.dense
        if torch.is_grad_enabled():
            wide = nn.functional.gelu(first(x))
            return self.output_query(wide, x)
        return self.output_query.LayerNorm(
            mlp_in_pieces(x, first, gelu_, self.output_query.dense).add_(x)
        )


class QFormerAttention(nn.Module):
    """Attention of the queries to tokens of ``width``, added to the queries and normalised."""

    def __init__(self, size: QFormerTower, width: int):
        super().__init__()
        self.heads = size.heads
        self.attention = nn.Module()
        self.attention.query = nn.Linear(size.width, size.width)
        self.attention.key = nn.Linear(width, size.width)
        self.attention.value = nn.Linear(width, size.width)
        self.output = Added(size.width, size.width)

    def forward(self, x: Tensor, to: Tensor) -> Tensor:
        """Queries [N, queries, width] that look at ``to`` [N, T, C]."""
        of = self.attention
        return self.output(attend(of.query(x), of.key(to), of.value(to), self.heads), x)


class Added(nn.Module):
    """A linear layer, its output added to something, and a norm after that."""

    def __init__(self, width: int, out: int):
        super().__init__()
        self.dense = nn.Linear(width, out)
        self.LayerNorm = nn.LayerNorm(out, eps=QFORMER_EPS)

    def forward(self, x: Tensor, to: Tensor) -> Tensor:
        """X [..., width] and ``to`` [..., out] to [..., out]."""
        return self.LayerNorm(self.dense(x) + to)
