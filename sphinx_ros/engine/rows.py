"""Questions behind prefixes that are in a cache already -> answers, as one batch of rows.

Every row has its own length. Knows no text and no picture; :mod:`sphinx_ros.engine.official` is
the same for raw prompts, with the semantics of the official code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.sampling import (
    INTERRUPTED,
    LENGTH,
    STOP,
    Generated,
    choose,
    chosen_probability,
)
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.network import KeyValues, Network


class _Row:
    """One question while it is answered: ids of the question, then those that were written."""

    def __init__(self, prompt: Sequence[int]):
        self.ids, self.asked = list(prompt), len(prompt)
        self.probabilities: list[float] = []
        self.kept: int | None = None  # tokens of the answer, once it has ended
        self.reason = LENGTH

    @property
    def written(self) -> list[int]:
        """Ids behind the question."""
        return self.ids[self.asked :]

    def put(self, token: int, probability: float, ending: Ending, limit: int) -> None:
        """Write one token behind those there are; nothing counts once the answer has ended."""
        self.ids.append(token)
        if self.kept is not None:
            return
        self.probabilities.append(probability)
        self.kept = ending.length(self.written)
        if self.kept is not None:
            self.reason = STOP
        elif len(self.probabilities) >= limit:
            self.kept = limit

    def answer(self) -> Generated:
        """What was written, without the end signal."""
        kept = len(self.probabilities) if self.kept is None else self.kept
        return Generated(self.written[:kept], self.probabilities[:kept], self.reason)


@torch.inference_mode()
def answer_rows(
    network: Network,
    cache: KeyValues,
    start: int,
    prompts: Sequence[Sequence[int]],
    ending: Ending,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    on_token: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Generated]:
    """Answer one question per row of a cache, each from a prefix that was prefilled before.

    Everything from ``start`` on is overwritten and the prefix stays as it is, so that question
    after question can begin there. All rows step together: a question that is longer than the
    shortest one is fed token by token until it is used up.

    Args:
        network: what the cache belongs to.
        cache: positions 0..start-1 of each row are filled.
        start: length of the prefix, image tokens included.
        prompts: the questions' ids, at least one each.
        ending: tells where an answer ends; its signal is cut off.
        max_new_tokens: limit of each answer; the cache's end is another one.
        temperature, top_p, generator: see :func:`sphinx_ros.engine.sampling.choose`.
        on_token: called with (row, id) of each new token of an unfinished answer.
        should_stop: asked before every pass of the network; True ends with ``INTERRUPTED``.

    Raises:
        BadRequest: a question is empty, or leaves no room in the cache.
    """
    longest, room = max(map(len, prompts)), cache.length - start
    if not all(map(len, prompts)) or longest >= room:
        raise BadRequest(
            f"a question of {longest} tokens behind a prefix of {start} does not fit into "
            f"{cache.length} positions; ask with 1 to {max(room - 1, 0)} tokens"
        )
    rows = [_Row(prompt) for prompt in prompts]
    limit, device = min(max_new_tokens, room - longest), network.device
    at, end = 0, min(map(len, prompts))
    while any(row.kept is None for row in rows):
        if should_stop is not None and should_stop():
            for row in rows:
                row.reason = row.reason if row.kept is not None else INTERRUPTED
            break
        feed = torch.tensor([row.ids[at:end] for row in rows], device=device)
        logits = network(feed, cache=cache, start=start + at, last_only=True)[:, -1].float()
        chosen = choose(logits, temperature, top_p, generator)
        tokens, probabilities = chosen.tolist(), chosen_probability(logits, chosen).tolist()
        for number, row in enumerate(rows):
            if len(row.ids) > end:
                continue  # its question is not used up yet
            row.put(tokens[number], probabilities[number], ending, limit)
            if on_token is not None and row.kept is None:
                on_token(number, tokens[number])
        at, end = end, end + 1
    return [row.answer() for row in rows]
