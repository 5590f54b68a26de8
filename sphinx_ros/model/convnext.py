"""ConvNeXt, with the parameter names of timm's trunk in open_clip. Knows no text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sphinx_ros.model.towers import ConvNextTower
from sphinx_ros.model.visual_layers import Mlp

EPS = 1e-5
"""Of every norm: what open_clip gives this trunk (timm's own default is 1e-6)."""


class ConvNext(nn.Module):
    """Four stages of depthwise convolutions; the map is halved before each but the first.

    Source: "A ConvNet for the 2020s" (Liu et al., 2022).
    """

    def __init__(self, size: ConvNextTower):
        super().__init__()
        dims = size.dims
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), ChannelNorm(dims[0], eps=EPS))
        before = (dims[0], *dims[:-1])
        self.stages = nn.ModuleList(
            Stage(*row) for row in zip(before, dims, size.depths, (1, 2, 2, 2), strict=True)
        )
        self.head = nn.Module()
        self.head.norm = ChannelNorm(dims[-1], eps=EPS)

    def map(self, x: Tensor) -> Tensor:
        """[N, 3, n, n] to the normalised feature map [N, C, n/32, n/32]."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head.norm(x)

    def forward(self, x: Tensor, grid: int) -> Tensor:
        """[N, 3, n, n] to [N, 1 + grid^2, C]: the mean of the map in place of a class token, then
        its cells by rows. A map half as fine as ``grid`` has its cells doubled.
        """
        features = self.map(x)
        if features.shape[-1] * 2 == grid:
            features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        tokens = features.flatten(2).transpose(1, 2)
        return torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of [N, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, behind a convolution that makes the map smaller where stride is 2."""

    def __init__(self, before: int, width: int, depth: int, stride: int):
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            norm = ChannelNorm(before, eps=EPS)
            self.downsample = nn.Sequential(norm, nn.Conv2d(before, width, stride, stride))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, before, h, w] to [N, width, h / stride, w / stride]."""
        return self.blocks(self.downsample(x))


class Block(nn.Module):
    """A depthwise 7 x 7 convolution and an MLP over channels, scaled by ``gamma``."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to the same shape."""
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        return x + y.permute(0, 3, 1, 2).mul(self.gamma[:, None, None])
