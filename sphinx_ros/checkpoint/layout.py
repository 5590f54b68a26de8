"""The checkpoint layouts: file names, keys, shapes, splits. Opens no tensor file.

    config.json  meta.json  tokenizer.model, and either of
    consolidated.NN-of-MM.model.pth   {"model": {"llma.<parameter>": tensor}}, one per shard
    model.safetensors, or model.safetensors.index.json and the files it names: the same keys, each
                                      tensor once and whole

The first is the released one (source: LLaMA2-Accessory, ``accessory/util/tensor_parallel.py`` and
``util/misc.py``), the second what ``sphinx-ros convert`` writes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig

PREFIX = "llma."
ASSETS = Path(__file__).parents[1] / "assets"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"consolidated\.(\d\d)-of-(\d\d)\.model\.pth")
_SPLIT = {
    "attention.wq": 0,
    "attention.wk": 0,
    "attention.wv": 0,
    "attention.wo": 1,
    "feed_forward.w1": 0,
    "feed_forward.w2": 1,
    "feed_forward.w3": 0,
}
_EXPERTS = re.compile(r"layers\.\d+\.feed_forward\.w[123]")
_TOLERATED = re.compile(
    r".*\.position_ids|.*\.inv_freq"
    r"|clip\.(attn_mask|logit_bias|logit_scale|positional_embedding|text_projection)"
    r"|clip\.(token_embedding|ln_final|transformer)\..*"
    r"|dinov2_vitg14\.mask_token"
    r"|qformer\.qformer\.encoder\.layer\.\d+\.(intermediate|output)\..*"
    r"|qformer\.qformer\.embeddings\..*"
    r"|qformer\.(language_projection|language_model)\..*"
)


class Expected(NamedTuple):
    """What the released layout holds under one key."""

    shape: tuple[int, ...]  # of the whole tensor
    split_dim: int | None  # dimension that is spread over the shards; None: whole in every shard
    used: bool  # False: present in the files, and inference does without it


@dataclass(frozen=True)
class Layout:
    """A checkpoint folder: its shards in order, its parsed JSON files, its tokenizer.

    A safetensors set counts as one shard, whose path is that of its index, or of its only file.
    """

    folder: Path
    shards: tuple[Path, ...]
    params: dict
    llama_type: str
    tokenizer: Path


def split_dim(key: str) -> int | None:
    """Dimension of a parameter (with or without ``llma.``) that is spread over the shards."""
    key = key.removeprefix(PREFIX)
    if key == "tok_embeddings.weight":
        return 1  # the embedding dimension, not the vocabulary
    if key == "output.weight" or _EXPERTS.fullmatch(key):
        return 0
    found = re.fullmatch(r"layers\.\d+\.(\w+\.\w+)\.weight", key)
    return _SPLIT.get(found[1]) if found else None


def split_groups(key: str, experts: int | None) -> int:
    """Into how many equal blocks of rows a parameter falls before it is spread over the shards.

    The experts of a Mixtral layer lie below each other in one tensor, and every shard holds a part
    of every expert. 1: the parameter is spread as a whole. experts: their number, None for LLaMA.
    """
    return experts if experts and _EXPERTS.fullmatch(key.removeprefix(PREFIX)) else 1


def tolerated(key: str) -> bool:
    """Whether a surplus key (without ``llma.``) is harmless.

    Buffers, the text half of CLIP and parts of BLIP-2 that some library versions write and
    inference does without.
    """
    return _TOLERATED.fullmatch(key) is not None


def expected_keys(config: ModelConfig) -> dict[str, Expected]:
    """All keys that the official code writes for a configuration, ``llma.`` included.

    The model's own parameters, and those of CLIP's text half and DINOv2's mask token, which the
    files hold and inference doesn't read. Shapes come from a model without storage.
    """
    from sphinx_ros.model.sphinx import SphinxModel

    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in SphinxModel(config).state_dict().items()}
    unused: dict[str, tuple[int, ...]] = {
        "dinov2_vitg14.mask_token": (1, config.towers.dinov2.width)
    }
    if "clip" in config.recipe.towers:
        text = shapes["clip.visual.proj"][1]
        unused |= {
            "clip.positional_embedding": (77, text),
            "clip.text_projection": (text, text),
            "clip.logit_scale": (),
            "clip.token_embedding.weight": (49408, text),
            "clip.ln_final.weight": (text,),
            "clip.ln_final.bias": (text,),
            "clip.visual.proj": shapes["clip.visual.proj"],
        }
    both = shapes | unused
    return {PREFIX + k: Expected(v, split_dim(k), k not in unused) for k, v in both.items()}


def read_layout(folder: Path) -> Layout:
    """Find and check the files of a folder; no tensor is read.

    Raises:
        CheckpointError: a file is missing or unreadable, or the shards are incomplete or mixed.
    """
    params, meta = read_json(folder / "config.json"), read_json(folder / "meta.json")
    llama_type = meta.get("llama_type")
    if not isinstance(llama_type, str):
        raise CheckpointError(
            f"{folder / 'meta.json'}: key 'llama_type' is {llama_type!r}, expected the name of a "
            'variant, as in {"llama_type": "llama_ens5"}'
        )
    tokenizer = folder / "tokenizer.model"
    if not tokenizer.is_file():
        raise CheckpointError(
            f"{tokenizer} is missing: copy the sentencepiece model the checkpoint was trained with"
        )
    return Layout(folder, find_shards(folder), params, llama_type, tokenizer)


def find_shards(folder: Path) -> tuple[Path, ...]:
    """The shards of a folder in order of their rank, or its safetensors set.

    Raises:
        CheckpointError: none, not all, those of several checkpoints, or both layouts.
    """
    found = {p: _SHARD.fullmatch(p.name) for p in folder.glob("*.pth")}
    shards = {(int(m[1]), int(m[2])): p for p, m in found.items() if m}
    sets = [folder / name for name in (INDEX, SINGLE) if (folder / name).is_file()]
    if sets and (shards or len(sets) > 1):
        both = ", ".join(p.name for p in (*sets, *shards.values()))
        raise CheckpointError(
            f"{folder} holds more than one checkpoint: {both}; leave one set in the folder"
        )
    return tuple(sets) or _all_shards(folder, found, shards)


def _all_shards(folder: Path, found, shards: dict[tuple[int, int], Path]) -> tuple[Path, ...]:
    counts = {count for _, count in shards}
    if not shards:
        others = ", ".join(sorted(p.name for p in (*found, *folder.glob("*.safetensors"))))
        raise CheckpointError(
            f"{folder} holds {others or 'no .pth and no .safetensors file'}; expected "
            f"consolidated.NN-of-MM.model.pth, {SINGLE} or {INDEX}. Text-only "
            "consolidated.NN.pth and model-diff.pth files must be merged with the official tools"
        )
    if len(counts) > 1:
        raise CheckpointError(
            f"{folder} holds shards of several checkpoints, of {sorted(counts)} files each; "
            "leave one set in the folder"
        )
    (count,) = counts
    missing = [shard_name(r, count) for r in range(count) if (r, count) not in shards]
    if missing or len(shards) != count:
        raise CheckpointError(
            f"{folder} holds {len(shards)} shards of {count}; missing: "
            f"{', '.join(missing) or 'none, but some ranks are too high'}. Download them again"
        )
    return tuple(shards[r, count] for r in range(count))


def shard_name(rank: int, count: int) -> str:
    """File name of one shard."""
    return f"consolidated.{rank:02d}-of-{count:02d}.model.pth"


def read_json(path: Path) -> dict:
    """A file's JSON object. Raises CheckpointError where it is absent or holds something else."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy it from where the checkpoint came from")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content
