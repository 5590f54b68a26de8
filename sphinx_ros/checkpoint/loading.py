"""A checkpoint -> a network on one device. Knows no picture and no text.

The network lies in memory once, in the form in which it is kept. On a CPU a tensor that one file
holds whole and in the wanted number type stays where the file is mapped, so that loading is
reading, and is done at once where the system has the file in memory already. Everything else is
copied, tensor by tensor, into memory of its own, and quantised on the way. Numbers that are not
finite are refused: one pass for the least and the greatest, at the speed of memory. Pickles that
hold more than tensors are refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.layout import PREFIX
from sphinx_ros.checkpoint.stored import Stored, open_checkpoint
from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.model.kernels import slow_bfloat16
from sphinx_ros.model.keys import quantised
from sphinx_ros.model.moe import MixtureOfExperts
from sphinx_ros.model.quant import Widened, stored_linear
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.model.visual_layers import JointProjection
from sphinx_ros.runtime.device import request_large_pages


def load_checkpoint(
    checkpoint: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
    quantise: str | None = None,
    max_seq_len: int | None = None,
    variant: str | None = None,
    tokenizer: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
):
    """Load a checkpoint by name or folder, whatever its layout and number of files.

    A folder may hold the tensors alone, as the model card shows it. Sizes are then read from their
    shapes; :mod:`sphinx_ros.checkpoint.completing` has the rules for what shapes do not tell.

    Args:
        checkpoint: see :mod:`sphinx_ros.checkpoint.names`.
        device, dtype: where the parameters go and what they become. bfloat16 on a processor that
            multiplies only float32 is kept in matrices, convolutions and embeddings, and
            everything is computed in float32.
        ranks: load this process's part of a network that several share, whatever the number of
            shards; only that part is read.
        quantise: "int8", "int4" or "nf4" for the decoder's linear layers.
        max_seq_len: longest sequence, image and text; default that of ``config.json``.
        variant: ``llama_type``, a key of ``RECIPES``, in place of what ``meta.json`` says. Needed
            where there is no ``meta.json`` and the shapes are those of several variants.
        tokenizer: a sentencepiece model file in place of the folder's ``tokenizer.model``.
        progress: called with (bytes read, bytes in all) after each tensor.

    Returns:
        (``SphinxModel`` in eval mode without gradients, ``Tokenizer``, ``ModelConfig``). Its
        parameters may map the files: writing to them does not change the files, but files that
        are overwritten in place change or end the network. Replace them (``mv``) instead.

    Raises:
        CheckpointError: an unknown name; a file that is absent, truncated or not plain tensors; a
            key that is missing, surplus or misshapen; numbers that are not finite, or not in
            ``dtype``; a variant or a tokenizer that must be given; heads or channels that the
            processes can't share equally.
        BadRequest: nf4 without bitsandbytes.
    """
    request_large_pages()
    stored = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer)
    config = stored.config
    if max_seq_len is not None:
        config = dataclasses.replace(config, max_seq_len=max_seq_len)
    model = stored.model if ranks.size == 1 else _shared_model(stored, ranks)
    model.config = config
    keep = Keeping(torch.device(device), dtype, quantise)
    _fill(model, stored, keep, ranks, progress or (lambda done, whole: None))
    keep.finish(model)
    return model.eval(), stored.tokenizer, config


def _fill(
    model: nn.Module,
    stored: Stored,
    keep: Keeping,
    ranks: Ranks,
    progress: Callable[[int, int], None],
) -> None:
    """Put every tensor where the network has it, in the form in which it is kept."""
    modules = dict(model.named_modules())
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    sizes = {key: math.prod(shape) * stored.dtype(key).itemsize for key, shape in shapes.items()}
    done, whole = 0, sum(sizes.values())
    for key, shape in shapes.items():
        owner, _, leaf = key.rpartition(".")
        kind = keep.kind(key, modules[owner])
        share = ALONE if shape == stored.shape(key) else ranks
        if kind is None:
            kept = keep.type_of(key, modules[owner], leaf)
            taken = stored.take(key, keep.device, kept, share)
            check_finite(stored, key, taken)
            made = [_assign(modules[owner], leaf, taken)]
        else:
            taken = stored.take(key, ranks=share)
            check_finite(stored, key, taken)
            made = keep.put(model, modules, key, kind, taken)
        stored.release(key, unless=made)
        done += sizes[key]
        progress(done, whole)


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
    raise CheckpointError(
        f"{stored.layout.folder}: {PREFIX}{key} has numbers beyond {taken.dtype}, which ends at "
        f"{torch.finfo(taken.dtype).max:g}; load it with dtype bfloat16 or float32"
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite: the least and the greatest are, and a NaN is both."""
    if not tensor.numel():
        return True
    return all(torch.isfinite(end).item() for end in torch.aminmax(tensor))


class Keeping:
    """In which form each parameter is kept.

    Attributes:
        device, dtype: as asked for. wide: whether bfloat16 is stored and float32 computed.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, quantise: str | None):
        self.device, self.dtype, self.quantise = device, dtype, quantise
        self.wide = dtype == torch.bfloat16 and slow_bfloat16(device)
        self._computed = torch.float32 if self.wide else dtype

    def kind(self, key: str, owner: nn.Module) -> str | None:
        """As which stored layer a parameter is kept; None: as the plain parameter it is."""
        if self.quantise and quantised(key):
            return self.quantise
        matrix = type(owner) is nn.Linear and key.endswith(".weight")
        experts = isinstance(owner, MixtureOfExperts)  # its own parameters are all experts
        return "wide" if self.wide and (matrix or experts) else None

    def type_of(self, key: str, owner: nn.Module, leaf: str) -> torch.dtype:
        """The number type of a plain parameter."""
        shape = getattr(owner, leaf).shape
        large = isinstance(owner, (nn.Embedding, nn.Conv2d, JointProjection))
        # small ones, and BLIP-2 makes its pictures what this one is
        large &= not (isinstance(owner, nn.Conv2d) and owner.in_channels == 3)
        large |= isinstance(owner, nn.Linear)  # a linear layer that its owner reads by itself
        return self.dtype if large and len(shape) > 1 else self._computed

    def put(self, model, modules: dict, key: str, kind: str, weight: Tensor) -> list[Tensor]:
        """Replace the module, or the experts' parameter, that a key names by a stored one; what
        that keeps comes back.
        """
        owner, _, leaf = key.rpartition(".")
        module = modules[owner]
        try:
            if isinstance(module, MixtureOfExperts):
                each = weight.unflatten(0, (module.experts, -1))
                turned = each.transpose(1, 2) if leaf == "w2" else each
                layers = [
                    stored_linear(kind, one.contiguous(), self.device, self._computed)
                    for one in turned
                ]
                del module._parameters[leaf]
                setattr(module, leaf, nn.ModuleList(layers))
                return [tensor for layer in layers for tensor in _tensors(layer)]
            new = stored_linear(kind, weight, self.device, self._computed)
        except ImportError as error:
            raise BadRequest(
                f"quantise {kind!r} needs bitsandbytes ({error}): pip install bitsandbytes, or "
                "use int8 or int4"
            ) from error
        if module.bias is not None:
            new.bias = module.bias  # its own key follows
        parent, _, name = owner.rpartition(".")
        setattr(model.get_submodule(parent), name, new)
        modules[owner] = new
        return _tensors(new)

    def finish(self, model: nn.Module) -> None:
        """Let what keeps bfloat16 without being a stored layer compute in float32."""
        if self.wide:
            for name, module in list(model.named_modules()):
                kinds = {parameter.dtype for parameter in module.parameters()}
                if isinstance(module, nn.Conv2d) and torch.bfloat16 in kinds:
                    parent, _, leaf = name.rpartition(".")
                    setattr(model.get_submodule(parent), leaf, Widened(module))


def _shared_model(stored: Stored, ranks: Ranks):
    """The network without storage, of which this process has a part."""
    try:
        return empty_model(stored.config, ranks)
    except ValueError as error:
        raise CheckpointError(
            f"{stored.layout.folder}: {error}; use a number of devices that divides it"
        ) from error


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _assign(module: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Put a tensor in the place of a parameter or buffer without storage."""
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[name] = tensor
    return tensor
