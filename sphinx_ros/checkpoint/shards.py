"""The tensors of several shards -> whole ones, and one process's part of them; checked.

Builds no network and opens no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.checkpoint.expected import tolerated
from sphinx_ros.checkpoint.layout import PREFIX, Layout
from sphinx_ros.checkpoint.pages import large_pages, read_ahead
from sphinx_ros.checkpoint.reading import some
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.keys import split_dim, split_groups

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Number types that weights are stored in."""


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal shapes, types and bytes: a NaN equals itself, 0 and -0 differ."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(as_bytes(a), as_bytes(b))


def as_bytes(tensor: Tensor) -> Tensor:
    """The bytes [n] uint8 of a tensor on the CPU, without a copy where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def unequal_copy(key: str, paths: Sequence[Path], parts: Sequence[Tensor | None]) -> str | None:
    """The name of a shard whose copy of a tensor that all repeat differs from the first one's;
    None where all agree, or where the tensor is split. parts: what each shard has of it.
    """
    if split_dim(key) is not None:
        return None
    held = [(path, part) for path, part in zip(paths, parts, strict=True) if part is not None]
    for path, part in held[1:]:
        if not same_bits(part, held[0][1]):
            return path.name
    return None


def whole_shape(key: str, parts: Sequence[Tensor]) -> tuple[int, ...]:
    """Shape of a tensor of which each shard holds a part, or all of it."""
    dim, shape = split_dim(key), list(parts[0].shape)
    if dim is not None and dim < len(shape):
        shape[dim] = sum(p.shape[dim] if dim < p.dim() else 0 for p in parts)
    return tuple(shape)


def check_keys(layout: Layout, shards: Sequence[dict], shapes: Mapping[str, tuple]) -> None:
    """Every key in every shard, of a type that weights have, and no key that nobody knows."""
    hint = f"config.json and meta.json ({layout.llama_type}) must belong to these files"
    for path, shard in zip(layout.shards, shards, strict=True):
        missing = [PREFIX + key for key in shapes if key not in shard]
        if missing:
            raise CheckpointError(
                f"{path} lacks {some(missing)}: expected {len(shapes)} parameters, found "
                f"{len(shapes) - len(missing)} of them. {hint}"
            )
        surplus = [PREFIX + key for key in shard if key not in shapes and not tolerated(key)]
        if surplus:
            raise CheckpointError(f"{path} has the unknown {some(surplus)}. {hint}")
        for key in shapes:
            if shard[key].dtype not in FLOATS:
                raise CheckpointError(
                    f"{path}: {PREFIX}{key} holds numbers of type {_name(shard[key].dtype)}, "
                    f"expected one of {', '.join(map(_name, FLOATS))}; get the weights as they "
                    "were published, quantised ones are made here (quantise)"
                )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_distinct(layout: Layout, shards: Sequence[dict]) -> None:
    """Refuse two shards that hold the same part: one file that was copied over another.

    Compared are the first split tensors; in all of them a pair of different shards never agrees.
    What a shard lacks, or holds in another form than weights have, :func:`check_keys` and
    :func:`check_shapes` name.
    """
    split = [key for key in shards[0] if split_dim(key) is not None]
    keys = [key for key in split if all(_has_rows(shard.get(key)) for shard in shards)][:8]
    for index, path in enumerate(layout.shards):
        for earlier in range(index):
            one, two = shards[earlier], shards[index]
            pairs = [(one[key][:64], two[key][:64]) for key in keys]
            same = [same_bits(a, b) for a, b in pairs if a.numel() and a.min() != a.max()]
            if same and all(same):
                raise CheckpointError(
                    f"{path} holds the same part as {layout.shards[earlier].name} ({PREFIX}"
                    f"{keys[0]} and others); expected another one, so one file was copied over "
                    "the other: download it again"
                )


def _has_rows(part: Tensor | None) -> bool:
    return part is not None and part.dim() > 0 and part.dtype in FLOATS


def check_shapes(
    layout: Layout, shards: Sequence[dict], shapes: Mapping[str, tuple], experts: int | None
) -> None:
    """The shards' parts add up to the model's shapes. experts: see ``split_groups``."""
    for key, shape in shapes.items():
        dim, groups = split_dim(key), split_groups(key, experts)
        parts = [tuple(shard[key].shape) for shard in shards]
        fits = [_fits(part, shape, dim, groups) for part in parts]
        bad = None if all(fits) else fits.index(False)
        if bad is None and (dim is None or sum(part[dim] for part in parts) == shape[dim]):
            continue
        found = f"{list(parts[bad or 0])}"
        if dim is not None and len(shards) > 1:
            found += f" (one of {len(shards)} parts along dimension {dim})"
        raise CheckpointError(
            f"{layout.shards[bad or 0]}: {PREFIX}{key} has shape {found}; expected {list(shape)} "
            "in all. config.json, meta.json and tokenizer.model must belong to these files"
        )


def _fits(part: tuple[int, ...], shape: tuple[int, ...], dim: int | None, groups: int) -> bool:
    """Whether a part agrees with the whole in every dimension but the split one, which holds as
    much of each group.
    """
    return len(part) == len(shape) and all(
        a == b if i != dim else a % groups == 0
        for i, (a, b) in enumerate(zip(part, shape, strict=True))
    )


def merge(
    parts: list[Tensor],
    dim: int | None,
    device,
    dtype: torch.dtype,
    groups: int = 1,
    rank: int = 0,
    size: int = 1,
) -> Tensor:
    """One tensor on its device; of tensors that every shard repeats the first one counts.

    groups: see :func:`~sphinx_ros.model.keys.split_groups`; each part holds a piece of
    every group. rank, size: only the rank-th of ``size`` equal parts is wanted, and only what it
    needs is read, however many shards there are.

    Raises:
        CheckpointError: the parts would not be equal.
    """
    if dim is None:
        out = _fresh(parts[0].shape, device, dtype)
        read_ahead(parts[0])
        return out.copy_(parts[0])
    lengths = [part.shape[dim] // groups for part in parts]
    each, rest = divmod(sum(lengths), size)
    if rest:
        raise CheckpointError(f"{sum(lengths)} rows can't be shared by {size} processes")
    shape = list(parts[0].shape)
    shape[dim] = each * groups
    out = _fresh(shape, device, dtype)
    grouped = out.unflatten(dim, (groups, -1))
    at, low, high = 0, rank * each, (rank + 1) * each
    for part, length in zip(parts, lengths, strict=True):
        begin, end = max(low, at), min(high, at + length)
        if begin < end:
            source = part.unflatten(dim, (groups, -1)).narrow(dim + 1, begin - at, end - begin)
            read_ahead(source)
            grouped.narrow(dim + 1, begin - low, end - begin).copy_(source)
        at += length
    return out


def _fresh(shape, device, dtype: torch.dtype) -> Tensor:
    """Memory for a tensor."""
    out = torch.empty(shape, device=device, dtype=dtype)
    if out.device.type == "cpu":
        large_pages(out)
    return out


def cut(key: str, tensor: Tensor, dim: int | None, groups: int, rank: int, parts: int) -> Tensor:
    """One of ``parts`` equal parts of a whole tensor, the inverse of :func:`merge`; a view where
    the tensor has one group.

    Raises:
        CheckpointError: the parts would not be equal.
    """
    if dim is None or parts == 1:
        return tensor
    if tensor.shape[dim] % (groups * parts):
        each = f" of each of {groups} experts" if groups > 1 else ""
        raise CheckpointError(
            f"{key} of shape {list(tensor.shape)} can't be split into {parts} equal parts{each} "
            f"along dimension {dim}; choose a number that divides it"
        )
    grouped = tensor.unflatten(dim, (groups, -1))
    return grouped.chunk(parts, dim + 1)[rank].flatten(dim, dim + 1)
