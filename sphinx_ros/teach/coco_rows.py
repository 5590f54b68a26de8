"""A COCO file (boxes, and joints of people) -> examples in the words of the tasks.

Every kind of the file counts as looked for in every picture of it, as in COCO itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.conversation_rows import read_json, there
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.picture_files import is_file
from sphinx_ros.teach.said import Writing, checked_inside, checked_kind, rounds_about
from sphinx_ros.teach.shown import Thing
from sphinx_ros.types import COCO_KEYPOINTS

FOLDERS = (".", "images", "train2017", "val2017", "data")
"""Where pictures lie, relative to the file of boxes or to the folder above it."""

LARGEST = 1e9
"""Of a number of pixels."""

CROWD = "with a crowd (iscrowd), whose things have no boxes of their own"
BAD_BOX = "with a box that can't be used (a bad row)"
"""Why nothing is taught about a picture: "all people" would leave some out."""


def is_coco(value: Any) -> bool:
    """Whether a JSON value is of this format."""
    parts = ("images", "annotations", "categories")
    return isinstance(value, dict) and all(isinstance(value.get(part), list) for part in parts)


def read_coco(path: Path, data: Data, writing: Writing) -> None:
    """The pictures of a COCO file, into ``data``. writing: how the checkpoint writes boxes.

    Raises:
        BadRequest: the file is none of COCO's.
    """
    for where, image, things, kinds, size in coco_pictures(path, data):
        with data.row(where):
            add_things(data, "COCO", image, things, kinds, size, writing, where)


def add_things(
    data: Data,
    format: str,
    image: Path,
    things: Sequence[Thing],
    kinds: Sequence[str],
    size: tuple[int, int],
    writing: Writing,
    where: str,
) -> None:
    """What is asked about a picture's things, into ``data``, in all ways in which it is shown. All
    as :func:`sphinx_ros.teach.said.rounds_about` takes it.

    Raises:
        BadImage: the picture can't be read. BadRequest: earlier rows say all of it.
    """
    draw = np.random.default_rng([len(data.examples), *size])
    for shown in data.views.of(image, things, size, draw):
        there = [thing.shown(shown, size) for thing in things]
        asked = [shown.kind(kind) for kind in kinds]
        data.add(format, shown, rounds_about(there, asked, shown.size(size), writing, draw), where)


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
            f"{path} is no file of COCO: expected lists images, annotations and categories"
        )
    names: dict[Any, str] = {}
    for number, one in enumerate(found["categories"], 1):
        with data.row(f"{file_name(path)}, category {number}"):
            number_of_kind = _new_id(one, names)
            names[number_of_kind] = checked_kind(one.get("name"))
    labels = _by_image(path, found, data)
    kinds, out = sorted(set(names.values())), []
    known: set[Any] = set()
    for number, one in enumerate(found["images"], 1):
        where = f"{file_name(path)}, image {number}"
        with data.row(where):
            known.add(_new_id(one, known))
            picture, size = opened(path.parent, one, data)
            things = things_of(labels.pop(one["id"], ()), names, size, path, data)
            if things is not None:
                out.append((where, picture, things, kinds, size))
    for image, those in labels.items():
        if image in known:
            continue  # the picture itself is a bad row
        for number, _ in those:
            with data.row(f"{file_name(path)}, annotation {number}"):
                raise BadRequest(f"image_id is {quoted(image)}, which no image of the file has")
    return out


def _by_image(path: Path, found: Any, data: Data) -> dict[Any, list[tuple[int, Any]]]:
    """The annotations of each image's id, with their numbers."""
    labels: dict[Any, list[tuple[int, Any]]] = {}
    for number, one in enumerate(found["annotations"], 1):
        with data.row(f"{file_name(path)}, annotation {number}"):
            image = one.get("image_id") if isinstance(one, dict) else None
            if not isinstance(image, (int, str)):
                raise BadRequest(
                    f"it is {quoted(one, 60)}, expected an object with the image_id of an image"
                )
            labels.setdefault(image, []).append((number, one))
    return labels


def _new_id(one: Any, known: Container[Any]) -> Any:
    if not isinstance(one, dict) or not isinstance(one.get("id"), (int, str)):
        raise BadRequest(f"it is {quoted(one, 60)}, expected an object with an id")
    if one["id"] in known:
        raise BadRequest(f"its id {quoted(one['id'])} is an earlier one's: give it its own")
    return one["id"]


def opened(folder: Path, one: Mapping[str, Any], data: Data) -> tuple[Path, tuple[int, int]]:
    """The file and the size (width, height) of an image of COCO. Raises BadRequest, BadImage."""
    name = one.get("file_name")
    if not isinstance(name, str):
        raise BadRequest(f"key file_name is {quoted(name)}, expected a picture's path")
    bases = [base / inner for base in (folder, folder.parent) for inner in FOLDERS]
    image = next((base / name for base in bases if is_file(base / name)), None)
    image = there(folder, name) if image is None else image
    _, size = data.files.of(image)
    said = (one.get("width", size[0]), one.get("height", size[1]))
    if said != size:
        raise BadRequest(
            f"the file says {said[0]}x{said[1]} pixels, but {quoted(name)} has "
            f"{size[0]}x{size[1]} as it is shown; label the picture as it is"
        )
    return image, size


def things_of(
    labels: Sequence[tuple[int, Any]],
    names: Mapping[Any, str],
    size: tuple[int, int],
    path: Path,
    data: Data,
) -> list[Thing] | None:
    """The things of one picture; None, which ``data`` counts, where one of them can't be used or
    stands for a crowd.
    """
    if any(one.get("iscrowd") for _, one in labels):
        data.left_out[CROWD] += 1
        return None
    found: list[tuple[str, Thing | None]] = []
    for number, one in labels:
        where, thing = f"{file_name(path)}, annotation {number}", None
        with data.row(where):
            thing = thing_of(one, names, size)
        found.append((where, thing))
    return each_once(found, data)


def each_once(found: Iterable[tuple[str, Thing | None]], data: Data) -> list[Thing] | None:
    """(place, thing) -> the things; None, which ``data`` counts, where one is None. What stands
    there twice is a bad row, and the picture can be used all the same.
    """
    things: list[Thing] = []
    known, whole = set(), True
    for where, thing in found:
        if thing is None:
            whole = False
        elif (thing.kind, thing.box) in known:
            with data.row(where):
                raise BadRequest(
                    f"the same {thing.kind} stands in this picture before: counted once; remove it"
                )
        else:
            known.add((thing.kind, thing.box))
            things.append(thing)
    if not whole:
        data.left_out[BAD_BOX] += 1
    return things if whole else None


def thing_of(one: Mapping[str, Any], names: Mapping[Any, str], size: tuple[int, int]) -> Thing:
    """An annotation of COCO -> a thing. Raises BadRequest."""
    number = one.get("category_id")
    kind = names.get(number) if isinstance(number, (int, str)) else None
    if kind is None:
        expected = sorted(names, key=str)
        raise BadRequest(f"category_id is {quoted(number)}, expected one of {expected}")
    box = numbers(one.get("bbox"), 4, "bbox")
    x, y, wide, high = box
    inside = checked_inside((x, y, x + wide, y + high), *size)
    return Thing(kind, inside, joints_of(one.get("keypoints")) if kind == "person" else None)


def joints_of(found: Any) -> np.ndarray | None:
    """COCO's 51 numbers -> [17, 3]; None where there are none. Raises BadRequest."""
    if found is None or found == []:
        return None
    values = numbers(found, 3 * len(COCO_KEYPOINTS), "keypoints")
    return np.array(values, np.float32).reshape(-1, 3) if any(values) else None


def numbers(found: Any, count: int, key: str) -> list[float]:
    """So many finite numbers. Raises BadRequest."""
    good = isinstance(found, list) and len(found) == count
    if not good or not all(isinstance(v, (int, float)) and abs(v) <= LARGEST for v in found):
        raise BadRequest(f"key {key} is {quoted(found, 60)}, expected {count} finite numbers")
    return [float(value) for value in found]
