"""A checkpoint folder -> what is in it and what it will need, without loading it.

Shards are memory-mapped, so only their tables of contents are read, except by :func:`differences`,
which reads every number. Knows no language and no picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sphinx_ros.checkpoint import open_checkpoint
from sphinx_ros.layout import ASSETS, PREFIX, split_dim
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.released import recognise

PARTS = {
    "language model": ("layers.", "norm.", "tok_embeddings.", "output."),
    "CLIP": ("clip.",),
    "ConvNeXt": ("openclip_convnext_xxl.",),
    "DINOv2": ("dinov2_vitg14.",),
    "BLIP-2, Q-Former": ("qformer.",),
    "projections": ("qformer_proj.", "visual_proj.", "start_img", "end_img"),
}
"""Part of the network -> how its parameters' names begin."""

OWN_LICENCE = "Apache-2.0, as this package"

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Number type -> bytes, of those that a checkpoint can be loaded in."""


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    parameters: part -> count. stored: number type -> share of the stored numbers. file_bytes: of
    each shard. released: titles of published checkpoints with these sizes. cache_numbers: keys and
    values of one sequence of ``config.max_seq_len`` positions.
    """

    folder: Path
    config: ModelConfig
    shards: tuple[Path, ...]
    file_bytes: tuple[int, ...]
    parameters: dict[str, int]
    stored: dict[str, float]
    released: tuple[str, ...]
    licences: tuple[str, ...]

    @property
    def total(self) -> int:
        """Parameters of the network."""
        return sum(self.parameters.values())

    @property
    def cache_numbers(self) -> int:
        """Numbers in the key/value cache of one sequence of the longest length."""
        c = self.config
        return 2 * c.n_layers * c.kv_heads * c.head_dim * c.max_seq_len

    def needs(self, dtype: str) -> tuple[int, int]:
        """(bytes of the weights, bytes of one sequence's cache) in a number type."""
        size = DTYPES[dtype]
        return self.total * size, self.cache_numbers * size


def inspect(checkpoint: str | Path) -> Inspection:
    """Look into "demo" or a folder in the released layout.

    Raises:
        CheckpointError: files, keys or shapes are missing or do not belong together; the message
            names file, key, what was expected and what to do.
    """
    layout, shards, model, _ = open_checkpoint(checkpoint)
    shapes = {k: v.numel() for k, v in model.state_dict().items()}
    parameters = {
        part: sum(n for key, n in shapes.items() if key.startswith(starts))
        for part, starts in PARTS.items()
    }
    stored: dict[str, int] = {}
    for shard in shards:
        for tensor in shard.values():
            kind = str(tensor.dtype).removeprefix("torch.")
            stored[kind] = stored.get(kind, 0) + tensor.numel()
    known = recognise(model.config)
    licences = tuple(dict.fromkeys(item.licence for item in known))
    if layout.folder.parent == ASSETS:
        licences = (OWN_LICENCE,)
    return Inspection(
        folder=layout.folder,
        config=model.config,
        shards=layout.shards,
        file_bytes=tuple(path.stat().st_size for path in layout.shards),
        parameters={part: count for part, count in parameters.items() if count},
        stored={kind: n / sum(stored.values()) for kind, n in sorted(stored.items())},
        released=tuple(item.title for item in known),
        licences=licences,
    )


def differences(checkpoint: str | Path) -> Iterator[tuple[str, str | None]]:
    """(key, what is wrong with it or None) of every key, reading all numbers.

    Wrong are numbers that are not finite, and tensors that every shard repeats and one has
    differently.
    """
    layout, shards, *_ = open_checkpoint(checkpoint)
    for key in sorted(shards[0]):
        parts = [shard[key] for shard in shards if key in shard]
        wrong = None
        for path, part in zip(layout.shards, parts, strict=False):
            if not torch.isfinite(part).all():
                wrong = f"{path.name} has values that are not finite"
            elif split_dim(key) is None and not torch.equal(part, parts[0]):
                wrong = f"{path.name} has other numbers than {layout.shards[0].name}"
            if wrong:
                break
        yield PREFIX + key, wrong


def memory_here() -> dict[str, int]:
    """Device -> bytes: what the CPU can still give, and each CUDA device's free memory."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        here = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass  # not Linux: all there is, free or not
    free = {"cpu": here}
    for index in range(torch.cuda.device_count()):
        free[f"cuda:{index}"] = torch.cuda.mem_get_info(index)[0]
    return free
