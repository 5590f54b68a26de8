"""A network and packed rows -> the loss of the answers, as the official code defines it.

The official loss (LLaMA2-Accessory, ``accessory/model/meta.py``) is the cross-entropy of the
labels that are not 0, each predicted from the token before it, averaged over all in the batch.
Knows no file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sphinx_ros.model.rotary import rotary_table
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.teach.packed import Packed
from sphinx_ros.train.trained import packed_positions, turn_mask, with_image


def answers_loss(
    model: SphinxModel, rows: Packed, image: Tensor, checkpointing: bool = False
) -> tuple[Tensor, int, int]:
    """Sum of the losses of all learnt tokens, their number, and how many are the likeliest.

    image: image tokens [B, image_words, dim] of the rows' pictures. checkpointing: keep only the
    layers' inputs for the gradient, and compute the rest anew: a third more time, a fraction of
    the memory. The mean is the quotient, over all rows of a step.
    """
    words = model.config.image_words
    positions = packed_positions(rows.position, words)
    mask = turn_mask(with_image(rows.turn, words))
    hidden = decoded(model, model.embed(rows.tokens, image), positions, mask, checkpointing)
    at_row, column = rows.learnt.nonzero(as_tuple=True)
    # a token is predicted from the position before it: shift by one, and past the image
    logits = model.output(hidden[at_row, column + words - 1]).float()
    wanted = rows.tokens[rows.learnt]
    total = F.cross_entropy(logits, wanted, reduction="sum")
    right = int((logits.detach().argmax(-1) == wanted).sum())
    return total, len(wanted), right


def decoded(
    model: SphinxModel, x: Tensor, positions: Tensor, mask: Tensor, checkpointing: bool
) -> Tensor:
    """As ``model.hidden``, with the choice of what is kept for the gradient."""
    if not checkpointing:
        return model.hidden(x, positions=positions, mask=mask)
    rope = rotary_table(model.config, positions)
    for index, block in enumerate(model.layers):
        x = checkpoint(block, x, rope, mask, None, index, 0, use_reentrant=False)
    return model.norm(x)


def image_tokens(model: SphinxModel, features: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    """What the towers made of each picture -> image tokens [B, image_words, dim]."""
    kind = model.norm.weight
    mixed = torch.cat([one.to(kind) for one, _ in features])
    queries = [two.to(kind) for _, two in features if two is not None]
    return model.marked(model.projected(mixed, torch.cat(queries) if queries else None))
