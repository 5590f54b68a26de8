"""Shapes of tensors -> the sizes that they tell, and the variants they may be. Opens no file.

Heads are in no shape, and neither is the variant: variants differ in how they cut the picture.
:mod:`sphinx_ros.checkpoint.completing` says where these come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sphinx_ros.checkpoint.layout import CONFIG, PREFIX
from sphinx_ros.checkpoint.released import RELEASED, Released
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.recipes import RECIPES, is_mixture

_CLIP, _CONVNEXT, _DINO = "clip.visual.", "openclip_convnext_xxl.", "dinov2_vitg14."
_VIT, _QFORMER = "qformer.vision_model.", "qformer.qformer.encoder.layer."
_EXPERTS, _GATE = "layers.0.feed_forward.w1", "layers.0.feed_forward.gate.weight"


@dataclass(frozen=True)
class Sizes:
    """What the tensors tell.

    vocabulary: rows of the embedding. decoder: keys of ``config.json``, without heads. kv_rows:
    key/value heads by channels of a head. hidden: feed-forward channels, of one expert if there
    are any. towers: "towers" of ``config.json``, without heads.
    """

    folder: Path
    vocabulary: int
    decoder: dict
    kv_rows: int
    hidden: int
    experts: int | None
    towers: dict[str, dict | int]

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants that have these towers and this kind of decoder."""
        return tuple(
            name
            for name, recipe in RECIPES.items()
            if ("clip" in recipe.towers) == ("clip" in self.towers)
            and recipe.qformer == ("qformer" in self.towers)
            and is_mixture(name) == (self.experts is not None)
        )

    @property
    def released(self) -> tuple[Released, ...]:
        """The published checkpoints with these shapes."""
        return tuple(item for item in RELEASED.values() if self.matches(item.config))

    def matches(self, config: ModelConfig) -> bool:
        """Whether a network of this configuration has these shapes."""
        return (
            config.variant in self.variants
            and (config.dim, config.n_layers) == (self.decoder["dim"], self.decoder["n_layers"])
            and config.kv_heads * config.head_dim == self.kv_rows
            and (config.ffn_hidden, config.num_experts) == (self.hidden, self.experts)
            and all(_equal(getattr(config.towers, k), v) for k, v in self.towers.items())
        )


def _equal(tower, sizes: dict | int) -> bool:
    """Whether a tower of a configuration has the sizes that were read."""
    if not isinstance(sizes, dict):
        return tower == sizes
    return all(
        getattr(tower, name) == (tuple(v) if isinstance(v, list) else v)
        for name, v in sizes.items()
    )


class _Shapes:
    """Shapes by key; a key that must be there is asked for by its number of dimensions."""

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, ...]]):
        self.folder, self.shapes = folder, shapes

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a key. Raises CheckpointError: missing, empty, or of other dimensions."""
        found = self.shapes.get(key)
        if found is None or len(found) != dimensions or not all(found):
            said = "is missing" if found is None else f"has shape {list(found)}"
            raise CheckpointError(
                f"{self.folder}: {PREFIX}{key} {said}, expected {dimensions} dimensions: without "
                f"{CONFIG} the sizes of the network are read from it. Copy the files again"
            )
        return found

    def count(self, start: str) -> int:
        """How many layers there are under ``start0.``, ``start1.`` and so on."""
        pattern = re.compile(re.escape(start) + r"(\d+)\.")
        numbers = {int(m[1]) for m in map(pattern.match, self.shapes) if m}
        if numbers != set(range(len(numbers))) or not numbers:
            raise CheckpointError(
                f"{self.folder}: the layers {PREFIX}{start}N are not numbered from 0 on without a "
                "gap; tensors are missing, copy the files again"
            )
        return len(numbers)

    def grid(self, key: str, dimensions: int) -> int:
        """Patches a side of a position table [.., 1 + side^2, width]."""
        return round((self.of(key, dimensions)[-2] - 1) ** 0.5)


def read_sizes(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Sizes:
    """The sizes of a network from the shapes of its whole tensors, by key without ``llma.``.

    Raises:
        CheckpointError: a tensor that tells a size is missing, or has another shape.
    """
    found = _Shapes(folder, shapes)
    vocabulary, dim = found.of("tok_embeddings.weight", 2)
    layers, experts = found.count("layers."), None
    if _GATE in found:
        experts = found.of(_GATE, 2)[0]
        hidden = found.of(_EXPERTS, 2)[0] // experts
    else:
        hidden = found.of(f"{_EXPERTS}.weight", 2)[0]
    return Sizes(
        folder=folder,
        vocabulary=vocabulary,
        decoder={"dim": dim, "n_layers": layers},
        kv_rows=found.of("layers.0.attention.wk.weight", 2)[0],
        hidden=hidden,
        experts=experts,
        towers=_read_towers(found),
    )


def layer_counts(config: ModelConfig) -> list[tuple[str, str, int]]:
    """(key of ``config.json``, how the layers' parameters begin, how many there are) of each stack
    of layers.
    """
    towers = config.towers
    return [
        ("n_layers", "layers.", config.n_layers),
        ("towers.clip.layers", f"{_CLIP}transformer.resblocks.", towers.clip.layers),
        ("towers.dinov2.layers", f"{_DINO}blocks.", towers.dinov2.layers),
        ("towers.qformer.layers", _QFORMER, towers.qformer.layers),
        ("towers.qformer.vit_layers", f"{_VIT}encoder.layers.", towers.qformer.vit_layers),
        *(
            (f"towers.convnext.depths[{n}]", f"{_CONVNEXT}stages.{n}.blocks.", depth)
            for n, depth in enumerate(towers.convnext.depths)
        ),
    ]


def _read_towers(found: _Shapes) -> dict[str, dict | int]:
    """ "towers" of ``config.json``, without heads."""
    towers: dict[str, dict | int] = {}
    width, _, patch, _ = found.of(f"{_DINO}patch_embed.proj.weight", 4)
    towers["dinov2"] = {
        "width": width,
        "layers": found.count(f"{_DINO}blocks."),
        "hidden": found.of(f"{_DINO}blocks.0.mlp.w3.weight", 2)[1],
        "position_grid": found.grid(f"{_DINO}pos_embed", 3),
    }
    stages = [f"{_CONVNEXT}stages.{n}.blocks." for n in range(4)]
    towers["convnext"] = {
        "dims": [found.of(f"{stage}0.gamma", 1)[0] for stage in stages],
        "depths": [found.count(stage) for stage in stages],
    }
    towers["patch"] = patch
    if f"{_CLIP}conv1.weight" in found:
        wide, hidden = (
            found.of(f"{_CLIP}{key}", n)[0]
            for key, n in (("conv1.weight", 4), ("transformer.resblocks.0.mlp.c_fc.weight", 2))
        )
        layers = found.count(f"{_CLIP}transformer.resblocks.")
        towers["clip"] = {"width": wide, "layers": layers, "mlp_ratio": hidden / wide}
        towers["view"] = patch * found.grid(f"{_CLIP}positional_embedding", 2)
    if "qformer.query_tokens" in found:
        towers["qformer"] = _read_qformer(found)
        towers["view"] = patch * found.grid(f"{_VIT}embeddings.position_embedding", 3)
    return towers


def _read_qformer(found: _Shapes) -> dict:
    _, queries, width = found.of("qformer.query_tokens", 3)
    hidden, vit_width = found.of(f"{_VIT}encoder.layers.0.mlp.fc1.weight", 2)
    return {
        "width": width,
        "layers": found.count(_QFORMER),
        "hidden": found.of(f"{_QFORMER}0.intermediate_query.dense.weight", 2)[0],
        "queries": queries,
        "vit_width": vit_width,
        "vit_layers": found.count(f"{_VIT}encoder.layers."),
        "vit_hidden": hidden,
    }
