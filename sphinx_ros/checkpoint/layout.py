"""A checkpoint's folder -> its files, in which layout they are, and what its JSON files say.

    config.json  meta.json  tokenizer.model, and either of
    consolidated.NN-of-MM.model.pth   {"model": {"llma.<parameter>": tensor}}, one per shard
    model.safetensors, or model.safetensors.index.json and the files it names: the same keys, each
                                      tensor once and whole

The first is the released one (source: LLaMA2-Accessory, ``accessory/util/tensor_parallel.py`` and
``util/misc.py``), the second what ``sphinx-ros convert`` writes. The model card shows the tensors
alone, so the other three files may be missing here. Imports no torch.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sphinx_ros.checkpoint.intact import read_json, readable, there
from sphinx_ros.errors import CheckpointError, quoted
from sphinx_ros.model.recipes import RECIPES

PREFIX = "llma."
ASSETS = Path(__file__).parents[1] / "assets"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, META, TOKENIZER = "config.json", "meta.json", "tokenizer.model"
CALIBRATION = "calibration.json"
"""Kept beside a checkpoint or an adapter: see :mod:`sphinx_ros.answer.score_calibration`."""
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Files of an adapter's folder, as the library peft calls them."""
SHARD_PATTERN = "consolidated.NN-of-MM.model.pth"
_SHARD = re.compile(r"consolidated\.(\d\d)-of-(\d\d)\.model\.pth")
_TRANSFORMERS = ("architectures", "model_type", "transformers_version", "_name_or_path")
"""Keys by which a ``config.json`` of the transformers library is known."""


@dataclass(frozen=True)
class Layout:
    """A checkpoint folder: its shards in order, its parsed JSON files, its tokenizer.

    A safetensors set counts as one shard, whose path is that of its index, or of its only file.
    params, meta: contents of ``config.json`` and ``meta.json``, empty where there is none.
    llama_type: the variant, "" where nothing says it. tokenizer: None where there is none.
    """

    folder: Path
    shards: tuple[Path, ...]
    params: dict
    meta: dict
    llama_type: str
    tokenizer: Path | None


def read_layout(
    folder: Path, variant: str | None = None, tokenizer: str | Path | None = None
) -> Layout:
    """Find and check the files of a folder; no tensor is read.

    variant, tokenizer: in place of what ``meta.json`` says and of ``tokenizer.model``.

    Raises:
        CheckpointError: a file is unreadable or of another library, the variant is unknown, or
            the shards are incomplete or mixed.
    """
    config, meta = (_read_own(folder / name) for name in (CONFIG, META))
    _check_own(folder, config)
    shards = find_shards(folder)
    for path in shards:
        readable(path, "copy or download it again")
    words = folder / TOKENIZER if tokenizer is None else Path(os.path.expanduser(tokenizer))
    known = tokenizer is not None or there(words)
    if known:
        readable(words, "copy the sentencepiece model the checkpoint was trained with")
    llama_type = _variant(folder, meta, variant)
    return Layout(folder, shards, config, meta, llama_type, words if known else None)


def _read_own(path: Path) -> dict:
    return read_json(path) if there(path) else {}


def _check_own(folder: Path, config: dict) -> None:
    """Refuse the folders of another library."""
    foreign = [key for key in _TRANSFORMERS if key in config]
    if not foreign and there(folder / ADAPTER_CONFIG):
        raise CheckpointError(
            f"{folder} holds an adapter, and no checkpoint: give both, the checkpoint that it was "
            f"tuned from and this folder, with a plus between them (X+{folder})"
        )
    if foreign:
        file = folder / CONFIG
        what = config.get("model_type") or config.get("architectures")
        raise CheckpointError(
            f"{folder} is a transformers folder: {file.name} describes {quoted(what)}. This "
            f"package reads SPHINX checkpoints: {SHARD_PATTERN} as released, or what sphinx-ros "
            "convert made of them; a language model alone has no visual weights"
        )


def _variant(folder: Path, meta: dict, given: str | None) -> str:
    """What the variant is said to be, checked; "" where nobody says it."""
    if given is None and not meta:
        return ""
    name = meta.get("llama_type") if given is None else given
    place = f"{folder / META}: key 'llama_type'" if given is None else "variant"
    if not isinstance(name, str) or name not in RECIPES:
        raise CheckpointError(
            f"{place} is {quoted(name)}, expected the name of a variant that this release reads, "
            f"one of {', '.join(RECIPES)}"
        )
    return name


def find_shards(folder: Path) -> tuple[Path, ...]:
    """The shards of a folder in order of their rank, or its safetensors set.

    Raises:
        CheckpointError: none, not all, those of several checkpoints, or both layouts.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise CheckpointError(
            f"{folder} can't be listed ({error.strerror}); give this user the right to read it"
        ) from error
    matches = {name: _SHARD.fullmatch(name) for name in names}
    shards = {(int(m[1]), int(m[2])): folder / n for n, m in matches.items() if m}
    sets = [folder / name for name in (INDEX, SINGLE) if name in names]
    if sets and (shards or len(sets) > 1):
        both = ", ".join(p.name for p in (*sets, *shards.values()))
        raise CheckpointError(
            f"{folder} holds more than one checkpoint: {both}; leave one set in the folder"
        )
    return tuple(sets) or _all_shards(folder, names, shards)


def _all_shards(
    folder: Path, names: list[str], shards: dict[tuple[int, int], Path]
) -> tuple[Path, ...]:
    counts = {count for _, count in shards}
    if not shards:
        others = [n for n in names if n.endswith((".pth", ".safetensors", ".bin", ".pt", ".ckpt"))]
        pieces = any(re.fullmatch(r"model-\d+-of-\d+\.safetensors", n) for n in others)
        lost = f"{INDEX} is missing, which names the files of a set. " if pieces else ""
        held = ", ".join(others[:8]) or "no .pth and no .safetensors file"
        raise CheckpointError(
            f"{folder} holds {held}; {lost}expected {SHARD_PATTERN}, {SINGLE} or {INDEX}. "
            "Text-only consolidated.NN.pth and model-diff.pth files must be merged with the "
            "official tools"
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


def files_of(shard: Path) -> tuple[Path, ...]:
    """The tensor files of a shard: itself, or those that a safetensors index names.

    Raises:
        CheckpointError: an index without a list of files.
    """
    if shard.name != INDEX:
        return (shard,)
    return tuple(shard.parent / name for name in sorted(set(weight_map(shard).values())))


def weight_map(index: Path) -> dict[str, str]:
    """Which file of a safetensors set has which tensor, as its index says.

    Raises:
        CheckpointError: the index says something else.
    """
    places = read_json(index).get("weight_map")
    if (
        not isinstance(places, dict)
        or not places
        or not all(isinstance(n, str) and n and Path(n).name == n for n in places.values())
    ):
        raise CheckpointError(
            f"{index}: key 'weight_map' is {quoted(places)}, expected an object of tensor names "
            "and names of files beside it; copy the file again"
        )
    return places
