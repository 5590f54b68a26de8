"""A network and packed rows -> the loss of the answers, as the official code defines it.

The official loss (LLaMA2-Accessory, ``accessory/model/meta.py``) is the cross-entropy of the
labels that are not 0, each predicted from the token before it, averaged over all in the batch. Of
answers that are to stay as they are it is the Kullback-Leibler divergence from the probabilities
before (as in "Learning without Forgetting", arXiv 1606.09282, without a temperature). Knows no
file.
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
    model: SphinxModel,
    rows: Packed,
    image: Tensor,
    checkpointing: bool = False,
    before: Tensor | None = None,
    known_weight: float = 1.0,
) -> tuple[Tensor, int, int]:
    """Sum of the losses of all learnt tokens, their number, and how many are the likeliest.

    image: image tokens [B, image_words, dim] of the rows' pictures. checkpointing: keep only the
    layers' inputs for the gradient, and compute the rest anew: a third more time, a fraction of
    the memory. before: :func:`answers_logits` of the network that was not taught, where rows are
    known; known_weight: of the loss of their tokens. The mean is the quotient, over all rows of a
    step.
    """
    logits = answers_logits(model, rows, image, checkpointing)
    wanted = rows.tokens[rows.learnt]
    losses = F.cross_entropy(logits, wanted, reduction="none")
    if before is not None and rows.known is not None:
        old, new = before.log_softmax(-1), logits.log_softmax(-1)
        apart = F.kl_div(new, old, reduction="none", log_target=True).sum(-1)
        losses = torch.where(rows.known[rows.learnt], known_weight * apart, losses)
    right = int((logits.detach().argmax(-1) == wanted).sum())
    return losses.sum(), len(wanted), right


def answers_logits(
    model: SphinxModel, rows: Packed, image: Tensor, checkpointing: bool = False
) -> Tensor:
    """Logits [M, vocabulary], float32, of all M learnt tokens of the rows, row by row."""
    words = model.config.image_words
    positions = packed_positions(rows.position, words)
    mask = turn_mask(with_image(rows.turn, words))
    hidden = decoded(model, model.embed(rows.tokens, image), positions, mask, checkpointing)
    at_row, column = rows.learnt.nonzero(as_tuple=True)
    # a token is predicted from the position before it: shift by one, and past the image
    return model.output(hidden[at_row, column + words - 1]).float()


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
