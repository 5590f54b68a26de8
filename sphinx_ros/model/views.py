"""One padded square picture [B, 3, S, S] to what each tower sees. Knows no towers, no files.

The official code resizes on the device, through half precision and without antialiasing
(``F.interpolate(x.half(), ...).to(x)``). Released checkpoints were trained on pictures made
that way, so the rounding is kept, in float32 models too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.model.config import CLIP_MEAN, CLIP_STD, ModelConfig

DINO_MEAN = (0.485, 0.456, 0.406)
DINO_STD = (0.229, 0.224, 0.225)


def resize_half(x: Tensor, side: int, mode: str = "bicubic") -> Tensor:
    """Resize [N, 3, h, w] to [N, 3, side, side] through float16, no antialiasing."""
    extra = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(x.half(), size=(side, side), mode=mode, **extra).to(x)


def cut(picture: Tensor, view: int, grid: int) -> Tensor:
    """[B, 3, S, S] to [B, V, 3, view, view]: the whole picture, then grid x grid crops by rows."""
    b, c, side, _ = picture.shape
    whole = picture if side == view else resize_half(picture, view)
    if grid == 1:
        return whole[:, None]
    fine = picture if side == view * grid else resize_half(picture, view * grid)
    crops = fine.unflatten(3, (grid, view)).unflatten(2, (grid, view))  # [B, C, gy, v, gx, v]
    crops = crops.permute(0, 2, 4, 1, 3, 5).reshape(b, grid * grid, c, view, view)
    return torch.cat((whole[:, None], crops), dim=1)


def tower_views(config: ModelConfig, picture: Tensor) -> tuple[Tensor, Tensor]:
    """The views of the ViTs [B, V, 3, v, v] and of the ConvNeXt [B, V, 3, n, n].

    picture: [B, 3, S, S], S = config.image_size, CLIP-normalised.
    Raises ValueError for another size.
    """
    side, recipe, view = config.image_size, config.recipe, config.towers.view
    if picture.shape[1:] != (3, side, side):
        raise ValueError(
            f"the picture has shape {list(picture.shape)}, expected [B, 3, {side}, {side}]"
        )
    vit = cut(picture, view, recipe.grid)
    if recipe.convnext_native:
        native = view * 16 // 7  # 512 for a view of 224: stride 32 gives the 16 x 16 patch grid
        conv = cut(picture, native, recipe.grid)
        if recipe.grid == 1:
            conv = conv.half().to(conv)  # the official resize 512 -> 512 only rounds
    else:
        batch, count = vit.shape[:2]
        conv = resize_half(vit.flatten(0, 1), view * 8 // 7, "nearest")
        conv = conv.unflatten(0, (batch, count))
    return vit, conv


def dino_renormalise(x: Tensor, fused: bool) -> Tensor:
    """CLIP-normalised pixels [N, 3, h, w] to ImageNet-normalised ones, as the official code does.

    The constants are cast to the type of ``x`` first, so that in half precision the two forms
    (``fused`` in the light variants) differ as they do there.
    """

    def channels(values: tuple[float, ...]) -> Tensor:
        """[1, 3, 1, 1] in the type of ``x``, one value for each colour."""
        return torch.tensor(values, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)

    mean, std = channels(CLIP_MEAN), channels(CLIP_STD)
    dino_mean, dino_std = channels(DINO_MEAN), channels(DINO_STD)
    if fused:
        return x * (std / dino_std) + (mean - dino_mean) / dino_std
    return (x * std + mean - dino_mean) / dino_std
