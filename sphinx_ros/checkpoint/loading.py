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
from torch import nn

from sphinx_ros.checkpoint.adapting import Origin
from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.keeping import Keeping
from sphinx_ros.checkpoint.placing import place
from sphinx_ros.checkpoint.stored import Stored, open_checkpoint
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model import native
from sphinx_ros.model.flat import SMALL
from sphinx_ros.model.keys import quantised
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.runtime.compiled import compiled
from sphinx_ros.runtime.device import request_large_pages
from sphinx_ros.runtime.memory import available_memory


def load_checkpoint(
    checkpoint: str | Path,
    *,
    device: str | torch.device = "cpu",
    computes_on: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    ranks: Ranks = ALONE,
    quantise: str | None = None,
    max_seq_len: int | None = None,
    variant: str | None = None,
    tokenizer: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    pack: bool = True,
):
    """Load a checkpoint by name or folder, whatever its layout and number of files.

    A folder may hold the tensors alone, as the model card shows it. Sizes are then read from their
    shapes; :mod:`sphinx_ros.checkpoint.completing` has the rules for what shapes do not tell.

    Args:
        checkpoint: see :mod:`sphinx_ros.checkpoint.names`.
        device, dtype: where the parameters go and what they become. bfloat16 on a processor that
            multiplies only float32 is kept in what is large, and computed in float32.
        computes_on: where the caller will move the network before it computes; default ``device``.
        ranks: which part of a network that several processes share; no more of it is read.
        quantise: "int8", "int4" or "nf4" for the decoder's linear layers.
        max_seq_len: longest sequence, image and text; default that of ``config.json``.
        variant: ``llama_type``, a key of ``RECIPES``, in place of what ``meta.json`` says. Needed
            where there is no ``meta.json`` and the shapes are those of several variants.
        tokenizer: a sentencepiece model file in place of the folder's ``tokenizer.model``.
        progress: called with (bytes read, bytes in all) after each tensor.
        pack: in bfloat16, on a CPU that multiplies it, copy the matrices of a large decoder into
            the order in which they are read, where memory is plenty. False for what learns.

    Returns:
        (``SphinxModel`` in eval mode without gradients, ``Tokenizer``, ``ModelConfig``). Its
        parameters may map the files: writing to them does not change the files, but files that
        are overwritten in place change or end the network. Replace them (``mv``) instead.

    Raises:
        CheckpointError: an unknown name; a file that is absent, truncated or not plain tensors; a
            key that is missing, surplus or misshapen; numbers that are not finite in ``dtype``; a
            variant or tokenizer that must be given; heads that processes can't share equally.
        BadRequest: nf4 without bitsandbytes.
    """
    request_large_pages()
    native.compile_with(compiled)
    stored = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer)
    config = stored.config
    if max_seq_len is not None:
        config = dataclasses.replace(config, max_seq_len=max_seq_len)
    model = stored.model if ranks.size == 1 else _shared_model(stored, ranks)
    model.config = config
    pack = pack and dtype == torch.bfloat16 and _pays_to_pack(stored)
    keep = Keeping(torch.device(device), dtype, quantise, computes_on, pack)
    _fill(model, stored, keep, ranks, progress or (lambda done, whole: None))
    keep.finish(model)
    if ranks.size == 1:
        model.origin = Origin.of(stored, keep)
    return model.eval(), stored.tokenizer, config


def _pays_to_pack(stored: Stored) -> bool:
    """Whether the decoder's matrices should be copied: not where its passes are bound by starting
    operations (:mod:`sphinx_ros.model.flat`), nor where the copy takes more than half of what the
    system can give, since it can drop pages that map a file, and has them once for all processes.
    """
    matrices = filter(quantised, stored.keys)
    needed = 2 * sum(math.prod(stored.shape(key)) for key in matrices)
    return SMALL < needed <= available_memory() // 2


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
        share = ALONE if shape == stored.shape(key) else ranks
        place(model, modules, stored, keep, key, share)
        done += sizes[key]
        progress(done, whole)


def _shared_model(stored: Stored, ranks: Ranks):
    """The network without storage, of which this process has a part."""
    try:
        return empty_model(stored.config, ranks)
    except ValueError as error:
        raise CheckpointError(
            f"{stored.layout.folder}: {error}; use a number of devices that divides it"
        ) from error
