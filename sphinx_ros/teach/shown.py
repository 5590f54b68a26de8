"""A labelled picture -> the ways in which it is shown: whole, in a mirror, cropped.

What is shown changes together with all that is true of it. Knows no text, no tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sphinx_ros.train.windows import Window, drawn_window
from sphinx_ros.types import COCO_MIRRORED, Box


class Shown(NamedTuple):
    """A picture as it is shown. image: file. window: what is shown of it; None: all. mirrored:
    left and right of that are exchanged.
    """

    image: Path
    mirrored: bool = False
    window: Window | None = None

    def of(self, rgb: np.ndarray) -> np.ndarray:
        """What is shown of the picture [H, W, 3]."""
        if self.window is not None:
            x0, y0, x1, y1 = self.window
            rgb = rgb[y0:y1, x0:x1]
        return np.ascontiguousarray(rgb[:, ::-1]) if self.mirrored else rgb

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of what is shown of a picture of this size."""
        if self.window is None:
            return size
        x0, y0, x1, y1 = self.window
        return x1 - x0, y1 - y0

    def kind(self, kind: str) -> str:
        """What a kind of thing is where it is shown: in a mirror a left shoe is a right shoe."""
        return other_side(kind) if self.mirrored else kind


@dataclass(frozen=True)
class Thing:
    """A labelled thing. kind: its noun. box: (x0, y0, x1, y1) in pixels of what is shown. joints:
    of a person, [17, 3] of x, y in pixels and COCO's visibility; None where not labelled.
    """

    kind: str
    box: Box
    joints: np.ndarray | None = None

    def shown(self, shown: Shown, size: tuple[int, int]) -> Thing:
        """The thing where it is shown. size: width and height of the whole picture. A window must
        hold its box; joints beyond it are not labelled any more.
        """
        thing = self if shown.window is None else _cropped(self, shown.window)
        if shown.mirrored:
            thing = _mirrored(thing, shown.size(size)[0])
        return replace(thing, kind=shown.kind(thing.kind))


class Views(NamedTuple):
    """Which ways to show each picture, beside the plain one.

    mirror: in a mirror. crops: at most so many parts of it, each drawn; with ``mirror`` every
    second of them is in a mirror.
    """

    mirror: bool = False
    crops: int = 0

    def of(
        self,
        image: Path,
        things: Sequence[Thing],
        size: tuple[int, int],
        draw: np.random.Generator,
    ) -> Iterator[Shown]:
        """All ways, each once, the plain one first. A crop holds all things: "all mugs" stays
        true. Where things leave little room, crops are equal or whole: there are fewer then.
        """
        known = [Shown(image), Shown(image, mirrored=True)][: 1 + self.mirror]
        yield from known
        for number in range(self.crops):
            window = drawn_window([thing.box for thing in things], size, draw)
            whole = window == (0, 0, *size)
            shown = Shown(image, self.mirror and number % 2 == 1, None if whole else window)
            if shown not in known:
                known.append(shown)
                yield shown


def _cropped(thing: Thing, window: Window) -> Thing:
    x0, y0, x1, y1 = window
    box = (thing.box[0] - x0, thing.box[1] - y0, thing.box[2] - x0, thing.box[3] - y0)
    joints = thing.joints
    if joints is not None:
        joints = joints - np.array([x0, y0, 0], joints.dtype)
        outside = (joints[:, :2] < 0).any(1) | (joints[:, :2] > (x1 - x0, y1 - y0)).any(1)
        joints[outside] = 0
    return Thing(thing.kind, box, joints)


_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def other_side(words: str) -> str:
    """Words with left and right exchanged."""
    sides = rf"\b({'|'.join(_SIDES)})(?=(?:most)?\b)"
    return re.sub(sides, lambda found: _SIDES[found[1]], words)


def _mirrored(thing: Thing, width: int) -> Thing:
    x0, y0, x1, y1 = thing.box
    joints = thing.joints
    if joints is not None:
        joints = joints[list(COCO_MIRRORED)]
        joints[:, 0] = width - joints[:, 0]
    return Thing(thing.kind, (width - x1, y0, width - x0, y1), joints)
