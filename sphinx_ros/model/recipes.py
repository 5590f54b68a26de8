"""The table of visual recipes: what the variants of SPHINX do with a picture.

A *variant* (``llama_type`` of ``meta.json``) names a row of :data:`RECIPES`: which towers see the
picture, how large a square it is resized to, into how many views that square is cut, and how a
view becomes tokens. Source: the official LLaMA2-Accessory code, ``accessory/model/LLM``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How one variant turns a padded square picture into image tokens.

    towers: channel order of the concatenation.
    qformer: whether 32 Q-Former tokens precede the mixed tokens of a view.
    grid: 1 = the whole picture only; g > 1 = the whole picture, then g x g crops, row by row.
    side: side of the input square in units of a view (the released models' view is 224 pixels).
    convnext_native: the ConvNeXt sees its own sharper views (512 pixels, stride 32) instead of
        the 224 view resized to 256 whose map is then doubled.
    halved_crops: the patch grid of the crops is halved to 8 x 8 (llama_ens5p2).
    fused_renorm: DINOv2's renormalisation in one multiply-add, as the light variants write it.
    """

    towers: tuple[str, ...] = ("clip", "convnext", "dinov2")
    qformer: bool = True
    grid: int = 1
    side: float = 1.0
    convnext_native: bool = False
    halved_crops: bool = False
    fused_renorm: bool = False


_LIGHT: dict[str, Any] = {"towers": ("convnext", "dinov2"), "qformer": False, "fused_renorm": True}
RECIPES: dict[str, Recipe] = {
    "llama_ens": Recipe(),
    "llama_ens5": Recipe(grid=2, side=2),
    "llama_ens5p2": Recipe(grid=2, side=2, halved_crops=True),
    "llama_ens10": Recipe(grid=3, side=3),
    # as mixtral_sparse_ens, in front of a dense decoder: the demonstration model
    "llama_ens_fine": Recipe(side=16 / 7, convnext_native=True),
    "llama_ens_light": Recipe(**_LIGHT, side=16 / 7, convnext_native=True),
    "llama_ens5_light": Recipe(**_LIGHT, grid=2, side=32 / 7, convnext_native=True),
    "mixtral_sparse_ens": Recipe(side=16 / 7, convnext_native=True),
    "mixtral_sparse_ens5": Recipe(grid=2, side=32 / 7, convnext_native=True),
}


def is_mixture(variant: str) -> bool:
    """Whether the decoder of a variant has routed experts."""
    return variant.startswith("mixtral")
