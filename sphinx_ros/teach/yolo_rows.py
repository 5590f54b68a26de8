"""A YOLO folder (data.yaml, images/, labels/) -> examples in the words of the tasks.

A line of a label file is a class and fractions of the picture: middle, width and height of a box;
with ``kpt_shape: [17, 3]`` the joints of a person behind it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.coco_rows import add_things, each_once
from sphinx_ros.teach.conversation_rows import read_text, read_yaml
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.picture_files import is_file, is_folder
from sphinx_ros.teach.said import Writing, checked_inside, checked_kind
from sphinx_ros.teach.shown import Thing
from sphinx_ros.types import COCO_KEYPOINTS

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
PARTS = ("train", "val")
"""Keys of data.yaml whose pictures are learnt; ``test`` is for who tests."""

JOINTS = len(COCO_KEYPOINTS)


def is_yolo(found: Any) -> bool:
    """Whether the contents of a yaml file are of this format."""
    named = isinstance(found, dict) and isinstance(found.get("names"), (list, dict))
    return named and any(part in found for part in PARTS)


def read_yolo(path: Path, data: Data, writing: Writing) -> None:
    """The pictures that a data.yaml names, into ``data``, in a checkpoint's writing.

    Raises:
        BadRequest: it is no such yaml, or a folder of pictures is missing.
    """
    found = read_yaml(path)
    if not is_yolo(found):
        raise BadRequest(f"{path} has not the keys names and train of YOLO's data.yaml")
    kinds: dict[int, str] = {}
    names = found["names"]
    for number, name in enumerate(names) if isinstance(names, list) else names.items():
        with data.row(f"{file_name(path)}, name {number}"):
            kinds[number] = checked_kind(name)
    root = path.parent / str(found.get("path") or ".")
    for image in pictures_of(found, root if is_folder(root) else path.parent, path):
        where = file_name(image)
        with data.row(where):
            _, size = data.files.of(image)
            things = things_of(label_file(image), kinds, size, data)
            if things is None:
                continue
            all_kinds = sorted(set(kinds.values()))
            add_things(data, "YOLO", image, things, all_kinds, size, writing, where)


def pictures_of(found: dict, root: Path, path: Path) -> list[Path]:
    """All pictures of the parts that are learnt. Raises BadRequest."""
    out: list[Path] = []
    for part in PARTS:
        named = found.get(part) or ()
        for one in named if isinstance(named, list) else [named] if named else ():
            place = place_of(root, str(one))
            if is_folder(place):
                inside = sorted(place.rglob("*"))
                out += [file for file in inside if file.suffix.lower() in SUFFIXES]
            elif is_file(place):
                lines = read_text(place).split("\n")
                out += [root / line.strip() for line in lines if line.strip()]
            else:
                raise BadRequest(
                    f"{path}: key {part} names {quoted(str(one))}, which is no folder in {root}"
                )
    return list(dict.fromkeys(out))


def place_of(root: Path, name: str) -> Path:
    """Where a folder or list of pictures lies. Roboflow's data.yaml names ../train/images, which
    lies beside data.yaml itself; ultralytics reads it like this, too.
    """
    place, beside = root / name, root / name.removeprefix("../")
    gone = not is_folder(place) and not is_file(place)
    return beside if gone and (is_folder(beside) or is_file(beside)) else place


def label_file(image: Path) -> Path:
    """Where the labels of a picture lie: beside it, or under labels/ in place of images/."""
    parts = list(image.with_suffix(".txt").parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def things_of(
    path: Path, kinds: dict[int, str], size: tuple[int, int], data: Data
) -> list[Thing] | None:
    """The things of one picture; none where there is no file, None where one can't be used."""
    found: list[tuple[str, Thing | None]] = []
    lines = read_text(path).split("\n") if is_file(path) else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, thing = f"{file_name(path)}, line {number}", None
        with data.row(where):
            thing = thing_of(line, kinds, size)
        found.append((where, thing))
    return each_once(found, data)


def thing_of(line: str, kinds: dict[int, str], size: tuple[int, int]) -> Thing:
    """A line -> a thing. Raises BadRequest."""
    try:
        kind, values = int(line.split()[0]), [float(word) for word in line.split()[1:]]
    except ValueError:
        kind, values = -1, []
    finite = all(math.isfinite(value) for value in values)
    if len(values) not in (4, 4 + 3 * JOINTS) or kind not in kinds or not finite:
        classes = sorted(kinds, key=str)
        raise BadRequest(
            f"it is {quoted(line, 60)}, expected a class of {classes} and 4 fractions of the "
            f"picture (middle x, y, width, height), or {4 + 3 * JOINTS} with joints"
        )
    box = checked_inside(in_pixels(values[:4], size), *size)
    joints = np.array(values[4:], np.float32).reshape(-1, 3) if values[4:] else None
    if joints is not None:
        joints[:, :2] *= size
    return Thing(kinds[kind], box, joints if kinds[kind] == "person" else None)


def in_pixels(values: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Middle, width and height as fractions of a picture -> x0, y0, x1, y1 in pixels."""
    (x, y, wide, high), (width, height) = values, size
    return (
        (x - wide / 2) * width,
        (y - high / 2) * height,
        (x + wide / 2) * width,
        (y + high / 2) * height,
    )
