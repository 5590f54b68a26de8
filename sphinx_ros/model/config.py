"""The sizes of a SPHINX network, checked. Imports no torch and reads no file.

A checkpoint's ``config.json`` gives those of the decoder; :mod:`sphinx_ros.model.recipes` has what
a variant does with a picture, :mod:`sphinx_ros.model.towers` the sizes of the visual encoders.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.limits import check, divides, real, shown, table, whole
from sphinx_ros.model.recipes import RECIPES, Recipe, is_mixture
from sphinx_ros.model.towers import DEEPEST, WIDEST, Towers

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of the pixels CLIP was trained on, RGB, in 0..1."""

_SWITCHES = ("load_pretrained_visual_encoder", "clip_quick_gelu")
"""Keys of ``config.json`` with which CLIP computes QuickGELU: the official code then builds
open_clip with ``pretrained="openai"``, which has it."""


@dataclass(frozen=True)
class Experts:
    """Routed experts of a Mixtral decoder: how many, and how many work on a token."""

    num_experts: int = whole(8, most=1024)
    num_experts_per_tok: int = whole(2, most=1024)

    def __post_init__(self):
        check(self, "moe.")
        if self.num_experts_per_tok > self.num_experts:
            raise CheckpointError(
                f'"moe": {self.num_experts_per_tok} experts per token of '
                f"{self.num_experts}; expected at least 1 and no more than there are"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shapes and the arithmetic of one SPHINX network.

    Raises:
        CheckpointError: a size that no network has, with its key, its value and its range.
    """

    variant: str
    vocab_size: int = whole(dataclasses.MISSING, most=1 << 24)
    dim: int = whole(512, most=WIDEST)
    n_layers: int = whole(8, most=DEEPEST)
    n_heads: int = whole(8, most=1024)
    n_kv_heads: int | None = whole(None, most=1024)
    multiple_of: int = whole(256, most=16 * WIDEST)
    ffn_dim_multiplier: float | None = real(None, least=1e-4, most=100)
    hidden_dim: int | None = whole(None, most=16 * WIDEST)  # of experts; else it follows from dim
    moe: Experts | None = None
    norm_eps: float = real(1e-5, least=1e-12, most=0.1)
    rope_theta: float = real(10000.0, least=1, most=1e12)
    rope_scaling: float | None = real(None, least=1e-6, most=1e6)
    coordinate_decimals: int = whole(2, most=9)  # the published models were shown two
    max_seq_len: int = whole(4096, most=1 << 20)
    towers: Towers = field(default_factory=Towers)

    def __post_init__(self):
        if self.variant not in RECIPES:
            raise CheckpointError(
                f"unknown llama_type {shown(self.variant)}; this release reads "
                f"{', '.join(RECIPES)}"
            )
        check(self)
        divides("", "dim", self.dim, "n_heads", self.n_heads)
        divides("", "n_heads", self.n_heads, "n_kv_heads", self.kv_heads)
        if self.head_dim % 2:
            raise CheckpointError(
                f"key 'n_heads' is {self.n_heads}: heads of dim / n_heads = {self.head_dim} "
                "channels, expected an even number, because rotary positions turn pairs"
            )
        if self.ffn_hidden < 1:
            raise CheckpointError("key 'ffn_dim_multiplier' leaves no feed-forward channel")
        self._check_grids()

    def _check_grids(self) -> None:
        """The ConvNeXt, stride 32, must see as many cells as the ViTs see patches, or half."""
        side = self.towers.view * (16 if self.recipe.convnext_native else 8) // 7
        if side // 32 not in (self.patch_grid, self.patch_grid / 2):
            raise CheckpointError(
                f"keys 'towers.view' {self.towers.view} and 'towers.patch' {self.towers.patch}: "
                f"{self.patch_grid} patches a side meet {side // 32} cells of the ConvNeXt; "
                "expected as many or half as many, as with patches of 14 pixels"
            )

    @classmethod
    def from_json(cls, params: dict, llama_type: str, vocab_size: int) -> ModelConfig:
        """From the contents of ``config.json``; keys that only concern training are passed over.

        vocab_size is the tokenizer's: as in the official code it overrides the file's.

        Raises:
            CheckpointError: as the class, and for objects that are none.
        """
        towers = Towers.from_json(params.get("towers"), params.get("depths"))
        for name in _SWITCHES:
            if params.get(name) not in (None, True, False):
                raise CheckpointError(
                    f"key {name!r} is {shown(params[name])}, expected true or false"
                )
        if any(params.get(name) for name in _SWITCHES):
            clip = dataclasses.replace(towers.clip, quick_gelu=True)
            towers = dataclasses.replace(towers, clip=clip)
        own = {f.name for f in dataclasses.fields(cls)}
        own -= {"variant", "vocab_size", "towers", "moe"}
        sizes = {k: v for k, v in params.items() if k in own and (v is not None)}
        if is_mixture(llama_type):
            sizes = {"rope_theta": 1e6} | sizes | {"moe": _experts(params)}
        else:
            sizes.pop("hidden_dim", None)  # follows from dim there
        config = cls(variant=llama_type, vocab_size=vocab_size, towers=towers, **sizes)
        if params.get("head_dim") not in (None, config.head_dim):
            raise CheckpointError(
                f"head_dim {shown(params['head_dim'])} is not dim {config.dim} / n_heads "
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
    given = table("moe", params.get("moe"))
    missing = [f"moe.{name}" for name in ("num_experts",) if name not in given]
    missing += ["hidden_dim"] * (params.get("hidden_dim") is None)
    unknown = sorted(set(given) - {f.name for f in dataclasses.fields(Experts)})
    if missing or unknown:
        wrong = f"{missing[0]} is missing" if missing else f"moe.{unknown[0]} is unknown"
        raise CheckpointError(
            f'{wrong}; expected hidden_dim and "moe": '
            '{"num_experts": 8, "num_experts_per_tok": 2}'
        )
    return Experts(**given)
