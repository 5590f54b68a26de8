"""The CLIP ViT, with the parameter names of open_clip. Knows no text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.towers import ClipTower, Towers
from sphinx_ros.model.visual_layers import JointProjection, gelu_, mlp_in_pieces


class Clip(nn.Module):
    """CLIP's visual transformer up to ``ln_post`` on all tokens; the projection is not used."""

    def __init__(self, size: ClipTower, towers: Towers):
        super().__init__()
        self.visual = ClipTransformer(size, towers)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] CLIP-normalised to [N, 1 + patches, width]."""
        return self.visual(x)


class ClipTransformer(nn.Module):
    """What open_clip calls ``visual``."""

    def __init__(self, size: ClipTower, towers: Towers):
        super().__init__()
        width = size.width
        tokens = 1 + (towers.view // towers.patch) ** 2
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, width))
        self.proj = nn.Parameter(torch.zeros(width, width * 3 // 4))
        self.conv1 = nn.Conv2d(3, width, towers.patch, towers.patch, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(ClipBlock(size) for _ in range(size.layers))
        self.ln_post = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`Clip`."""
        x = self.conv1(x).flatten(2).transpose(1, 2)  # [N, patches, width]
        first = self.class_embedding.to(x).expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat((first, x), dim=1) + self.positional_embedding.to(x))
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x)


class ClipBlock(nn.Module):
    """Attention and MLP, each behind a norm and beside its input."""

    def __init__(self, size: ClipTower):
        super().__init__()
        self.ln_1 = nn.LayerNorm(size.width)
        self.attn = JointProjection(size.width, size.heads)
        self.ln_2 = nn.LayerNorm(size.width)
        self.mlp = ClipMlp(size)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] to [N, T, width]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ClipMlp(nn.Module):
    """Two linear layers, with OpenAI's x * sigmoid(1.702 x) or the exact GELU between them."""

    def __init__(self, size: ClipTower):
        super().__init__()
        hidden = int(size.width * size.mlp_ratio)
        self.quick = size.quick_gelu
        self.c_fc = nn.Linear(size.width, hidden)
        self.c_proj = nn.Linear(hidden, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        if not torch.is_grad_enabled():
            return mlp_in_pieces(x, self.c_fc, quick_gelu_ if self.quick else gelu_, self.c_proj)
        wide = self.c_fc(x)
        return self.c_proj(wide * torch.sigmoid(1.702 * wide) if self.quick else F.gelu(wide))


def quick_gelu_(x: Tensor) -> Tensor:
    """X * sigmoid(1.702 x), in place; without gradients."""
    return x.mul_(torch.sigmoid(1.702 * x))
