"""A checkpoint -> what is in it and what it will need, without loading or downloading it.

Shards are memory-mapped, so only their tables of contents are read, except by :func:`differences`,
which reads every number. Knows no picture.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sphinx_ros.checkpoint.adapter import Taught, read_adapter
from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.hub import cached
from sphinx_ros.checkpoint.layout import ASSETS, PREFIX
from sphinx_ros.checkpoint.look_memory import look_numbers
from sphinx_ros.checkpoint.names import parted, source_of
from sphinx_ros.checkpoint.pages import forget_pages
from sphinx_ros.checkpoint.placing import is_finite
from sphinx_ros.checkpoint.released import RELEASED, Released, recognise
from sphinx_ros.checkpoint.shards import unequal_copy
from sphinx_ros.checkpoint.stored import checked_model, open_checkpoint
from sphinx_ros.checkpoint.survey import survey
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.keys import PARTS, part, quantised, split_dim
from sphinx_ros.model.quantities import BITS, DTYPES
from sphinx_ros.runtime.memory import available_memory

OWN_LICENCE = "Apache-2.0, as this package"

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

    Of a folder that lacks files, ``variants`` are those it may be (one where that is known; the
    first is that of ``config``), ``inferred`` says what was read from the tensors, ``assumed``
    what nothing tells, and ``missing`` what has to be given before it can be loaded. adapter: what
    is added to it, of X+ADAPTER; all else is of X.
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
    variants: tuple[str, ...]
    inferred: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    adapter: Taught | None = None

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
        """Bytes on each device: of the weights, of one sequence's cache, and of what one look
        takes for a moment.

        form: how the weights are kept, a key of :data:`FORMS`. devices: how many share them.
        """
        dtype, kind = FORMS[form]
        bits = 8 * DTYPES[dtype] if kind is None else BITS[kind]
        whole = self.total - self.divisible
        plain = self.divisible - self.quantisable
        weights = (whole + plain / devices) * DTYPES[dtype] + self.quantisable / devices * bits / 8
        # several devices share the views of a picture: each needs this or less
        look = self.look_numbers * DTYPES[dtype]
        return round(weights), self.cache_numbers * DTYPES[dtype] // devices, look

    def splits(self, devices: int) -> bool:
        """Whether that number of devices can share the network."""
        c = self.config
        return not any(n % devices for n in (c.kv_heads, c.n_heads, c.ffn_hidden, c.dim))


def inspect(
    checkpoint: str | Path, *, variant: str | None = None, tokenizer: str | Path | None = None
) -> Inspection:
    """Look into a checkpoint by name or folder; of a published one that is not here tell what is
    known beforehand.

    variant, tokenizer: see :func:`sphinx_ros.checkpoint.loading.load_checkpoint`; what is needed
    and not given is in ``missing``.

    Raises:
        CheckpointError: files, keys or shapes are missing or do not belong together; the message
            names file, key, what was expected and what to do.
    """
    base, folder = parted(checkpoint)
    taught = None if folder is None else Taught.of(read_adapter(folder), folder)
    published = RELEASED.get(base.lower())
    if published and not os.path.isdir(base) and cached(source_of(published)) is None:
        return dataclasses.replace(foreseen(published), adapter=taught)
    found = survey(checkpoint, variant, tokenizer)
    if found.needs:
        model = checked_model(found, found.vocabulary or 0)
    else:
        model = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer).model
        taught = taught and dataclasses.replace(taught, checked=True)
    kinds: dict[str, int] = {}
    for shard in found.shards:
        for tensor in shard.values():
            kind = str(tensor.dtype).removeprefix("torch.")
            kinds[kind] = kinds.get(kind, 0) + tensor.numel()
    known = [
        item
        for name in found.variants
        for item in recognise(dataclasses.replace(model.config, variant=name))
    ]
    licences = tuple(dict.fromkeys(item.licence for item in known))
    if found.layout.folder.parent == ASSETS:
        licences = (OWN_LICENCE,)
    return Inspection(
        folder=found.layout.folder,
        config=model.config,
        files=found.files,
        file_bytes=tuple(path.stat().st_size for path in found.files),
        **counts(model),
        stored={kind: n / sum(kinds.values()) for kind, n in sorted(kinds.items())},
        released=tuple(item.title for item in known),
        licences=licences,
        variants=found.variants,
        inferred=found.inferred,
        assumed=found.assumed,
        missing=found.needs,
        adapter=taught,
    )


def counts(model: torch.nn.Module) -> dict:
    """The fields of :class:`Inspection` that the network alone tells."""
    numbers = {key: value.numel() for key, value in model.state_dict().items()}
    parameters = {name: sum(n for k, n in numbers.items() if part(k) == name) for name in PARTS}
    return {
        "parameters": {name: count for name, count in parameters.items() if count},
        "quantisable": sum(n for key, n in numbers.items() if quantised(key)),
        "divisible": sum(n for key, n in numbers.items() if split_dim(key) is not None),
        "look_numbers": look_numbers(model),
    }


def foreseen(item: Released) -> Inspection:
    """What is known of a published checkpoint before it is downloaded."""
    model = empty_model(item.config)
    return Inspection(
        folder=None,
        config=item.config,
        files=(),
        file_bytes=(),
        **counts(model),
        stored={"bfloat16": 1.0},
        released=(item.title,),
        licences=(item.licence,),
        variants=(item.variant,),
    )


def differences(checkpoint: str | Path) -> Iterator[tuple[str, str | None]]:
    """(key, what is wrong with it or None) of every key, reading all numbers.

    Wrong are numbers that are not finite, and tensors that every shard repeats and one has
    differently. Neither variant nor tokenizer have to be known.
    """
    found = survey(checkpoint)
    paths = found.layout.shards
    for key in sorted({key for shard in found.shards for key in shard}):
        wrong, parts = None, [shard.get(key) for shard in found.shards]
        for path, held in zip(paths, parts, strict=True):
            if held is not None and held.is_floating_point() and not is_finite(held):
                wrong = f"{path.name} has values that are not finite"
        if (other := unequal_copy(key, paths, parts)) and not wrong:
            wrong = f"{other} has other numbers than {paths[0].name}"
        for held in parts:
            if held is not None:
                forget_pages(held)
        yield PREFIX + key, wrong


def memory_here() -> dict[str, int]:
    """Device -> bytes: what the CPU can still give, and each CUDA device's free memory."""
    free = {"cpu": available_memory()}
    for index in range(torch.cuda.device_count()):
        free[f"cuda:{index}"] = torch.cuda.mem_get_info(index)[0]
    return free
