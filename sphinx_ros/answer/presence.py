"""Whether what an expression describes is there at all: the model's yes or no, as a probability.

The models were trained on "Is there a ... in the image?", and are far better at it than at denying
a box that they are asked for. The question is asked on the same look, in the same passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sphinx_ros.engine.style import Pieces


class YesNo(NamedTuple):
    """Ids of the pieces that begin the answers yes and no, however they are spelt."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @staticmethod
    def of(pieces: Pieces) -> YesNo:
        """Those of a tokenizer; empty where it spells the words in several pieces."""
        words = [text.strip().lower() for text in pieces.texts]
        yes, no = (tuple(i for i, w in enumerate(words) if w == word) for word in ("yes", "no"))
        return YesNo(yes, no) if yes and no else YesNo((), ())

    @property
    def ids(self) -> tuple[int, ...]:
        """All of them, yes first."""
        return self.yes + self.no

    def presence(self, shares: Sequence[float]) -> float:
        """Probabilities of :attr:`ids` as the first token -> of yes among yes and no, 0..1.

        NaN where nothing is known, or where the model would say neither.
        """
        if not self.yes or len(shares) != len(self.ids):
            return math.nan
        yes, no = sum(shares[: len(self.yes)]), sum(shares[len(self.yes) :])
        return yes / (yes + no) if yes + no > 1e-6 else math.nan
