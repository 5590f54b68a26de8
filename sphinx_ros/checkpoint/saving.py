"""A network -> a checkpoint folder in the released layout. Knows no picture and no text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sphinx_ros.checkpoint.layout import CONFIG, META, TOKENIZER, shard_name
from sphinx_ros.checkpoint.pth import Entry
from sphinx_ros.checkpoint.writing import ReleasedShards
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.limits import table
from sphinx_ros.runtime.files import write_bytes, write_text


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
    entries = [Entry(key, tuple(value.shape), dtype) for key, value in state.items()]
    experts = table("moe", params.get("moe")).get("num_experts")
    with ReleasedShards(folder, entries, shards, experts) as sink:
        for entry in sink.order:
            value = state[entry.key].detach()
            value = value.to_dense() if value.is_mkldnn else value  # packed for a CPU
            sink.write(entry.key, _finite(entry.key, value.to("cpu", dtype)))
    for name, content in ((CONFIG, params), (META, {"llama_type": llama_type})):
        write_text(folder / name, json.dumps(content, indent=2) + "\n")
    if tokenizer_path.resolve() != (folder / TOKENIZER).resolve():
        write_bytes(folder / TOKENIZER, tokenizer_path.read_bytes())
    names = {shard_name(rank, shards) for rank in range(shards)}
    for path in folder.glob("consolidated.*-of-*.model.pth"):
        if path.name not in names:
            path.unlink()
    return folder


def _finite(key: str, tensor: Tensor) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{key} has values that are not finite as {tensor.dtype}; the training diverged, or "
            "save with dtype=torch.float32"
        )
    return tensor
