"""Tensor files -> their tensors by key, checked and merged. Builds no network.

Files are memory-mapped, so that opening a shard reads nothing but its table of contents.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.checkpoint.layout import (
    INDEX,
    PREFIX,
    Layout,
    read_json,
    split_dim,
    split_groups,
    tolerated,
)
from sphinx_ros.checkpoint.pages import large_pages, read_ahead
from sphinx_ros.errors import CheckpointError


def files_of(shard: Path) -> tuple[Path, ...]:
    """The tensor files of a shard: itself, or those that a safetensors index names.

    Raises:
        CheckpointError: an index without a list of files.
    """
    if shard.name != INDEX:
        return (shard,)
    names = set(_weight_map(shard).values())
    return tuple(shard.parent / name for name in sorted(names))


def _weight_map(index: Path) -> dict[str, str]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in places.values()
    ):
        raise CheckpointError(
            f"{index}: key 'weight_map' is not an object of tensor names and names of files "
            "beside it; copy the file again"
        )
    return places


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one shard by key (without ``llma.``), memory-mapped.

    path: a .pth file, a .safetensors file or the index of several.

    Raises:
        CheckpointError: a file is absent, truncated, or holds more than tensors.
    """
    if path.name == INDEX:
        content = _read_set(path)
    elif path.suffix == ".safetensors":
        content = _read_safetensors(path)
    else:
        content = _read_pth(path)
    bare = [str(key) for key in content if not str(key).startswith(PREFIX)]
    if bare:
        raise CheckpointError(
            f"{path}: {_some(bare)} without the prefix {PREFIX!r}; expected the keys of a SPHINX "
            "checkpoint. A text-only LLaMA file has no visual weights"
        )
    return {key.removeprefix(PREFIX): tensor for key, tensor in content.items()}


def _read_set(index: Path) -> dict[str, Tensor]:
    content: dict[str, Tensor] = {}
    for file in files_of(index):
        if not file.is_file():
            raise CheckpointError(
                f"{file} is missing, which {index.name} names; copy or download it again"
            )
        content |= _read_safetensors(file)
    lost = sorted(set(_weight_map(index)) - set(content))
    if lost:
        raise CheckpointError(
            f"{index} names {_some(lost)}, found in none of its files; they must belong together"
        )
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) can't be read as a safetensors file, it is "
            f"truncated or damaged: {str(error).splitlines()[0]}. Copy or download it again"
        ) from error


def _read_pth(path: Path) -> Mapping[str, Tensor]:
    size = path.stat().st_size
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and was not opened, because loading it could run "
            f"code: {str(error).splitlines()[0]} Get the file from its original source"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({size} bytes) can't be read as a PyTorch file, it is truncated or damaged: "
            f"{str(error).splitlines()[0]} Download it again and compare the sizes"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise CheckpointError(
            f'{path} holds no state dict; expected {{"model": {{"{PREFIX}...": tensor}}}}'
        )
    return content


def _some(keys: list[str]) -> str:
    """Up to five keys in words."""
    rest = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"key{'s' * (len(keys) > 1)} {', '.join(keys[:5])}{rest}"


def check_keys(layout: Layout, shards: list[dict], shapes: Mapping[str, tuple]) -> None:
    """Every key in every shard, and no key that nobody knows."""
    hint = f"config.json and meta.json ({layout.llama_type}) must belong to these files"
    for path, shard in zip(layout.shards, shards, strict=True):
        missing = [PREFIX + key for key in shapes if key not in shard]
        if missing:
            raise CheckpointError(
                f"{path} lacks {_some(missing)}: expected {len(shapes)} parameters, found "
                f"{len(shapes) - len(missing)} of them. {hint}"
            )
        surplus = [PREFIX + key for key in shard if key not in shapes and not tolerated(key)]
        if surplus:
            raise CheckpointError(f"{path} has the unknown {_some(surplus)}. {hint}")


def check_shapes(
    layout: Layout, shards: list[dict], shapes: Mapping[str, tuple], experts: int | None
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

    groups: see :func:`~sphinx_ros.checkpoint.layout.split_groups`; each part holds a piece of
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
