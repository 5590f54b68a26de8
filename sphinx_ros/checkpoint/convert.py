"""A checkpoint in one layout -> the same numbers in the other, as a stream. Changes no bit.

In the released layout every shard repeats the vision towers; in a safetensors set each tensor
stands once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from sphinx_ros.checkpoint.hub import beside
from sphinx_ros.checkpoint.intact import is_file, readable, there
from sphinx_ros.checkpoint.layout import CALIBRATION, CONFIG, META, PREFIX, TOKENIZER
from sphinx_ros.checkpoint.placing import check_finite
from sphinx_ros.checkpoint.pth import STORAGES, Entry
from sphinx_ros.checkpoint.staging import staged
from sphinx_ros.checkpoint.stored import Stored, open_checkpoint
from sphinx_ros.checkpoint.writing import SET_BYTES, ReleasedShards, SafetensorsSet
from sphinx_ros.errors import CheckpointError

SPARE = 64 << 20
"""Bytes that are left free on the disk."""

DOCUMENTS = ("LICENSE*", "LICENCE*", "NOTICE*", "README*")
"""Files that go along with the weights where they are there."""


def convert(
    checkpoint: str | Path,
    target: str | Path,
    shards: int | None = None,
    *,
    largest: int = SET_BYTES,
    progress: Callable[[int, int], None] | None = None,
    variant: str | None = None,
    tokenizer: str | Path | None = None,
) -> Path:
    """Write a checkpoint anew: as a safetensors set, or in the released layout for ``shards``.

    In memory is one tensor at a time. What is interrupted leaves nothing. The calibration goes
    along, of a name with an adapter the one that it is asked with, so that what is written answers
    the same.

    Args:
        checkpoint: a name or a folder in either layout, any number of shards.
        target: a folder that does not exist yet, or is empty.
        largest: bytes of a safetensors file, before the next one begins.
        progress: called with (bytes just written, bytes in all).
        variant, tokenizer: for a folder that holds tensors alone, see ``load_checkpoint``; what is
            written has all files.

    Returns:
        The folder.

    Raises:
        CheckpointError: the checkpoint can't be read, its shards disagree, it can't be split into
            ``shards`` equal parts, its sum with the adapter is not finite, the disk is too small,
            or ``target`` can't be written or holds something.
    """
    stored = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer)
    entries = entries_of(stored)

    def tensors(order: Sequence[Entry]) -> Iterator[Tensor]:
        """The tensors in that order, each released when the next one is asked for."""
        for entry in order:
            if other := stored.unequal_copy(entry.key):
                raise CheckpointError(
                    f"{stored.layout.folder / other}: {PREFIX}{entry.key} has other numbers than "
                    f"in {stored.layout.shards[0].name}, and all files should repeat it; a file "
                    "is damaged or of another checkpoint (sphinx-ros inspect --deep lists all)"
                )
            tensor = stored.mapped(entry.key)
            if stored.adds_to(entry.key):  # all else is copied, whatever it is
                check_finite(stored, entry.key, tensor)
            yield tensor
            stored.release(entry.key)

    known = (folder / CALIBRATION for folder in beside(checkpoint))
    also = [path for path in known if there(path)][:1]
    for path in also:
        readable(path)
    return write(stored, entries, tensors, Path(target), shards, largest, progress, also=also)


def entries_of(stored: Stored) -> list[Entry]:
    """What a checkpoint holds.

    Raises:
        CheckpointError: numbers of a type that neither layout has.
    """
    for key in stored.keys:
        if (kind := stored.dtype(key)) not in STORAGES:
            raise CheckpointError(
                f"{stored.layout.folder}: {PREFIX}{key} holds numbers of type {kind}, which can't "
                "be written; expected one of "
                + ", ".join(str(known).removeprefix("torch.") for known in STORAGES)
            )
    return [Entry(key, stored.shape(key), stored.dtype(key)) for key in stored.keys]


def write(
    like: Stored,
    entries: Sequence[Entry],
    tensors: Callable[[Sequence[Entry]], Iterator[Tensor]],
    target: Path,
    shards: int | None,
    largest: int = SET_BYTES,
    progress: Callable[[int, int], None] | None = None,
    meta: dict | None = None,
    also: Sequence[Path] = (),
) -> Path:
    """Write a folder: its tensors from ``tensors``, which gets their order, and all other files
    from the checkpoint ``like``; meta: what to add to ``meta.json``. also: files that belong to
    these numbers alone, which go along.

    Raises:
        CheckpointError: see :func:`convert`.
    """
    with staged(target) as folder:
        if shards is None:
            sink: SafetensorsSet | ReleasedShards = SafetensorsSet(folder, entries, largest)
        else:
            sink = ReleasedShards(folder, entries, shards, like.config.num_experts)
        with sink:
            _room(folder, target, sink.bytes)
            for entry, tensor in zip(sink.order, tensors(sink.order), strict=True):
                written = sink.write(entry.key, tensor)
                if progress:
                    progress(written, sink.bytes)
        _write_rest(like, folder, meta or {})
        for path in also:
            shutil.copyfile(path, folder / path.name)
    return target


def _write_rest(like: Stored, folder: Path, meta: dict) -> None:
    """All files but the tensors, from another folder; what that one lacks is written anew."""
    for pattern in DOCUMENTS:
        for path in like.layout.folder.glob(pattern):
            if is_file(path):
                shutil.copyfile(path, folder / path.name)
    shutil.copyfile(like.tokenizer.path, folder / TOKENIZER)
    described = like.layout.meta | {"llama_type": like.layout.llama_type} | meta
    for name, content in ((CONFIG, like.layout.params), (META, described)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _room(folder: Path, target: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE > free:
        raise CheckpointError(
            f"{target} needs {needed / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB free; "
            "name a folder on another disk"
        )
