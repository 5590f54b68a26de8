"""What a question puts into a pass, and what its answer is, as plain values. Knows no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sphinx_ros.engine.branches import Branch
from sphinx_ros.engine.choosing import Wish
from sphinx_ros.engine.sampling import STOP


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        ids: its token ids, without the end signal.
        probabilities: the model's own of each id; NaN for those that had to come.
        shares: for each id the probabilities of the ten digits in its place, in their order; empty
            where it is no digit of a number.
        first: the probabilities, as the first token, of the ids of the question's ``report``.
        written: ids as they were written, end signal included.
        finish_reason: STOP, LENGTH or INTERRUPTED.
        prompt: tokens of the prompt, the picture's included. prefix: of these, the picture's and
            those that all questions begin with. held: those of the conversation before it that
            need not be fed again.
        passes: passes of the network. accepted: ids that were guessed right and cost no pass of
            their own. first_ms, rest_ms: until the first token was there, and from then on.
    """

    ids: list[int]
    probabilities: list[float]
    shares: list[tuple[float, ...]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    finish_reason: str = STOP
    passes: int = 0
    accepted: int = 0
    first_ms: float = math.nan
    rest_ms: float = math.nan
    first: tuple[float, ...] = ()
    prompt: int = 0
    prefix: int = 0
    held: int = 0


class Feed(NamedTuple):
    """What a question puts into a pass: tokens behind those it has fed, the last few guessed.

    wishes: one for the last known token and for each guess. branches: continuations behind the
    last of these, which see nothing of each other.
    """

    tokens: list[int]
    guessed: list[int]
    wishes: list[Wish]
    branches: Sequence[Branch] = ()

    @property
    def chain(self) -> int:
        """Tokens without the branches."""
        return len(self.tokens) + len(self.guessed)

    @property
    def size(self) -> int:
        """All tokens."""
        return self.chain + sum(len(branch.tokens) for branch in self.branches)

    @property
    def all_wishes(self) -> list[Wish]:
        """Those of the branches, too."""
        return [*self.wishes, *(wish for branch in self.branches for wish in branch.wishes)]
