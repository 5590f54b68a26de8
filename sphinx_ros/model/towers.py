"""The sizes of the four visual encoders, checked. Imports no torch and reads no file.

They are those of the released checkpoints, unless ``config.json`` shortens them (``"depths"``) or
replaces them (``"towers"``: the demonstration model, and the networks of the tests). Source of the
figures: the official LLaMA2-Accessory code, ``accessory/model/LLM``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.limits import check, divides, real, table, whole

WIDEST, DEEPEST = 65536, 256
"""More channels and more layers than any network of this kind has had."""


@dataclass(frozen=True)
class ClipTower:
    """CLIP ViT-L/14 of open_clip. quick_gelu: x * sigmoid(1.702 x) instead of the exact GELU."""

    place: ClassVar[str] = "towers.clip."
    width: int = whole(1024, most=WIDEST)
    layers: int = whole(24, most=DEEPEST)
    heads: int = whole(16, most=1024)
    mlp_ratio: float = real(4.0, least=0.01, most=64)
    quick_gelu: bool = False

    def __post_init__(self):
        check(self, self.place)
        divides(self.place, "width", self.width, "heads", self.heads)
        if not isinstance(self.quick_gelu, bool):
            raise CheckpointError(
                f"key {self.place + 'quick_gelu'!r} is {self.quick_gelu!r}, expected true or false"
            )


@dataclass(frozen=True)
class ConvNextTower:
    """CLIP ConvNeXt-XXL (timm trunk). ``dims`` and ``depths`` of the four stages."""

    place: ClassVar[str] = "towers.convnext."
    dims: tuple[int, ...] = whole((384, 768, 1536, 3072), most=WIDEST, count=4)
    depths: tuple[int, ...] = whole((3, 4, 30, 3), most=DEEPEST, count=4)

    def __post_init__(self):
        check(self, self.place)

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.dims[-1]


@dataclass(frozen=True)
class DinoTower:
    """DINOv2 ViT-g/14. position_grid: patches a side of the stored position table."""

    place: ClassVar[str] = "towers.dinov2."
    width: int = whole(1536, most=WIDEST)
    layers: int = whole(40, most=DEEPEST)
    heads: int = whole(24, most=1024)
    hidden: int = whole(4096, most=4 * WIDEST)
    position_grid: int = whole(37, most=1024)

    def __post_init__(self):
        check(self, self.place)
        divides(self.place, "width", self.width, "heads", self.heads)


@dataclass(frozen=True)
class QFormerTower:
    """BLIP-2: ViT-g (``vit_*``) and the Q-Former that reads it with ``queries`` queries."""

    place: ClassVar[str] = "towers.qformer."
    width: int = whole(768, most=WIDEST)
    layers: int = whole(12, most=DEEPEST)
    heads: int = whole(12, most=1024)
    hidden: int = whole(3072, most=4 * WIDEST)
    queries: int = whole(32, most=4096)
    vit_width: int = whole(1408, most=WIDEST)
    vit_layers: int = whole(39, most=DEEPEST)
    vit_heads: int = whole(16, most=1024)
    vit_hidden: int = whole(6144, most=4 * WIDEST)

    def __post_init__(self):
        check(self, self.place)
        divides(self.place, "width", self.width, "heads", self.heads)
        divides(self.place, "vit_width", self.vit_width, "vit_heads", self.vit_heads)


KINDS = {
    "clip": ClipTower,
    "convnext": ConvNextTower,
    "dinov2": DinoTower,
    "qformer": QFormerTower,
}
"""Key of "towers" in ``config.json`` -> what it describes."""

_DEPTHS = {
    "clip": ("clip", "layers"),
    "convnext": ("convnext", "depths"),
    "dinov2": ("dinov2", "layers"),
    "blip2_vit": ("qformer", "vit_layers"),
    "qformer": ("qformer", "layers"),
}
"""Key of "depths" -> the tower, and its size, that it replaces."""


@dataclass(frozen=True)
class Towers:
    """Sizes of the four visual encoders, and the side of a view in pixels (patches of 14)."""

    clip: ClipTower = field(default_factory=ClipTower)
    convnext: ConvNextTower = field(default_factory=ConvNextTower)
    dinov2: DinoTower = field(default_factory=DinoTower)
    qformer: QFormerTower = field(default_factory=QFormerTower)
    view: int = whole(224, most=4096)
    patch: int = whole(14, most=256)

    def __post_init__(self):
        check(self, "towers.")
        if self.view % (self.patch * 4):
            raise CheckpointError(
                f"key 'towers.view' is {self.view} pixels, expected a multiple of {self.patch * 4}"
            )

    @classmethod
    def from_json(cls, sizes: object, depths: object) -> Towers:
        """From ``config.json``'s "towers" (sizes per tower) and "depths" (shortened towers).

        Raises:
            CheckpointError: a key that is unknown, or a size that is impossible.
        """
        given = table("towers", sizes)
        parts = {name: table(f"towers.{name}", given.get(name)) for name in KINDS}
        for name, depth in table("depths", depths).items():
            if name not in _DEPTHS:
                raise CheckpointError(
                    f'"depths" has the unknown tower {name!r}, '
                    f"expected some of {', '.join(_DEPTHS)}"
                )
            tower, size = _DEPTHS[name]
            parts[tower][size] = depth
        unknown = set(given) - set(KINDS) - {"view", "patch"}
        if unknown:
            raise CheckpointError(f'unknown keys in "towers": {sorted(unknown)}')
        built = {name: _tower(kind, parts[name]) for name, kind in KINDS.items()}
        return cls(**built, **{k: given[k] for k in ("view", "patch") if k in given})


def _tower(kind, sizes: Mapping):
    """One tower from its object in ``config.json``."""
    known = {one.name for one in dataclasses.fields(kind)}
    if unknown := sorted(set(sizes) - known):
        raise CheckpointError(
            f"key {kind.place + unknown[0]!r} is unknown, expected some of "
            f"{', '.join(sorted(known))}"
        )
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in sizes.items()})
