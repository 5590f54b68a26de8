"""A tensor of a checkpoint -> its place in a network, in the form in which it is kept.

Numbers that are not finite are refused: one pass for the least and the greatest, at the speed of
memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sphinx_ros.checkpoint.keeping import Keeping
from sphinx_ros.checkpoint.layout import PREFIX
from sphinx_ros.checkpoint.stored import Stored
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.ranks import ALONE, Ranks


def place(
    model: nn.Module,
    modules: dict[str, nn.Module],
    stored: Stored,
    keep: Keeping,
    key: str,
    ranks: Ranks = ALONE,
    *,
    like: nn.Module | None = None,
    in_use: Iterable[Tensor] = (),
) -> None:
    """Put one tensor where a network has it.

    Args:
        modules: those of the network by name; a module that is replaced is replaced there, too.
        like: the module of the key as it was before anything was put into it; None: it is that.
        in_use: tensors whose mapped pages stay in memory, beside those that were put there.

    Raises:
        CheckpointError: numbers that are not finite, or not in the type in which they are kept.
        BadRequest: nf4 without bitsandbytes.
    """
    owner, _, leaf = key.rpartition(".")
    plain = modules[owner] if like is None else like
    kind = keep.kind(key, plain)
    if kind is None:
        taken = stored.take(key, keep.device, keep.type_of(key, plain, leaf), ranks)
        check_finite(stored, key, taken)
        made = [_assign(modules[owner], leaf, taken)]
    else:
        taken = stored.take(key, ranks=ranks)
        check_finite(stored, key, taken)
        made = keep.put(model, modules, key, kind, taken)
    stored.release(key, unless=[*made, *in_use])


def check_finite(stored: Stored, key: str, taken: Tensor) -> None:
    """Refuse a tensor, as it is kept, with numbers that are not finite.

    Raises:
        CheckpointError: names the file, or the number type that is too small for it.
    """
    if is_finite(taken):
        return
    for path, shard in zip(stored.layout.shards, stored.shards, strict=True):
        if key in shard and not is_finite(shard[key]):
            raise CheckpointError(
                f"{path}: {PREFIX}{key} holds numbers that are not finite (NaN or infinity), "
                "expected finite ones: the training diverged or the file is damaged. Get it "
                "again; sphinx-ros inspect --deep lists all such tensors"
            )
    what, remedy = "", "load it with dtype bfloat16 or float32"
    if stored.adds_to(key):
        what = " with its adapter"
        remedy = f"tune again with a lower --rate or --alpha, or, without merging, {remedy}"
    raise CheckpointError(
        f"{stored.layout.folder}: {PREFIX}{key}{what} has numbers beyond {taken.dtype}, which "
        f"ends at {torch.finfo(taken.dtype).max:g}; {remedy}"
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite: the least and the greatest are, and a NaN is both."""
    if not tensor.numel():
        return True
    return all(torch.isfinite(end).item() for end in torch.aminmax(tensor))


def _assign(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Put a tensor in the place of a parameter or buffer without storage."""
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[name] = tensor
    return tensor
