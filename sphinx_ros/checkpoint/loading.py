"""A checkpoint folder <-> a network on one device. Knows no picture and no text.

Shards are memory-mapped and copied tensor by tensor into a model that has no storage of its own,
so that the network lies in memory once. Pickles that hold more than tensors are refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sphinx_ros.errors import CheckpointError
from sphinx_ros.layout import (
    PREFIX,
    Layout,
    expected_keys,
    read_layout,
    resolve,
    shard_name,
    split_dim,
    split_groups,
)
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.shards import check_keys, check_shapes, merge, read_shard

__all__ = [
    "expected_keys", "load_checkpoint", "open_checkpoint", "read_shard", "save_checkpoint",
]  # fmt: skip


def load_checkpoint(
    checkpoint: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
):
    """Load "demo" or a folder in the released layout, whatever its number of shards.

    Args:
        device, dtype: where the parameters go and what they become.

    Returns:
        (``SphinxModel`` in eval mode without gradients, ``Tokenizer``, ``ModelConfig``).

    Raises:
        CheckpointError: an unknown name; a file that is absent, truncated or not plain tensors; a
            key that is missing, surplus or misshapen.
    """
    _, shards, model, tokenizer = open_checkpoint(checkpoint)
    experts = model.config.num_experts
    for key in list(model.state_dict()):
        owner, _, leaf = key.rpartition(".")
        parts = [shard.pop(key) for shard in shards]
        tensor = merge(parts, split_dim(key), device, dtype, split_groups(key, experts))
        _assign(model.get_submodule(owner), leaf, tensor)
    return model.eval(), tokenizer, model.config


def open_checkpoint(checkpoint: str | Path):
    """Everything about a checkpoint but its numbers: files, keys and shapes, checked.

    Returns:
        (``Layout``, the memory-mapped tensors of each shard by key, the ``SphinxModel`` without
        storage, ``Tokenizer``).

    Raises:
        CheckpointError: as :func:`load_checkpoint`.
    """
    layout = read_layout(resolve(checkpoint))
    tokenizer = Tokenizer(layout.tokenizer)
    model = _empty_model(layout, tokenizer.n_words)
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    shards = [read_shard(path) for path in layout.shards]
    check_keys(layout, shards, shapes)
    check_shapes(layout, shards, shapes, model.config.num_experts)
    return layout, shards, model, tokenizer


def _empty_model(layout: Layout, vocab_size: int):
    """The network of a layout, with shapes and without storage."""
    from sphinx_ros.model.sphinx import SphinxModel

    try:
        config = ModelConfig.from_json(layout.params, layout.llama_type, vocab_size)
        with torch.device("meta"):
            return SphinxModel(config)
    except CheckpointError as error:
        raise CheckpointError(f"{layout.folder}: {error}") from error
    except (TypeError, ValueError, AttributeError, AssertionError, ArithmeticError) as error:
        raise CheckpointError(
            f"{layout.folder / 'config.json'} describes no possible network ({error}); copy the "
            "file that belongs to these weights"
        ) from error


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer without storage."""
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[name] = tensor


def save_checkpoint(
    model: nn.Module | Mapping[str, Tensor],
    params: dict,
    llama_type: str,
    tokenizer_path: str | Path,
    folder: str | Path,
    shards: int = 1,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a network in the released layout.

    Each file is written beside its place, flushed and then moved there, so that a crash leaves
    the earlier file whole. Other files of the folder stay; shards of another count go at the end.

    Args:
        model: a ``SphinxModel`` or its state dict (keys without ``llma.``).
        params: the contents of ``config.json``, see ``ModelConfig.from_json``.
        llama_type: the variant, for ``meta.json``.
        shards: number of files; tensors are split as the official code splits them.
        dtype: type of the stored tensors.

    Returns:
        The folder.

    Raises:
        CheckpointError: a tensor can't be split evenly, or does not fit into ``dtype``.
    """
    folder, tokenizer_path = Path(folder), Path(tokenizer_path)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    experts = (params.get("moe") or {}).get("num_experts")
    for rank in range(shards):
        part = {PREFIX + k: _cut(k, v, rank, shards, dtype, experts) for k, v in state.items()}
        path = folder / shard_name(rank, shards)
        _replace(path, lambda temporary, part=part: torch.save({"model": part}, temporary))
    for name, content in (("config.json", params), ("meta.json", {"llama_type": llama_type})):
        text = json.dumps(content, indent=2) + "\n"
        _replace(folder / name, lambda temporary, text=text: temporary.write_text(text))
    if tokenizer_path.resolve() != (folder / "tokenizer.model").resolve():
        _replace(
            folder / "tokenizer.model",
            lambda temporary: shutil.copyfile(tokenizer_path, temporary),
        )
    for path in folder.glob("consolidated.*-of-*.model.pth"):
        if path.name not in {shard_name(rank, shards) for rank in range(shards)}:
            path.unlink()
    return folder


def _cut(
    key: str, tensor: Tensor, rank: int, shards: int, dtype: torch.dtype, experts: int | None
) -> Tensor:
    """A shard's part of a tensor as a copy of its own, checked to be finite."""
    dim = split_dim(key)
    if dim is not None:
        groups = split_groups(key, experts)
        if tensor.shape[dim] % (groups * shards):
            each = f" of each of {groups} experts" if groups > 1 else ""
            raise CheckpointError(
                f"{key} of shape {list(tensor.shape)} can't be split into {shards} equal parts"
                f"{each} along dimension {dim}; choose a number of shards that divides it"
            )
        grouped = tensor.detach().unflatten(dim, (groups, -1))
        tensor = grouped.chunk(shards, dim + 1)[rank].flatten(dim, dim + 1)
    part = tensor.detach().to("cpu", dtype, copy=True).contiguous()
    if not torch.isfinite(part).all():
        raise CheckpointError(
            f"{key} has values that are not finite as {dtype}; the training diverged, or save "
            "with dtype=torch.float32"
        )
    return part


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, flush it to the disk, and move it there in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
