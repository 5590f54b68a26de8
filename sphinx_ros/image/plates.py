"""Boxes in a picture -> where words about them find room: inside the picture, off each other."""

from __future__ import annotations

from dataclasses import dataclass, field

from sphinx_ros.types import Box

HIDDEN = 5
"""Words hide a box that is less than this many times as high as they are."""

STEPS = 12
"""How many heights above and below a box's upper edge words may stand, where it is crowded."""


@dataclass
class Ground:
    """A picture of width x height pixels. taken: x0, y0, x1, y1 of what stands there."""

    width: float
    height: float
    taken: list[Box] = field(default_factory=list)

    def place(self, left: float, wide: float, high: float, box: Box) -> tuple[float, float]:
        """The upper left corner of a plate of wide x high pixels for a box, taken from now on.

        It stands above the box, else in it or below, else further away; where everything is taken,
        where it covers least. It is moved into the picture; one that is too large begins at 0.

        Args:
            left: where it would begin, px.
        """
        left = min(max(left, 0.0), max(self.width - wide, 0.0))
        tops = [box[1], box[3] - high, box[3]]
        if box[3] - box[1] < HIDDEN * high:
            tops.reverse()  # inside, the words would hide the thing
        tops.insert(0, box[1] - high)
        for step in range(1, STEPS):
            tops += [box[1] + step * high, box[1] - (step + 1) * high]
        inside = [top for top in tops if 0 <= top <= self.height - high]
        inside = inside or [min(max(box[1], 0.0), max(self.height - high, 0.0))]
        best, least = inside[0], float("inf")
        for top in inside:
            covered = self._covered(left, top, left + wide, top + high)
            if covered < least:
                best, least = top, covered
            if not covered:
                break
        self.taken.append((left, best, left + wide, best + high))
        return left, best

    def _covered(self, x0: float, y0: float, x1: float, y1: float) -> float:
        """Square pixels of what a plate would cover."""
        return sum(
            max(min(x1, c) - max(x0, a), 0.0) * max(min(y1, d) - max(y0, b), 0.0)
            for a, b, c, d in self.taken
        )
