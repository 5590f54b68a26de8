"""An observation -> questions with their exact answers. Knows no renderer, no tokens, no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sphinx_ros.world import questions, regions
from sphinx_ros.world.nouns import Tabletop
from sphinx_ros.world.phrases import EXPRESSION_KINDS
from sphinx_ros.world.truth import Observation
from sphinx_ros.world.turn import Turn

__all__ = ["MAKERS", "TRAINING_MIX", "Turn", "turns"]

EXPRESSION_SHARES = dict(zip(EXPRESSION_KINDS, (0.12, 0.20, 0.36, 0.17, 0.15), strict=True))
DENIAL_SHARES = {f"no_{kind}": 1.0 for kind in EXPRESSION_KINDS}
DETECTION_SHARES = {"detect": 0.45, "detect_none": 0.3, "detect_all": 0.25}


def _mixed(shares: Mapping[str, float]) -> Callable:
    """A maker that draws one of several makers; another, where that one finds nothing to ask."""

    def make(table: Tabletop, rng: np.random.Generator) -> Turn | None:
        """A turn of the first kind, in the drawn order, that finds something."""
        # Weighted sampling without replacement: ordered by random() ** (1 / weight), a kind comes
        # first with a probability in proportion to its weight (Efraimidis and Spirakis, 2006).
        draws = {kind: rng.random() ** (1 / share) for kind, share in shares.items()}
        for kind in sorted(shares, key=lambda kind: -draws[kind]):
            turn = MAKERS[kind](table, rng)
            if turn is not None:
                return turn
        return None

    return make


MAKERS: dict[str, Callable[[Tabletop, np.random.Generator], Turn | None]] = {
    **{kind: regions.ground(kind) for kind in EXPRESSION_KINDS},
    "worded": regions.worded,
    **{f"no_{kind}": regions.ground_none(kind) for kind in EXPRESSION_KINDS},
    "detect": regions.detect,
    "detect_none": regions.detect_none,
    "detect_all": regions.detect_all,
    "pose": regions.pose,
    "describe": regions.describe,
    "count": questions.count,
    "colour": questions.colour,
    "exist": questions.exist,
    "exist_refer": questions.exist_refer,
    "relation_yesno": questions.relation_yesno,
    "what_relation": questions.what_relation,
    "caption": regions.caption,
    "grounding": _mixed(EXPRESSION_SHARES),
    "denial": _mixed(DENIAL_SHARES),
    "detection": _mixed(DETECTION_SHARES),
}
"""Name -> maker; "grounding", "denial" and "detection" are mixtures, the others name the turn's
kind."""

TRAINING_MIX = {
    "grounding": 5.0, "worded": 0.8, "denial": 1.8, "detection": 2.3, "pose": 1.2, "describe": 0.9,
    "count": 3.0, "colour": 1.0, "exist": 1.0, "exist_refer": 3.0, "relation_yesno": 2.0,
    "what_relation": 1.7, "caption": 0.1,
}  # fmt: skip
"""Turns per picture of each maker that training draws, on average."""


def turns(
    observation: Observation,
    rng: np.random.Generator,
    per_task: Mapping[str, float] | None = None,
) -> list[Turn]:
    """Questions about one observation, no question twice, in the order of ``per_task``.

    Args:
        per_task: maker (a key of :data:`MAKERS`) -> how many; 0.3 means one in three pictures and
            a bit fewer. Fewer come where the picture holds nothing (new) of the kind to ask for.
            Default :data:`TRAINING_MIX`.
    """
    table = Tabletop(observation)
    made: dict[str, Turn] = {}
    for kind, number in (TRAINING_MIX if per_task is None else per_task).items():
        whole = int(number)
        for _ in range(whole + (rng.random() < number - whole)):
            for _attempt in range(3):
                turn = MAKERS[kind](table, rng)
                if turn is None:
                    break
                if turn.question not in made:
                    made[turn.question] = turn
                    break
    return list(made.values())
