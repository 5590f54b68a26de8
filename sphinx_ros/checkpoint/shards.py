"""Shard files -> their tensors by key, checked and merged. Builds no network.

Files are memory-mapped, so that opening a shard reads nothing but its table of contents.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.errors import CheckpointError
from sphinx_ros.layout import PREFIX, Layout, split_dim, split_groups, tolerated


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one shard file by key (without ``llma.``), memory-mapped.

    Raises:
        CheckpointError: the file is truncated, no PyTorch file, or holds more than tensors.
    """
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
    bare = [str(key) for key in content if not str(key).startswith(PREFIX)]
    if bare:
        raise CheckpointError(
            f"{path}: {_some(bare)} without the prefix {PREFIX!r}; expected the keys of a SPHINX "
            "checkpoint. A text-only LLaMA file has no visual weights"
        )
    return {key.removeprefix(PREFIX): tensor for key, tensor in content.items()}


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
    much of each group."""
    return len(part) == len(shape) and all(
        a == b if i != dim else a % groups == 0
        for i, (a, b) in enumerate(zip(part, shape, strict=True))
    )


def merge(
    parts: list[Tensor], dim: int | None, device, dtype: torch.dtype, groups: int = 1
) -> Tensor:
    """One tensor on its device; of tensors that every shard repeats the first one counts.

    groups: see :func:`sphinx_ros.layout.split_groups`; each part holds a piece of every group.
    """
    if dim is None or len(parts) == 1:
        return parts[0].to(device=device, dtype=dtype, copy=True).contiguous()
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    whole = torch.empty(shape, device=device, dtype=dtype)
    grouped = whole.unflatten(dim, (groups, -1))
    sizes = [part.shape[dim] // groups for part in parts]
    for target, part in zip(grouped.split(sizes, dim + 1), parts, strict=True):
        target.copy_(part.unflatten(dim, (groups, -1)))
    return whole
