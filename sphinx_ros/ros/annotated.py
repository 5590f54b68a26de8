"""A picture and outcomes -> the picture with the answers drawn in. Knows no message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sphinx_ros.draw import draw
from sphinx_ros.ros.captions import captions_of, spoken
from sphinx_ros.ros.outcomes import Outcome


def annotate(rgb: np.ndarray, outcomes: Sequence[Outcome]) -> np.ndarray:
    """A copy of a picture with all boxes, points, skeletons and regions; below it what was said.

    rgb: [H, W, 3] uint8; the copy may be higher. Where things are in space stands beside them.
    """
    # Those of all boxes first, then those of all points, as draw wants them.
    captions = [(captions_of(outcome, 0.0), len(outcome.boxes)) for outcome in outcomes]
    shown = [one for made, boxes in captions for one in made[:boxes]]
    shown += [one for made, boxes in captions for one in made[boxes:]]
    return draw(
        rgb,
        [box for outcome in outcomes for box in outcome.boxes],
        [person for outcome in outcomes for person in outcome.people],
        [line for outcome in outcomes if (line := spoken(outcome))],
        regions=[outcome.query.box for outcome in outcomes if outcome.query.box is not None],
        points=[point for outcome in outcomes for point in outcome.points],
        labels=["\n".join(one.rows) for one in shown],
    )
