"""Numbers of the official SPHINX code, and models with the weights they were made with.

``tests/data/golden`` holds what the official implementation computed for small models whose
weights follow a rule (:func:`weight`), so that a test rebuilds the weights instead of carrying
them. Towers keep their released widths and lose layers.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "golden"
TOKENIZER = DATA / "tokenizer_512.model"
VARIANTS = (
    "llama_ens",
    "llama_ens_quickgelu",
    "llama_ens5",
    "llama_ens5p2",
    "llama_ens10",
    "llama_ens_light",
    "llama_ens_light_rope",
    "llama_ens5_light",
    "mixtral_sparse_ens",
    "mixtral_sparse_ens5",
)
"""Names of the golden files: the eight variants, and two with other switches."""

_DOUBLED = ("attention.wq.weight", "attention.wk.weight", "attention.wo.weight",
            "feed_forward.w2.weight", "feed_forward.w2")  # fmt: skip
_TABLES = ("embed", "token", "start_img", "end_img")


def weight(name: str, shape, seed: int = 0) -> np.ndarray:
    """The weight of a parameter: a function of its official name, its shape and a seed.

    ``offset + scale * N`` with N from numpy's PCG64, seeded with the CRC-32 of the name; the
    scale depends on the kind of parameter. Returns float32.
    """
    key = f"{seed}:{name}" if seed else name
    bits = np.random.PCG64(zlib.crc32(key.encode()))
    noise = np.asarray(np.random.Generator(bits).standard_normal(tuple(shape)), np.float32)
    offset, scale = _offset_and_scale(name, tuple(shape))
    noise *= np.float32(scale)
    if offset:
        noise += np.float32(offset)
    return noise


def _offset_and_scale(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    leaf = name.rpartition(".")[2]
    if leaf == "gamma":
        return 0.3, 0.05
    if not shape:
        return 0.0, 0.1
    if "class_embedding" in name:
        return 0.0, 0.5
    if len(shape) == 1:
        return (1.0, 0.1) if leaf == "weight" else (0.0, 0.1)
    if len(shape) <= 3 and any(part in name for part in _TABLES):
        return 0.0, 0.5
    gain = 2.0 if name.startswith("layers.") and name.endswith(_DOUBLED) else 1.0
    return 0.0, gain / np.sqrt(math.prod(shape[1:]))


class WeightStore:
    """Remembers weights, because the variants share most of them (about 0.3 B numbers)."""

    def __init__(self):
        self._made: dict[tuple, torch.Tensor] = {}

    def get(self, name: str, shape, seed: int = 0) -> torch.Tensor:
        """:func:`weight` as a tensor; the same storage each time, so treat it as read-only."""
        key = (name, tuple(shape), seed)
        if key not in self._made:
            self._made[key] = torch.from_numpy(weight(*key))
        return self._made[key]

    def clear(self) -> None:
        """Forget everything."""
        self._made.clear()


@dataclass(frozen=True)
class Golden:
    """One golden file. Fields of the file are read with ``golden["name"]``."""

    name: str

    @cached_property
    def fields(self) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"golden_{self.name}.npz") as archive:
            return {key: archive[key] for key in archive.files}

    def __getitem__(self, key: str) -> np.ndarray:
        return self.fields[key]

    def __contains__(self, key: str) -> bool:
        return key in self.fields

    @cached_property
    def settings(self) -> dict:
        """How the file was made."""
        return json.loads(str(self["config"]))

    @cached_property
    def params(self) -> dict:
        """The ``config.json`` of a checkpoint of this model."""
        quick = {"clip_quick_gelu": True} if self.settings.get("clip_quick_gelu") else {}
        return {**self.settings["model_args"], "depths": self.settings["depths"], **quick}

    @cached_property
    def model_config(self) -> ModelConfig:
        """The configuration of this model."""
        kind, words = self.settings["llama_type"], self.settings["vocab_size"]
        return ModelConfig.from_json(self.params, kind, words)

    def build(self, store: WeightStore) -> SphinxModel:
        """The float32 model with its weights; parameters share the store's storage."""
        with torch.device("meta"):
            model = SphinxModel(self.model_config)
        seed = self.settings["weight_seed"]
        state = {k: store.get(k, v.shape, seed) for k, v in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
        return model.eval().requires_grad_(False)

    def pixels(self, field: str = "image_u8") -> torch.Tensor:
        """A preprocessed picture of the file, [3, S, S]."""
        return torch.from_numpy(preprocess(self[field], self.model_config.image_size))


def manifest(variant: str) -> dict:
    """The full-size key list of a variant."""
    with gzip.open(GOLDEN / f"manifest_{variant}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def cases(name: str):
    """A JSON file of golden cases."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def picture(name: str) -> np.ndarray:
    """The RGB picture of a case, named like "proc:120,200,0"."""
    from PIL import Image

    file = GOLDEN / "images" / (name.replace(":", "_").replace(",", "_") + ".png")
    return np.asarray(Image.open(file).convert("RGB"))
