"""A checkpoint's visual encoders -> how far each is from the one that its library builds.

Both get the same pixels and compute with the same tensors, those of the checkpoint, which lie in
memory once. One encoder is there at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.checkpoint.placing import check_finite
from sphinx_ros.checkpoint.reference import INSTALL, REFERENCES
from sphinx_ros.checkpoint.stored import Stored, open_checkpoint
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.config import CLIP_MEAN, CLIP_STD, ModelConfig
from sphinx_ros.model.keys import part
from sphinx_ros.model.views import dino_renormalise, tower_views
from sphinx_ros.runtime.device import choose_device, choose_dtype
from sphinx_ros.runtime.memory import memory_named

TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Number type -> the greatest relative difference of encoders that are the same.

Sums in another order differ by less. A GELU of another form differs by more in float32 (1.1e-5 to
6e-4 in the demonstration model), and by less than the other types round."""

PICTURES = 2
"""More than one, so that something that mixes the pictures of a batch is seen."""


@dataclass(frozen=True)
class Compared:
    """What became of one encoder.

    encoder: one of :data:`sphinx_ros.model.keys.PARTS`. package, version: what it was compared
    with. relative: root mean square of the difference, by that of the library's output; greatest:
    of a single number. NaN where the output is not finite. tolerance: what ``relative`` may be.
    why_not: why it was not compared, "" where it was.
    """

    encoder: str
    package: str
    version: str
    tolerance: float
    relative: float = math.nan
    greatest: float = math.nan
    why_not: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it was compared, and is the same within the tolerance."""
        return self.relative <= self.tolerance


def choose(
    device: str | None = None, dtype: str | None = None
) -> tuple[torch.device, torch.dtype]:
    """Where and in which number type to compare: by default as a network is loaded.

    Raises:
        BadRequest: a device that is not there; on a CPU another type than float32, because ours
            keeps other types in memory only and computes in float32, and the libraries do not.
    """
    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    if place.type == "cpu" and kind != torch.float32:
        raise BadRequest(
            f"on the CPU encoders are compared in float32, not in {dtype}; leave --dtype out, or "
            "compare on a CUDA device"
        )
    return place, kind


def compare(
    checkpoint: str | Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    variant: str | None = None,
    tokenizer: str | Path | None = None,
) -> Iterator[Compared]:
    """Compare the encoders of a checkpoint by name or folder, one after another.

    device, dtype: of :func:`choose`. variant, tokenizer: see
    :func:`sphinx_ros.checkpoint.loading.load_checkpoint`.

    Raises:
        CheckpointError: see :func:`sphinx_ros.checkpoint.stored.open_checkpoint`.
        BadRequest: none of the libraries is installed.
        SphinxError: OUT_OF_MEMORY.
    """
    stored = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer)
    given = inputs(stored.config, pictures(stored.config.image_size).to(device, dtype))
    needed = dict.fromkeys(REFERENCES[name].module for name in given)
    if not any(find_spec(module) for module in needed):
        raise BadRequest(f"nothing to compare with: {', '.join(needed)} not installed; {INSTALL}")
    return (_compared(stored, name, arguments) for name, arguments in given.items())


def pictures(side: int) -> Tensor:
    """CLIP-normalised pictures [PICTURES, 3, side, side] with coarse and fine detail; always the
    same ones.
    """
    draw = torch.Generator().manual_seed(0)
    layers = [
        F.interpolate(torch.rand(PICTURES, 3, n, n, generator=draw), size=(side, side))
        for n in (3, 12, 48, side)
    ]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (torch.stack(layers).mean(0) - mean) / std


def inputs(config: ModelConfig, picture: Tensor) -> dict[str, tuple]:
    """Name of each encoder of a network -> what it is called with for the whole pictures.

    picture: [B, 3, S, S], S = config.image_size. The crops of a variant are left out: to an
    encoder they are pictures like others.
    """
    recipe = config.recipe
    vit, conv = (views[:, 0] for views in tower_views(config, picture))
    given: dict[str, tuple] = {
        "openclip_convnext_xxl": (conv, config.patch_grid),
        "dinov2_vitg14": (dino_renormalise(vit, recipe.fused_renorm),),
    }
    if "clip" in recipe.towers:
        given = {"clip": (vit,), **given}
    if recipe.qformer:
        given["qformer"] = (vit,)
    return given


@torch.no_grad()
def _compared(stored: Stored, name: str, arguments: tuple) -> Compared:
    """Load one encoder, compare it, and let it go."""
    picture, library = arguments[0], REFERENCES[name]
    encoder = stored.model.get_submodule(name)
    keys = {leaf: f"{name}.{leaf}" for leaf in encoder.state_dict()}
    row = Compared(part(f"{name}."), library.module, library.version(), TOLERANCE[picture.dtype])
    with memory_named(f"comparing {row.encoder}"):
        try:
            reference = library.build(stored.config.towers)
            tensors = {}
            for leaf, key in keys.items():
                tensors[leaf] = stored.take(key, picture.device, picture.dtype)
                check_finite(stored, key, tensors[leaf])
                stored.release(key, unless=[tensors[leaf]])
            encoder.load_state_dict(tensors, assign=True)
            reference.take(encoder)
            relative, greatest = difference(encoder(*arguments), reference(*arguments))
        except BadRequest as error:
            return replace(row, why_not=str(error))
        finally:
            encoder.to("meta")
            for key in keys.values():
                stored.release(key)
    return replace(row, relative=relative, greatest=greatest)


def difference(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """(root mean square of the difference by that of ``theirs``, greatest of a single number)."""
    ours, theirs = ours.float(), theirs.float()
    apart = ours - theirs
    return (apart.norm() / theirs.norm()).item(), apart.abs().max().item()
