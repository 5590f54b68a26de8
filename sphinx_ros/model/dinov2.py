"""The DINOv2 ViT without registers, under its official parameter names. Knows no text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.towers import DinoTower, Towers
from sphinx_ros.model.visual_layers import attend_joint, mlp_in_pieces

EPS = 1e-6


class Dino(nn.Module):
    """DINOv2 ViT-g: attention and gated MLPs, each scaled by a learned vector."""

    def __init__(self, size: DinoTower, towers: Towers):
        super().__init__()
        self.position_grid = size.position_grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.position_grid**2, size.width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size.width, towers.patch, towers.patch)
        self.blocks = nn.ModuleList(DinoBlock(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, eps=EPS)

    def positions(self, grid: int) -> Tensor:
        """The position table for grid x grid patches, [1, 1 + grid^2, width].

        As DINOv2 does it: bicubic in float32 with the scale (grid + 0.1) / stored grid, which is
        also the scale that maps coordinates; the table is used as stored when the grids agree.
        """
        table = self.pos_embed
        if grid == self.position_grid:
            return table
        scale = (grid + 0.1) / self.position_grid
        patches = table[:, 1:].float().unflatten(1, (self.position_grid, -1)).permute(0, 3, 1, 2)
        patches = F.interpolate(
            patches, scale_factor=(scale, scale), mode="bicubic", align_corners=False
        )
        patches = patches.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
        return torch.cat((table[:, :1], patches), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] ImageNet-normalised to [N, 1 + patches, width] after the final norm."""
        patches = self.patch_embed.proj(x)
        grid = patches.shape[-1]
        patches = patches.flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), patches), dim=1)
        x = x + self.positions(grid)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class DinoBlock(nn.Module):
    """Attention and MLP, each behind a norm, scaled, and beside its input."""

    def __init__(self, size: DinoTower):
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=EPS)
        self.attn = DinoAttention(size.width, size.heads)
        self.ls1 = Scale(size.width)
        self.norm2 = nn.LayerNorm(size.width, eps=EPS)
        self.mlp = SwiGLU(size.width, size.hidden)
        self.ls2 = Scale(size.width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] to [N, T, width]."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoAttention(nn.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] to [N, T, width]."""
        return self.proj(attend_joint(self.qkv(x), self.heads))


class Scale(nn.Module):
    """Each channel times a learned number."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same shape."""
        return x * self.gamma


class SwiGLU(nn.Module):
    """DINOv2's gated MLP with its fused input projection ``w12`` = [gate; value]."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape [..., width]."""
        if not torch.is_grad_enabled():
            return mlp_in_pieces(x, self.w12, self._gated, self.w3)
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)

    @staticmethod
    def _gated(wide: Tensor) -> Tensor:
        gate, value = wide.chunk(2, dim=-1)
        return F.silu(gate, inplace=True).mul_(value)
