"""An observation -> its picture with the truth drawn in, for people. Knows no renderer."""

from __future__ import annotations

import math

import numpy as np

from sphinx_ros.draw import draw
from sphinx_ros.types import COCO_KEYPOINTS, Detection, Keypoint, Pose, Visibility
from sphinx_ros.world.truth import Observation, SceneObject

SEEN = (Visibility.ABSENT, Visibility.OCCLUDED, Visibility.VISIBLE)
"""What the v of a keypoint (0, 1, 2 as in COCO) means."""


def draw_truth(observation: Observation) -> np.ndarray:
    """[H, W, 3] uint8 RGB copy with boxes, names, visible shares and skeletons drawn in."""
    return draw(
        observation.rgb,
        [_detection(thing) for thing in observation.objects],
        [_pose(thing) for thing in observation.objects if thing.keypoints is not None],
    )


def _detection(thing: SceneObject) -> Detection:
    """The thing's box; its visible share is the score."""
    return Detection(thing.name, thing.box, thing.visible)


def _pose(thing: SceneObject) -> Pose:
    """The joints of a person; those outside the picture are absent. Its box is drawn with all."""
    assert thing.keypoints is not None
    return Pose(
        tuple(
            Keypoint(name, float(x), float(y), visibility=SEEN[int(v)])
            if v
            else Keypoint(name, math.nan, math.nan, visibility=Visibility.ABSENT)
            for name, (x, y, v) in zip(COCO_KEYPOINTS, thing.keypoints, strict=True)
        )
    )
