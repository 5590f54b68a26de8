"""A network -> a checkpoint folder in the released layout. Knows no picture and no text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sphinx_ros.checkpoint.layout import PREFIX, shard_name, split_dim, split_groups
from sphinx_ros.checkpoint.shards import cut
from sphinx_ros.errors import CheckpointError


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
    groups = split_groups(key, experts)
    tensor = cut(key, tensor.detach(), split_dim(key), groups, rank, shards)
    part = tensor.to("cpu", dtype, copy=True).contiguous()
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
