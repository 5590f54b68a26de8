"""Logits in, tokens out: greedy, temperature and top-p as the official code defines them.

Source: LLaMA2-Accessory, ``accessory/model/meta.py``, ``sample_top_p``. Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sphinx_ros.runtime.sending import send

STOP, LENGTH, INTERRUPTED = "stop", "length", "interrupted"
"""Finish reasons: a stop sequence came; the room ran out; ``should_stop`` said so."""


@dataclass(frozen=True)
class Generated:
    """One answer.

    Attributes:
        ids: the answer's token ids, without the stop sequence.
        probabilities: for each id the model's own probability of it (softmax at temperature 1, in
            float32, whatever the sampling); NaN for ids that no step chose.
        finish_reason: :data:`STOP`, :data:`LENGTH` or :data:`INTERRUPTED`.
    """

    ids: list[int]
    probabilities: list[float]
    finish_reason: str


def seeded(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator whose draws are those of the global one after ``torch.manual_seed(seed)``."""
    return torch.Generator(device=device).manual_seed(seed)


def filter_top_p(
    probs: torch.Tensor, top_p: float | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the most probable tokens up to a total of ``top_p``, the crossing one included.

    Args:
        probs: [..., vocab] probabilities.
        top_p: 0 keeps the first token only, 1 keeps (nearly) all; [..., 1] for each row its own.

    Returns:
        Renormalised probabilities in descending order, and the token ids of that order.
    """
    ordered, ids = torch.sort(probs, dim=-1, descending=True)
    before = torch.cumsum(ordered, dim=-1) - ordered
    kept = ordered.masked_fill(before > top_p, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True), ids


def choose(
    logits: torch.Tensor,
    temperature: float = 0.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Next token of each row of ``logits`` [B, vocab] -> [B] int64.

    Temperature 0 takes the best one. Otherwise one draw per row from the top-p part of
    ``softmax(logits / temperature)``, from ``generator`` or torch's global one.
    """
    if temperature <= 0:
        return logits.argmax(dim=-1)
    kept, ids = filter_top_p(torch.softmax(logits / temperature, dim=-1), top_p)
    drawn = torch.multinomial(kept, num_samples=1, generator=generator)
    return ids.gather(-1, drawn).squeeze(-1)


@dataclass(frozen=True)
class Draw:
    """How the tokens of one answer are drawn.

    temperature: above 0. top_p: see :func:`filter_top_p`. generator: of this answer alone, so that
    its draws don't depend on what is answered beside it; None: torch's global one.
    """

    temperature: float
    top_p: float
    generator: torch.Generator | None = None


def draw_each(logits: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    """Logits [B, vocab] and how each row is drawn -> [B] int64, as :func:`choose` draws a row.

    Waits for no device. A row that is no distribution (NaN in its logits) gets some token, and
    is not the failure of the others.
    """
    # torch.multinomial draws one sample in this way, behind checks that raise or wait
    given = np.array([(one.temperature, one.top_p) for one in draws])
    temperatures, top_p = send([given], logits.device)[0].float().split(1, -1)
    kept, ids = filter_top_p(torch.softmax(logits / temperatures, dim=-1), top_p)
    waits = torch.empty_like(kept)
    for row, one in zip(waits, draws, strict=True):
        row.exponential_(generator=one.generator)
    return ids.gather(-1, (kept / waits).argmax(-1, keepdim=True)).squeeze(-1)


def chosen_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """[B, vocab] logits and [B] tokens -> [B] probabilities at temperature 1."""
    return torch.softmax(logits, dim=-1).gather(-1, tokens[:, None]).squeeze(-1)


def stop_length(ids: Sequence[int], stop: Iterable[Sequence[int]]) -> int | None:
    """Length of the first stop sequence that ``ids`` ends with, or None."""
    for sequence in stop:
        n = len(sequence)
        if n <= len(ids) and list(ids[len(ids) - n :]) == list(sequence):
            return n
    return None
