"""The visual towers, each a thin wrapper around its library: [N, 3, h, w] to tokens [N, T, C].

CLIP comes from open_clip, ConvNeXt and DINOv2 from timm, the BLIP-2 ViT and Q-Former from
transformers. Parameter names are those of the official state dict. A ViT gives its class token
first and then the patches by rows; the ConvNeXt gives the mean of its map in place of a class
token. Knows no text.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.quant import linear_into
from sphinx_ros.model.scratch import take
from sphinx_ros.model.towers import ClipTower, ConvNextTower, DinoTower, QFormerTower, Towers


class Clip(nn.Module):
    """CLIP's visual transformer up to ``ln_post`` on all tokens; the projection is not used."""

    def __init__(self, size: ClipTower, towers: Towers):
        super().__init__()
        from open_clip.transformer import QuickGELU, VisionTransformer

        self.visual = VisionTransformer(
            image_size=towers.view,
            patch_size=towers.patch,
            width=size.width,
            layers=size.layers,
            heads=size.heads,
            mlp_ratio=size.mlp_ratio,
            output_dim=size.width * 3 // 4,
            act_layer=QuickGELU if size.quick_gelu else nn.GELU,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] CLIP-normalised to [N, 1 + patches, width]."""
        vit = self.visual
        x = vit.conv1(x).flatten(2).transpose(1, 2)  # [N, patches, width]
        first = vit.class_embedding.to(x).expand(x.shape[0], 1, -1)
        x = vit.ln_pre(torch.cat((first, x), dim=1) + vit.positional_embedding.to(x))
        # open_clip changed the axis order its blocks expect in 2.26; the wrong one attends over
        # the batch without an error.
        if getattr(vit.transformer, "batch_first", False):
            x = vit.transformer(x)
        else:
            x = vit.transformer(x.transpose(0, 1)).transpose(0, 1)
        return vit.ln_post(x)


def build_convnext(size: ConvNextTower) -> nn.Module:
    """The timm trunk that open_clip uses for ConvNeXt-XXL, without pooling and classifier."""
    from timm.models.convnext import ConvNeXt

    trunk = ConvNeXt(
        depths=size.depths, dims=size.dims, act_layer=nn.GELU, num_classes=0, norm_eps=1e-5
    )
    for stage in trunk.stages:
        for block in stage.blocks:
            block.mlp = RowsMlp(block.mlp)
    return trunk


ROWS = 8192
"""Rows that :func:`mlp_in_pieces` takes at a time. Between a ConvNeXt block's layers the map has
four times its channels: in the first stage of a 512 pixel view that would be 0.1 GB of float32,
the most that a look ever holds. With fewer rows at a time the weights would be the larger part,
and stored ones would become floating point more than once."""


def mlp_in_pieces(x: Tensor, first: nn.Module, act: Callable, second: nn.Module) -> Tensor:
    """second(act(first(x))) for x [..., C] without gradients, at most ROWS rows at a time.

    What the first layer makes is by far the widest: it lies in memory that the next block uses
    again (:mod:`sphinx_ros.model.scratch`), and ``act`` works in place on it; ``act`` may return
    a part of it.
    """
    flat = x.flatten(0, -2)
    pieces = max(1, math.ceil(len(flat) / ROWS))
    each = max(1, math.ceil(len(flat) / pieces))
    wide = take((each, first.out_features), flat)
    out = flat.new_empty(len(flat), second.out_features)
    for part, into in zip(flat.split(each), out.split(each), strict=True):
        linear_into(second, act(linear_into(first, part, wide[: len(part)])), into)
    return out.unflatten(0, x.shape[:-1])


class RowsMlp(nn.Module):
    """A ConvNeXt block's two linear layers, so many places of the map at a time."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.fc1, self.fc2 = mlp.fc1, mlp.fc2

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        if torch.is_grad_enabled():
            return self.fc2(F.gelu(self.fc1(x)))
        return mlp_in_pieces(x, self.fc1, lambda wide: F.gelu(wide, out=wide), self.fc2)


def convnext_map(trunk: nn.Module, x: Tensor) -> Tensor:
    """[N, 3, n, n] to the normalised feature map [N, C, n/32, n/32]."""
    return trunk.head.norm(trunk.norm_pre(trunk.stages(trunk.stem(x))))


def convnext_tokens(trunk: nn.Module, x: Tensor, grid: int) -> Tensor:
    """[N, 3, n, n] to [N, 1 + grid^2, C]; a map half as fine as ``grid`` has its cells doubled."""
    features = convnext_map(trunk, x)
    if features.shape[-1] * 2 == grid:
        features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
    tokens = features.flatten(2).transpose(1, 2)
    return torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)


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


class Dino(nn.Module):
    """DINOv2: timm's transformer blocks under the official parameter names."""

    def __init__(self, size: DinoTower, towers: Towers):
        super().__init__()
        from timm.models.vision_transformer import VisionTransformer

        vit = VisionTransformer(
            img_size=size.position_grid * towers.patch,
            patch_size=towers.patch,
            embed_dim=size.width,
            depth=size.layers,
            num_heads=size.heads,
            mlp_ratio=1.0,  # replaced below
            init_values=1e-5,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.position_grid = size.position_grid
        self.cls_token, self.pos_embed = vit.cls_token, vit.pos_embed
        self.patch_embed, self.blocks, self.norm = vit.patch_embed, vit.blocks, vit.norm
        for block in self.blocks:
            block.mlp = SwiGLU(size.width, size.hidden)

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


class Blip2(nn.Module):
    """BLIP-2's ViT-g and the Q-Former whose queries read it."""

    def __init__(self, size: QFormerTower, towers: Towers):
        super().__init__()
        from transformers import (
            Blip2QFormerConfig,
            Blip2QFormerModel,
            Blip2VisionConfig,
            Blip2VisionModel,
        )

        self.query_tokens = nn.Parameter(torch.zeros(1, size.queries, size.width))
        self.vision_model = Blip2VisionModel(
            Blip2VisionConfig(
                hidden_size=size.vit_width,
                intermediate_size=size.vit_hidden,
                num_hidden_layers=size.vit_layers,
                num_attention_heads=size.vit_heads,
                image_size=towers.view,
                patch_size=towers.patch,
                layer_norm_eps=1e-6,
                hidden_act="gelu",
                qkv_bias=True,
            )
        )
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=size.width,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                intermediate_size=size.hidden,
                encoder_hidden_size=size.vit_width,
                cross_attention_frequency=2,
                layer_norm_eps=1e-12,
                hidden_act="gelu",
                hidden_dropout_prob=0.0,  # inference and the miniature's training have none
                attention_probs_dropout_prob=0.0,
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, v, v] CLIP-normalised to [N, queries, width]."""
        seen = self.vision_model(pixel_values=x, return_dict=True).last_hidden_state
        queries = self.query_tokens.expand(x.shape[0], -1, -1)
        return self.qformer(
            query_embeds=queries, encoder_hidden_states=seen, return_dict=True
        ).last_hidden_state
