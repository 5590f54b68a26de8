"""Several checkpoints of one network -> one whose numbers are a weighted sum of theirs.

The "domain mix" of SPHINX: weights tuned on real pictures and weights tuned on synthetic ones are
combined linearly (arXiv 2311.07575, abstract; the authors published no code and no coefficient).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.checkpoint.convert import entries_of, write
from sphinx_ros.checkpoint.layout import PREFIX
from sphinx_ros.checkpoint.placing import is_finite
from sphinx_ros.checkpoint.pth import Entry
from sphinx_ros.checkpoint.shards import same_bits
from sphinx_ros.checkpoint.stored import Stored, open_checkpoint
from sphinx_ros.checkpoint.writing import SET_BYTES
from sphinx_ros.errors import BadRequest, CheckpointError

BLOCK = 1 << 22
"""Numbers that are summed at a time, in float64."""


def mix(
    checkpoints: Sequence[str | Path],
    weights: Sequence[float],
    target: str | Path,
    parts: Mapping[str, Sequence[float]] | None = None,
    shards: int | None = None,
    *,
    largest: int = SET_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the mix of two or more checkpoints of one variant.

    Each number is summed in float64 and rounded once to the stored type, so a checkpoint mixed
    with itself by weights that add up to 1 is itself, bit for bit.

    Args:
        checkpoints: names or folders, in either layout.
        weights: one for each checkpoint.
        parts: how a parameter's name begins (without ``llma.``) -> other weights for it; of
            several beginnings that fit, the longest counts.
        target, shards, largest, progress: see :func:`sphinx_ros.checkpoint.convert.convert`.

    Raises:
        BadRequest: the weights do not fit the checkpoints, or a beginning fits no parameter.
        CheckpointError: the checkpoints do not match; the message says where.
    """
    parts = dict(parts or {})
    for given in (weights, *parts.values()):
        if len(given) != len(checkpoints) or not all(map(math.isfinite, given)):
            raise BadRequest(
                f"weights {list(given)} for {len(checkpoints)} checkpoints: give one finite "
                "number for each"
            )
    if len(checkpoints) < 2:
        raise BadRequest(f"{len(checkpoints)} checkpoint given; a mix needs two or more")
    opened = [open_checkpoint(one) for one in checkpoints]
    first = opened[0]
    for other in opened[1:]:
        check_match(first, other)
    for start in parts:
        if not any(key.startswith(start) for key in first.keys):
            raise BadRequest(f"no parameter's name begins with {start!r}; see sphinx-ros inspect")

    def tensors(order: Sequence[Entry]) -> Iterator[Tensor]:
        """The sums in that order."""
        for entry in order:
            yield summed(entry.key, opened, weights_of(entry.key, weights, parts))
            for one in opened:
                one.release(entry.key)

    meta = {
        "mix": {
            "checkpoints": [str(one) for one in checkpoints],
            "weights": list(weights),
            "parts": {k: list(v) for k, v in parts.items()},
        }
    }
    return write(first, entries_of(first), tensors, Path(target), shards, largest, progress, meta)


def weights_of(key: str, weights: Sequence[float], parts: Mapping[str, Sequence[float]]):
    """The weights that count for a parameter."""
    fitting = [start for start in parts if key.startswith(start)]
    return parts[max(fitting, key=len)] if fitting else weights


def check_match(first: Stored, other: Stored) -> None:
    """Raises CheckpointError where two checkpoints are not of one network and vocabulary."""
    one, two = first.layout.folder, other.layout.folder
    if first.config != other.config:
        names = [n for n in vars(first.config) if vars(first.config)[n] != vars(other.config)[n]]
        said = ", ".join(f"{n} {vars(first.config)[n]} and {vars(other.config)[n]}" for n in names)
        raise CheckpointError(f"{one} and {two} are different networks: {said}")
    if first.tokenizer.path.read_bytes() != other.tokenizer.path.read_bytes():
        raise CheckpointError(f"{one} and {two} have different tokenizer.model files")
    if unequal := sorted(set(first.keys) ^ set(other.keys)):
        raise CheckpointError(
            f"{PREFIX}{unequal[0]} (and {len(unequal) - 1} more) is only in one of {one} and {two}"
        )
    for a, b in zip(entries_of(first), map(_entry(other), first.keys), strict=True):
        if a != b:
            raise CheckpointError(
                f"{PREFIX}{a.key} is {list(a.shape)} {a.dtype} in {one}, "
                f"{list(b.shape)} {b.dtype} in {two}"
            )


def _entry(stored: Stored) -> Callable[[str], Entry]:
    return lambda key: Entry(key, stored.shape(key), stored.dtype(key))


def summed(key: str, opened: Sequence[Stored], weights: Sequence[float]) -> Tensor:
    """The weighted sum of one parameter, in the stored type.

    Raises:
        CheckpointError: it is of whole numbers and differs, or the sum is not finite.
    """
    given = [one.mapped(key) for one in opened]
    if not given[0].is_floating_point():
        if not all(same_bits(given[0], other) for other in given[1:]):
            raise CheckpointError(
                f"{PREFIX}{key} holds whole numbers that differ, which can't be mixed"
            )
        return given[0]
    out = torch.empty(given[0].shape, dtype=given[0].dtype)
    flat = [tensor.reshape(-1) for tensor in given]
    for low in range(0, out.numel(), BLOCK):
        blocks = [
            weight * tensor[low : low + BLOCK].double()
            for weight, tensor in zip(weights, flat, strict=True)
        ]
        # not sum(), which begins with 0 and so makes -0 to 0
        out.view(-1)[low : low + BLOCK] = functools.reduce(torch.add, blocks)
    if not is_finite(out):
        whose = [
            one.layout.folder for one, t in zip(opened, given, strict=True) if not is_finite(t)
        ]
        raise CheckpointError(
            f"{whose[0]}: {PREFIX}{key} holds numbers that are not finite; mix sound checkpoints"
            if whose
            else f"{PREFIX}{key} is not finite as {out.dtype} with the weights {list(weights)}; "
            "use smaller ones"
        )
    return out
