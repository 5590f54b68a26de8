"""Logits of many questions -> a token for each, in one transfer to the host.

The best one, unless a question wants its tokens drawn. A question may allow some tokens only, and
may want to know the probabilities of some. Knows no text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sphinx_ros.engine.sampling import Draw, draw_each
from sphinx_ros.runtime.sending import send


class Wish(NamedTuple):
    """What a question wants of one place.

    only: the tokens that are allowed there; none: all of them. report: tokens whose probabilities
    are wanted. draw: how to draw the token where all are allowed; None takes the best one.
    """

    only: tuple[int, ...] = ()
    report: tuple[int, ...] = ()
    draw: Draw | None = None


class Choice(NamedTuple):
    """The best allowed token, or the one that was drawn.

    probability: the model's own, among all tokens (softmax in float32); NaN where nothing else
    was allowed, and so nothing was chosen. shares: the same of each token of the wish's report.
    """

    token: int
    probability: float
    shares: tuple[float, ...] = ()


ANY = Wish()


@torch.inference_mode()
def choose_best(logits: Tensor, wishes: Sequence[Wish]) -> list[Choice]:
    """Logits [M, vocabulary], float32, to M choices. Of equal logits the lowest id is taken."""
    best = logits.argmax(-1, keepdim=True)
    draws = {row: wish.draw for row, wish in enumerate(wishes) if wish.draw is not None}
    if draws:
        (at,) = send([np.array(list(draws))], logits.device)
        best[at] = draw_each(logits[at], list(draws.values()))[:, None]
    total = logits.logsumexp(-1, keepdim=True)
    # ids are whole numbers below 2^24, so that float32 holds them
    columns = [best.float(), logits.gather(-1, best) - total]
    wide = max((len(wish.only) + len(wish.report) for wish in wishes), default=0)
    if wide:
        rows = [(*wish.only, *wish.report) for wish in wishes]
        index = np.array([[*row, *(0,) * (wide - len(row))] for row in rows])
        columns.append(logits.gather(-1, send([index], logits.device)[0]) - total)
    table = torch.cat(columns, -1).cpu().tolist()
    return [_chosen(row, wish) for row, wish in zip(table, wishes, strict=True)]


def _chosen(row: list[float], wish: Wish) -> Choice:
    """row: best id, its log probability, then those of the wish's tokens."""
    token, log = int(row[0]), row[1]
    allowed = row[2 : 2 + len(wish.only)]
    if allowed:
        at = max(range(len(allowed)), key=allowed.__getitem__)
        token, log = wish.only[at], allowed[at] if len(allowed) > 1 else math.nan
    reported = row[2 + len(wish.only) : 2 + len(wish.only) + len(wish.report)]
    return Choice(token, math.exp(log), tuple(map(math.exp, reported)))
