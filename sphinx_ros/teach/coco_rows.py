"""A COCO file (boxes, and joints of people) -> examples in the words of the tasks.

Every kind of the file counts as looked for in every picture of it, as in COCO itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage, BadRequest, quoted
from sphinx_ros.image.formats import decode_file
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.conversation_rows import read_json, there
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.said import Thing, Writing, checked_inside, checked_kind, rounds_about
from sphinx_ros.types import COCO_KEYPOINTS

FOLDERS = (".", "images", "train2017", "val2017", "data")
"""Where pictures lie, relative to the file of boxes or to the folder above it."""


def is_coco(value: Any) -> bool:
    """Whether a JSON value is of this format."""
    return isinstance(value, dict) and {"images", "annotations", "categories"} <= set(value)


def read_coco(path: Path, data: Data, writing: Writing) -> None:
    """The pictures of a COCO file, into ``data``. writing: how the checkpoint writes boxes.

    Raises:
        BadRequest: the file is none of COCO's.
    """
    for where, image, things, kinds, size in coco_pictures(path, data):
        draw = np.random.default_rng([len(data.examples), *size])
        for rounds in rounds_about(things, kinds, size, writing, draw):
            data.add("COCO", image, rounds, where)


def coco_pictures(
    path: Path, data: Data
) -> list[tuple[str, Path, list[Thing], list[str], tuple[int, int]]]:
    """(place, picture, things, all kinds, (width, height)) of each picture of a COCO file.

    A picture or a box that can't be used is kept as a bad row; of a bad box its picture is not
    learnt from, because what is taught about it would be wrong.

    Raises:
        BadRequest: the file is none of COCO's.
    """
    found = read_json(path)
    if not is_coco(found):
        raise BadRequest(
            f"{path} is no file of COCO: expected an object with images, annotations, categories"
        )
    names: dict[Any, str] = {}
    for number, one in enumerate(found["categories"], 1):
        with data.row(f"{file_name(path)}, category {number}"):
            names[_id(one)] = checked_kind(one.get("name"))
    labels: dict[Any, list[tuple[int, Any]]] = {}
    for number, one in enumerate(found["annotations"], 1):
        image = one.get("image_id") if isinstance(one, dict) else None
        labels.setdefault(image, []).append((number, one))
    out = []
    known = set()
    for number, one in enumerate(found["images"], 1):
        where = f"{file_name(path)}, image {number}"
        with data.row(where):
            known.add(_id(one))
            picture, size = opened(path.parent, one)
            things = things_of(labels.get(one["id"], ()), names, size, path, data)
            if things is not None:
                out.append((where, picture, things, sorted(set(names.values())), size))
    for image in set(labels) - known:
        with data.row(f"{file_name(path)}, annotation {labels[image][0][0]}"):
            raise BadRequest(f"image_id is {quoted(image)}, which no image of the file has")
    return out


def _id(one: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(one.get("id"), (int, str)):
        raise BadRequest(f"it is {quoted(one, 60)}, expected an object with an id")
    return one["id"]


def opened(folder: Path, one: Mapping[str, Any]) -> tuple[Path, tuple[int, int]]:
    """The file and the size (width, height) of an image of COCO. Raises BadRequest, BadImage."""
    name = one.get("file_name")
    if not isinstance(name, str):
        raise BadRequest(f"key file_name is {quoted(name)}, expected a picture's path")
    bases = [base / inner for base in (folder, folder.parent) for inner in FOLDERS]
    image = next((base / name for base in bases if _is_file(base / name)), None)
    image = there(folder, name) if image is None else image
    size = size_of(image)
    said = (one.get("width", size[0]), one.get("height", size[1]))
    if said != size:
        raise BadRequest(
            f"the file says {said[0]}x{said[1]} pixels, but {quoted(name)} has "
            f"{size[0]}x{size[1]} as it is shown; label the picture as it is"
        )
    return image, size


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def size_of(image: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown. Raises BadImage: it can't be read."""
    try:
        height, width = decode_file(image.read_bytes()).shape[:2]
    except OSError as error:
        raise BadImage(f"{image} can't be read: {error.strerror}") from None
    except BadImage as error:
        raise BadImage(f"{image}: {error}; replace the picture or remove it") from None
    return width, height


def things_of(
    labels: Sequence[tuple[int, Any]],
    names: Mapping[Any, str],
    size: tuple[int, int],
    path: Path,
    data: Data,
) -> list[Thing] | None:
    """The things of one picture; None where one of them can't be used, or stands for a crowd."""
    things, whole = [], True
    for number, one in labels:
        before = len(data.bad)
        with data.row(f"{file_name(path)}, annotation {number}"):
            if one.get("iscrowd"):
                whole = False  # "all people" would leave out those of the crowd
                continue
            things.append(thing_of(one, names, size))
        whole &= len(data.bad) == before
    return things if whole else None


def thing_of(one: Mapping[str, Any], names: Mapping[Any, str], size: tuple[int, int]) -> Thing:
    """An annotation of COCO -> a thing. Raises BadRequest."""
    kind = names.get(one.get("category_id"))
    if kind is None:
        raise BadRequest(
            f"category_id is {quoted(one.get('category_id'))}, expected one of {sorted(names)}"
        )
    box = numbers(one.get("bbox"), 4, "bbox")
    x, y, wide, high = box
    inside = checked_inside((x, y, x + wide, y + high), *size)
    return Thing(kind, inside, joints_of(one.get("keypoints")) if kind == "person" else None)


def joints_of(found: Any) -> np.ndarray | None:
    """COCO's 51 numbers -> [17, 3]; None where there are none. Raises BadRequest."""
    if not found or not any(found):
        return None
    values = numbers(found, 3 * len(COCO_KEYPOINTS), "keypoints")
    return np.array(values, np.float32).reshape(-1, 3)


def numbers(found: Any, count: int, key: str) -> list[float]:
    """So many finite numbers. Raises BadRequest."""
    good = isinstance(found, list) and len(found) == count
    if not good or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in found):
        raise BadRequest(f"key {key} is {quoted(found, 60)}, expected {count} finite numbers")
    return [float(value) for value in found]
