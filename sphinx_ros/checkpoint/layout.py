"""The released checkpoint layout: file names, keys, shapes, splits. Opens no tensor file.

    consolidated.NN-of-MM.model.pth   {"model": {"llma.<parameter>": tensor}}, one per shard
    config.json  meta.json  tokenizer.model

Source: LLaMA2-Accessory, ``accessory/util/tensor_parallel.py`` and ``util/misc.py``.
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
ASSETS = Path(__file__).parent / "assets"
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
    """A checkpoint folder: its shards in order, its parsed JSON files, its tokenizer."""

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


def resolve(name: str | Path) -> Path:
    """ "demo" or a folder -> the folder.

    Raises:
        CheckpointError: neither; the message lists what is possible.
    """
    bundled = sorted(p.parent.name for p in ASSETS.glob("*/config.json"))
    if str(name) in bundled:
        return ASSETS / str(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    kind = "is a file" if folder.exists() else "does not exist"
    raise CheckpointError(
        f"checkpoint {str(name)!r} is not a bundled one, and as a folder it {kind}; expected "
        f"{' or '.join(map(repr, bundled)) or 'a bundled name (none is installed)'}, or a folder "
        "with consolidated.NN-of-MM.model.pth, config.json, meta.json and tokenizer.model"
    )


def read_layout(folder: Path) -> Layout:
    """Find and check the files of a folder; no tensor is read.

    Raises:
        CheckpointError: a file is missing or unreadable, or the shards are incomplete or mixed.
    """
    params, meta = _read_json(folder / "config.json"), _read_json(folder / "meta.json")
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
    """The shard files of a folder in order of their rank.

    Raises:
        CheckpointError: none, not all, or those of several checkpoints.
    """
    found = {p: _SHARD.fullmatch(p.name) for p in folder.glob("*.pth")}
    shards = {(int(m[1]), int(m[2])): p for p, m in found.items() if m}
    counts = {count for _, count in shards}
    if not shards:
        others = ", ".join(sorted(p.name for p in found)) or "no .pth file"
        raise CheckpointError(
            f"{folder} holds {others}; expected consolidated.NN-of-MM.model.pth. Text-only "
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


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy it from where the checkpoint came from")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content
