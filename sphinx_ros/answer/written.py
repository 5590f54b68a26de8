"""Token ids and probabilities -> an answer's words, their scores, its status. Knows no picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sphinx_ros.answer.coordinates import Spread, span_spreads
from sphinx_ros.engine.answered import Answered
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.sampling import LENGTH
from sphinx_ros.errors import Status
from sphinx_ros.prompt.parse import denies
from sphinx_ros.prompt.scores import geometric_mean, span_scorer
from sphinx_ros.types import Cost


@dataclass(frozen=True)
class Written:
    """The model's answer to one question.

    score: the score of a span of characters of the text. spreads: those of the numbers in a span.
    mean: geometric mean of the probabilities of all tokens that were chosen, NaN for an empty
    answer. first: the probabilities, as the first token, of what was asked for. ids: as they were
    written, end signal included.
    """

    text: str
    score: Callable[[tuple[int, int]], float]
    spreads: Callable[[tuple[int, int]], list[Spread]]
    mean: float
    first: tuple[float, ...]
    ids: tuple[int, ...]
    cost: Cost

    def report(self, found: bool) -> dict[str, Any]:
        """The fields that go beside the results. found: something readable was in the text."""
        status = Status.OK if found else Status.PARSE_FAILED
        if not found and denies(self.text):
            status = Status.NOT_FOUND
        return {
            "raw_text": self.text,
            "status": status,
            "milliseconds": self.cost.prefill_ms + self.cost.decode_ms,
            "tokens": self.cost.tokens,
            "cost": self.cost,
        }


def written(made: Answered, ending: Ending, look: Cost) -> Written:
    """What an engine answered. ending: of the answer. look: what the look took."""
    chosen = [p for p in made.probabilities if not math.isnan(p)]
    cost = replace(
        look,
        prefill_ms=made.first_ms,
        decode_ms=made.rest_ms,
        tokens=len(made.ids),
        passes=made.passes,
        accepted=made.accepted,
        prompt_tokens=made.prompt,
        cached_tokens=made.held + (made.prefix if look.cached else 0),
        cut=made.finish_reason == LENGTH,
    )
    return Written(
        ending.text(made.ids),
        span_scorer(made.ids, made.probabilities, ending.to_text),
        span_spreads(made.ids, made.shares, ending.to_text),
        geometric_mean(chosen),
        made.first,
        tuple(made.written),
        cost,
    )
