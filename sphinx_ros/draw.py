"""Boxes, points, skeletons, labels and answers onto an RGB picture. Knows no model and no ROS.

The same label always has the same colour, and labels stay inside the picture.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from sphinx_ros.image import letters
from sphinx_ros.image.plates import Ground
from sphinx_ros.prompt.plain import plain
from sphinx_ros.types import (
    COCO_EDGES,
    COCO_KEYPOINTS,
    UNKNOWN_BOX,
    Box,
    Detection,
    Keypoint,
    Pose,
)

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
PERSON = "person"
SMALLER = 0.75
"""Size of the letters of a label's second row as a share of those of the first."""

LEFT, RIGHT, MIDDLE = (80, 200, 255), (255, 160, 60), (240, 240, 90)  # sides of a skeleton


def label_colour(label: str) -> tuple[int, int, int]:
    """A bright RGB colour that depends on the words alone."""
    turn = hashlib.sha256(label.encode("utf-8", "backslashreplace")).digest()
    hue, saturation = turn[0] / 256, 0.65 + 0.3 * turn[1] / 255
    red, green, blue = (int(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, 1.0))
    return red, green, blue


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever is read better on a colour."""
    return BLACK if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 120 else WHITE


def with_score(name: str, score: float) -> str:
    """ "red mug 0.83"; the name alone where the score is unknown (NaN)."""
    return name if math.isnan(score) else f"{name} {score:.2f}".strip()


def draw(
    rgb: np.ndarray,
    detections: Iterable[Detection] = (),
    poses: Iterable[Pose] = (),
    captions: Sequence[str] = (),
    scale: float | None = None,
    regions: Iterable[Box] = (),
    points: Iterable[Keypoint] = (),
    labels: Sequence[str] | None = None,
) -> np.ndarray:
    """A copy of the picture [H, W, 3] uint8 with everything drawn in; captions go below it.

    The result has the same width and, with captions, more height. Boxes outside the picture are
    clipped, NaN coordinates are left out. Captions are shown as people read them: their tags and
    coordinates are drawn, not written.

    Args:
        scale: of the letters, 1 is about 22 pixels high; None follows the picture's size.
        regions: boxes that were asked about, in white and without words.
        points: named points that are nobody's joint.
        labels: what is written beside each detection, and then beside each point; "" for nothing,
            and a line break before what is less important. By default its name with its score,
            once where a point stands for a box.
    """
    picture = np.ascontiguousarray(rgb).copy()
    scale = scale or max(0.35, min(picture.shape[:2]) / 900)
    for region in regions:
        if all(math.isfinite(v) for v in region):
            draw_box(picture, region, WHITE)
    for pose in poses:
        draw_pose(picture, pose)
    boxes, points = list(detections), list(points)
    places = [*(item.box for item in boxes), *(around(spot, picture.shape) for spot in points)]
    names = [*(item.label for item in boxes), *(spot.name for spot in points)]
    known = [all(map(math.isfinite, place)) for place in places]
    for number, place in enumerate(places):
        if known[number]:
            sign = draw_box if number < len(boxes) else draw_point
            sign(picture, place, label_colour(names[number]))
    # Labels last, so that no box's line runs through another's words.
    ground = Ground(picture.shape[1], picture.shape[0])
    said = labels_of(boxes, points) if labels is None else labels
    for name, words, place, there in zip(names, said, places, known, strict=True):
        if words and there:
            draw_label(picture, words, place, label_colour(name), scale, ground)
    if not captions:
        return picture
    shown = [plain(line) for line in captions]
    return np.vstack([picture, caption_bar(picture.shape[1], shown, scale)])


def labels_of(boxes: Sequence[Detection], points: Sequence[Keypoint]) -> list[str]:
    """The names of boxes and then of points with their scores, for people to read.

    That of a point which lies in a box of the same name is "": the box says it already.
    """
    said = [with_score(item.label, item.score) for item in boxes]
    for spot in points:
        here = any(
            item.label == spot.name
            and item.box[0] <= spot.x <= item.box[2]
            and item.box[1] <= spot.y <= item.box[3]
            for item in boxes
        )
        said.append("" if here else with_score(spot.name, spot.score))
    return said


def draw_box(picture: np.ndarray, box: Box, colour: tuple[int, int, int]) -> None:
    """A frame with a dark rim, in place; readable on any background."""
    height, width = picture.shape[:2]
    thick = max(1, round(min(height, width) / 300))
    x0, y0 = (int(min(max(v, 0), n - 1)) for v, n in zip(box[:2], (width, height), strict=True))
    x1, y1 = (int(min(max(v, 0), n - 1)) for v, n in zip(box[2:], (width, height), strict=True))
    cv2.rectangle(picture, (x0, y0), (x1, y1), BLACK, thick + 2, cv2.LINE_AA)
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thick, cv2.LINE_AA)


def draw_point(picture: np.ndarray, place: Box, colour: tuple[int, int, int]) -> None:
    """A cross in a ring, in place; the point is the middle of the box, where the lines meet."""
    x, y = round((place[0] + place[2]) / 2), round((place[1] + place[3]) / 2)
    reach = round((place[2] - place[0]) / 2)
    for ink, wide in ((BLACK, 3), (colour, 1)):
        wide += reach // 6
        cv2.circle(picture, (x, y), reach, ink, wide, cv2.LINE_AA)
        cv2.line(picture, (x - reach, y), (x + reach, y), ink, wide, cv2.LINE_AA)
        cv2.line(picture, (x, y - reach), (x, y + reach), ink, wide, cv2.LINE_AA)


def around(point: Keypoint, shape: Sequence[int]) -> Box:
    """The box of a point's sign in a picture of a shape (height, width, ...); NaN if outside."""
    height, width = shape[:2]
    if not (0 <= point.x <= width and 0 <= point.y <= height):
        return UNKNOWN_BOX
    reach = max(4, round(min(height, width) / 60))
    return point.x - reach, point.y - reach, point.x + reach, point.y + reach


def draw_label(
    picture: np.ndarray,
    words: str,
    box: Box,
    colour: tuple[int, int, int],
    scale: float,
    ground: Ground,
) -> None:
    """Words on a coloured plate at the box's upper left corner, in place.

    The plate is moved into the picture and off those that stand on its ground already; words too
    long for the picture are cut. What follows a line break stands below in smaller letters.
    """
    sizes = [_pixels(scale), _pixels(SMALLER * scale)]
    first, *others = words.split("\n")
    rows = [(first, sizes[0]), *((row, sizes[1]) for row in others)]
    rows = [(letters.cut(row, picture.shape[1] - 8, size), size) for row, size in rows]
    wide = max(math.ceil(letters.length(row, size)) for row, size in rows) + 6
    high = sum(sum(letters.height(size)) for _, size in rows) + 2
    left, top = map(int, ground.place(box[0], wide, high, box))
    corner = (left + wide - 1, top + high - 1)
    cv2.rectangle(picture, (left, top), corner, colour, cv2.FILLED)
    for row, size in rows:
        above, below = letters.height(size)
        letters.write(picture, row, left + 3, top + 1 + above, size, ink_on(colour))
        top += above + below


def draw_pose(picture: np.ndarray, pose: Pose) -> None:
    """Bones, joints and the box, in place; the left side blue, the right side orange."""
    if pose.box is not None and all(math.isfinite(v) for v in pose.box):
        draw_box(picture, pose.box, label_colour(PERSON))
    thick = max(1, round(min(picture.shape[:2]) / 250))
    points = [
        (round(k.x), round(k.y)) if math.isfinite(k.x) and math.isfinite(k.y) else None
        for k in pose.keypoints
    ]
    if len(points) == len(COCO_KEYPOINTS):
        for one, other in COCO_EDGES:
            begin, end = points[one], points[other]
            if begin and end:
                colour = _side(one) if _side(one) == _side(other) else MIDDLE
                cv2.line(picture, begin, end, BLACK, thick + 2, cv2.LINE_AA)
                cv2.line(picture, begin, end, colour, thick, cv2.LINE_AA)
    for index, point in enumerate(points):
        if point:
            cv2.circle(picture, point, thick + 2, BLACK, cv2.FILLED, cv2.LINE_AA)
            cv2.circle(picture, point, thick + 1, _side(index), cv2.FILLED, cv2.LINE_AA)


def caption_bar(width: int, lines: Sequence[str], scale: float) -> np.ndarray:
    """[H, width, 3] uint8: dark bar with one line of white text each, cut to the width."""
    above, below = letters.height(_pixels(scale))
    pitch = above + below + 2
    bar = np.full((pitch * len(lines) + 6, width, 3), 28, np.uint8)
    for row, line in enumerate(lines):
        words, place = fit(line, width - 12, scale), 3 + pitch * row + above
        letters.write(bar, words, 6, place, _pixels(scale), WHITE)
    return bar


def side_by_side(pictures: Sequence[np.ndarray], columns: int, gap: int = 8) -> np.ndarray:
    """Pictures of any sizes in a grid on a light ground, each as wide as the widest."""
    width = max(p.shape[1] for p in pictures)
    rows = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        height = max(p.shape[0] for p in row)
        sheet = np.full((height + gap, columns * (width + gap), 3), 245, np.uint8)
        for column, picture in enumerate(row):
            left = column * (width + gap)
            sheet[: picture.shape[0], left : left + picture.shape[1]] = picture
        rows.append(sheet)
    inside = np.vstack(rows)[: -gap or None, : -gap or None]
    return cv2.copyMakeBorder(inside, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=(245,) * 3)


def fit(words: str, width: float, scale: float) -> str:
    """The words on one line, or as many of them with an ellipsis as fit into `width` pixels."""
    return letters.cut(words, width, _pixels(scale))


def _pixels(scale: float) -> int:
    """Size of letters: at scale 1 a capital is about 22 pixels high."""
    return max(9, round(30 * scale))


def _side(index: int) -> tuple[int, int, int]:
    """Odd COCO indices are the person's left, even ones the right, 0 is the nose."""
    return MIDDLE if index == 0 else (LEFT if index % 2 else RIGHT)
