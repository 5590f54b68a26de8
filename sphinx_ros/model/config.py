"""The sizes of a SPHINX network, and the table of visual recipes. Knows no tensors and no files.

A *variant* (``llama_type`` of ``meta.json``) names a row of :data:`RECIPES`: which towers see the
picture, how large a square it is resized to, into how many views that square is cut, and how a
view becomes tokens. The sizes of the towers are those of the released checkpoints unless
``config.json`` shortens them (``"depths"``) or replaces them (``"towers"``, the demonstration
model). Source of the figures: the official LLaMA2-Accessory code, ``accessory/model/LLM``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from sphinx_ros.errors import CheckpointError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the pixels CLIP was trained on, RGB, in 0..1."""


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


_LIGHT = {"towers": ("convnext", "dinov2"), "qformer": False, "fused_renorm": True}
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


@dataclass(frozen=True)
class ClipTower:
    """CLIP ViT-L/14 of open_clip. quick_gelu: x * sigmoid(1.702 x) instead of the exact GELU."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    quick_gelu: bool = False


@dataclass(frozen=True)
class ConvNextTower:
    """CLIP ConvNeXt-XXL (timm trunk). ``dims`` and ``depths`` of the four stages."""

    dims: tuple[int, ...] = (384, 768, 1536, 3072)
    depths: tuple[int, ...] = (3, 4, 30, 3)

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.dims[-1]


@dataclass(frozen=True)
class DinoTower:
    """DINOv2 ViT-g/14. position_grid: patches a side of the stored position table."""

    width: int = 1536
    layers: int = 40
    heads: int = 24
    hidden: int = 4096
    position_grid: int = 37


@dataclass(frozen=True)
class QFormerTower:
    """BLIP-2: ViT-g (``vit_*``) and the Q-Former that reads it with ``queries`` queries."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    queries: int = 32
    vit_width: int = 1408
    vit_layers: int = 39
    vit_heads: int = 16
    vit_hidden: int = 6144


@dataclass(frozen=True)
class Towers:
    """Sizes of the four visual encoders, and the side of a view in pixels (patches of 14)."""

    clip: ClipTower = field(default_factory=ClipTower)
    convnext: ConvNextTower = field(default_factory=ConvNextTower)
    dinov2: DinoTower = field(default_factory=DinoTower)
    qformer: QFormerTower = field(default_factory=QFormerTower)
    view: int = 224
    patch: int = 14

    def __post_init__(self):
        if self.view % (self.patch * 4):
            raise CheckpointError(
                f"towers.view is {self.view} pixels, expected a multiple of {self.patch * 4}"
            )

    @classmethod
    def from_json(cls, sizes: dict, depths: dict) -> Towers:
        """From ``config.json``'s "towers" (sizes per tower) and "depths" (shortened towers)."""
        kinds = {
            "clip": ClipTower,
            "convnext": ConvNextTower,
            "dinov2": DinoTower,
            "qformer": QFormerTower,
        }
        parts = {k: dict(sizes.get(k, {})) for k in kinds}
        places = {
            "clip": ("clip", "layers"),
            "convnext": ("convnext", "depths"),
            "dinov2": ("dinov2", "layers"),
            "blip2_vit": ("qformer", "vit_layers"),
            "qformer": ("qformer", "layers"),
        }
        for name, depth in depths.items():
            if name not in places:
                raise CheckpointError(
                    f'config.json: "depths" has the unknown tower {name!r}, '
                    f"expected some of {', '.join(places)}"
                )
            tower, attribute = places[name]
            parts[tower][attribute] = depth
        unknown = set(sizes) - set(kinds) - {"view", "patch"}
        if unknown:
            raise CheckpointError(f'config.json: unknown keys in "towers": {sorted(unknown)}')
        try:
            built = {
                k: kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in parts[k].items()})
                for k, kind in kinds.items()
            }
        except TypeError as error:
            raise CheckpointError(f'config.json: "towers": {error}') from error
        return cls(**built, **{k: sizes[k] for k in ("view", "patch") if k in sizes})


@dataclass(frozen=True)
class Experts:
    """Routed experts of a Mixtral decoder: how many, and how many work on a token."""

    num_experts: int
    num_experts_per_tok: int = 2

    def __post_init__(self):
        if not 1 <= self.num_experts_per_tok <= self.num_experts:
            raise CheckpointError(
                f'config.json: "moe": {self.num_experts_per_tok} experts per token of '
                f"{self.num_experts}; expected at least 1 and no more than there are"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shapes and the arithmetic of one SPHINX network."""

    variant: str
    vocab_size: int
    dim: int = 512
    n_layers: int = 8
    n_heads: int = 8
    n_kv_heads: int | None = None
    multiple_of: int = 256
    ffn_dim_multiplier: float | None = None
    hidden_dim: int | None = None  # of the experts; elsewhere it follows from dim
    moe: Experts | None = None
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: float | None = None
    coordinate_decimals: int = 2  # of regions in questions; the published models were shown two
    max_seq_len: int = 4096
    towers: Towers = field(default_factory=Towers)

    def __post_init__(self):
        if self.variant not in RECIPES:
            raise CheckpointError(
                f"unknown llama_type {self.variant!r}; this release reads {', '.join(RECIPES)}"
            )
        if self.dim % self.n_heads or self.n_heads % self.kv_heads:
            raise CheckpointError(
                f"config.json: dim {self.dim}, n_heads {self.n_heads}, n_kv_heads {self.kv_heads}:"
                " each must divide the one before"
            )

    @classmethod
    def from_json(cls, params: dict, llama_type: str, vocab_size: int) -> ModelConfig:
        """From the contents of ``config.json``; keys that only concern training are passed over.

        vocab_size is the tokenizer's: as in the official code it overrides the file's.
        """
        towers = Towers.from_json(params.get("towers", {}), params.get("depths", {}))
        if params.get("load_pretrained_visual_encoder") or params.get("clip_quick_gelu"):
            # the official code then builds open_clip with pretrained="openai", which has QuickGELU
            clip = dataclasses.replace(towers.clip, quick_gelu=True)
            towers = dataclasses.replace(towers, clip=clip)
        own = {f.name for f in dataclasses.fields(cls)}
        own -= {"variant", "vocab_size", "towers", "moe"}
        sizes = {k: v for k, v in params.items() if k in own and (v is not None)}
        if llama_type.startswith("mixtral"):
            sizes = {"rope_theta": 1e6} | sizes | {"moe": _experts(params)}
        else:
            sizes.pop("hidden_dim", None)  # follows from dim there
        config = cls(variant=llama_type, vocab_size=vocab_size, towers=towers, **sizes)
        if params.get("head_dim") not in (None, config.head_dim):
            raise CheckpointError(
                f"config.json: head_dim {params['head_dim']} is not dim {config.dim} / n_heads "
                f"{config.n_heads}; such attention is not built here"
            )
        return config

    @property
    def recipe(self) -> Recipe:
        """The visual recipe of this variant."""
        return RECIPES[self.variant]

    @property
    def kv_heads(self) -> int:
        """Key/value heads; as many as query heads where the file names none."""
        return self.n_kv_heads or self.n_heads

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.n_heads

    @property
    def num_experts(self) -> int | None:
        """Experts of a layer; None where there is one dense feed-forward."""
        return self.moe.num_experts if self.moe else None

    @property
    def ffn_hidden(self) -> int:
        """Hidden width of SwiGLU: 2/3 of 4 dim, times the multiplier, rounded up; of an expert
        ``hidden_dim``.
        """
        if self.hidden_dim is not None:
            return self.hidden_dim
        hidden = int(2 * 4 * self.dim / 3)
        if self.ffn_dim_multiplier is not None:
            hidden = int(self.ffn_dim_multiplier * hidden)
        return -(-hidden // self.multiple_of) * self.multiple_of

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that the padded picture is resized to."""
        return round(self.recipe.side * self.towers.view)

    @property
    def patch_grid(self) -> int:
        """Patches a side of one view."""
        return self.towers.view // self.towers.patch

    @property
    def view_tokens(self) -> tuple[int, ...]:
        """Tokens of each view, start and end marks not counted; the whole picture first."""
        queries = self.towers.qformer.queries if self.recipe.qformer else 0
        first = queries + 1 + self.patch_grid**2
        crop = first
        if self.recipe.halved_crops:
            crop = queries + 1 + (self.patch_grid // 2) ** 2
        crops = self.recipe.grid**2 if self.recipe.grid > 1 else 0
        return (first,) + (crop,) * crops

    @property
    def image_words(self) -> int:
        """Positions a picture takes in the sequence, start and end marks of each view included."""
        return sum(n + 2 for n in self.view_tokens)


def _experts(params: dict) -> Experts:
    """The "moe" of a Mixtral variant's ``config.json``."""
    given = params.get("moe")
    try:
        if params.get("hidden_dim") is None:
            raise TypeError("hidden_dim is missing")
        return Experts(**given)
    except TypeError as error:
        raise CheckpointError(
            f'config.json: "moe" is {given!r} ({error}); expected hidden_dim and '
            '{"num_experts": 8, "num_experts_per_tok": 2}'
        ) from error
