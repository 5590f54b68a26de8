"""A checkpoint -> what is in it and what it will need, without loading or downloading it.

Shards are memory-mapped, so only their tables of contents are read, except by :func:`differences`,
which reads every number. Knows no language and no picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sphinx_ros.checkpoint.hub import cached, source_of
from sphinx_ros.checkpoint.layout import ASSETS, PREFIX, split_dim
from sphinx_ros.checkpoint.look_memory import look_numbers
from sphinx_ros.checkpoint.released import RELEASED, Released, recognise
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.quant import quantised
from sphinx_ros.model.quantities import BITS

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

FORMS = {**{name: (name, None) for name in DTYPES}, **{kind: ("bfloat16", kind) for kind in BITS}}
"""Name of a row -> (number type, quantisation): how a checkpoint can be kept."""


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    folder: where it is, None where it would have to be downloaded. parameters: part -> count.
    quantisable: how many of them the decoder's linear layers have; divisible: how many several
    devices share. look_numbers: what encoding a picture holds beside the weights, at most.
    stored: number type -> share of the stored numbers. file_bytes: of each file.
    released: titles of published checkpoints with these sizes.
    """

    folder: Path | None
    config: ModelConfig
    files: tuple[Path, ...]
    file_bytes: tuple[int, ...]
    parameters: dict[str, int]
    quantisable: int
    divisible: int
    look_numbers: int
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

    def needs(self, form: str, devices: int = 1) -> tuple[int, int, int]:
        """Bytes of the weights, of one sequence's cache, and of what one look takes for a moment,
        on each of so many devices.

        form: how they are kept, a key of :data:`FORMS`.
        """
        dtype, kind = FORMS[form]
        bits = {None: 8 * DTYPES[dtype], **BITS}[kind]
        whole = self.total - self.divisible
        plain = self.divisible - self.quantisable
        weights = (whole + plain / devices) * DTYPES[dtype] + self.quantisable / devices * bits / 8
        # several devices share the views of a picture: each needs this or less
        look = self.look_numbers * DTYPES[dtype]
        return round(weights), self.cache_numbers * DTYPES[dtype] // devices, look

    def splits(self, devices: int) -> bool:
        """Whether so many devices can share the network."""
        c = self.config
        return not any(n % devices for n in (c.kv_heads, c.n_heads, c.ffn_hidden, c.dim))


def inspect(checkpoint: str | Path) -> Inspection:
    """Look into a checkpoint by name or folder; of a published one that is not here tell what is
    known beforehand.

    Raises:
        CheckpointError: files, keys or shapes are missing or do not belong together; the message
            names file, key, what was expected and what to do.
    """
    published = RELEASED.get(str(checkpoint).lower())
    if published and not Path(checkpoint).is_dir() and cached(source_of(published)) is None:
        return foreseen(published)
    stored = open_checkpoint(checkpoint)
    kinds: dict[str, int] = {}
    for shard in stored.shards:
        for tensor in shard.values():
            kind = str(tensor.dtype).removeprefix("torch.")
            kinds[kind] = kinds.get(kind, 0) + tensor.numel()
    known = recognise(stored.config)
    licences = tuple(dict.fromkeys(item.licence for item in known))
    if stored.layout.folder.parent == ASSETS:
        licences = (OWN_LICENCE,)
    return Inspection(
        folder=stored.layout.folder,
        config=stored.config,
        files=stored.files,
        file_bytes=tuple(path.stat().st_size for path in stored.files),
        **counts(stored.model),
        stored={kind: n / sum(kinds.values()) for kind, n in sorted(kinds.items())},
        released=tuple(item.title for item in known),
        licences=licences,
    )


def counts(model: torch.nn.Module) -> dict:
    """The fields of :class:`Inspection` that the network alone tells."""
    numbers = {key: value.numel() for key, value in model.state_dict().items()}
    parameters = {
        part: sum(n for key, n in numbers.items() if key.startswith(starts))
        for part, starts in PARTS.items()
    }
    return {
        "parameters": {part: count for part, count in parameters.items() if count},
        "quantisable": sum(n for key, n in numbers.items() if quantised(key)),
        "divisible": sum(n for key, n in numbers.items() if split_dim(key) is not None),
        "look_numbers": look_numbers(model),
    }


def foreseen(item: Released) -> Inspection:
    """What is known of a published checkpoint before it is downloaded."""
    from sphinx_ros.model.sphinx import SphinxModel

    with torch.device("meta"):
        model = SphinxModel(item.config)
    return Inspection(
        folder=None,
        config=item.config,
        files=(),
        file_bytes=(),
        **counts(model),
        stored={"bfloat16": 1.0},
        released=(item.title,),
        licences=(item.licence,),
    )


def differences(checkpoint: str | Path) -> Iterator[tuple[str, str | None]]:
    """(key, what is wrong with it or None) of every key, reading all numbers.

    Wrong are numbers that are not finite, and tensors that every shard repeats and one has
    differently.
    """
    stored = open_checkpoint(checkpoint)
    for key in sorted(stored.keys):
        wrong = None
        for path, shard in zip(stored.layout.shards, stored.shards, strict=True):
            part = shard.get(key)
            if part is not None and part.is_floating_point() and not torch.isfinite(part).all():
                wrong = f"{path.name} has values that are not finite"
        if (other := stored.unequal_copy(key)) and not wrong:
            wrong = f"{other} has other numbers than {stored.layout.shards[0].name}"
        stored.release(key)
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
