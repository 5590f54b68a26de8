"""A file in COCO's form -> what is true of each of its pictures, or why that is not known.

Of a picture with an annotation that can't be used nothing is told: whoever answers well would be
called wrong by the rest. Ids of annotations say nothing here; many tools begin anew with each
picture, or have none.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.each_row import UNUSABLE, each, why
from sphinx_ros.benchmarks.json_files import field, field_list, id_of, read_json
from sphinx_ros.benchmarks.samples import Reading
from sphinx_ros.benchmarks.true_boxes import area_of, box_of, is_number
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.types import COCO_KEYPOINTS, Box

NUMBERS = 3 * len(COCO_KEYPOINTS)
"""Of the joints of a person: x, y, v each."""


@dataclass(frozen=True)
class Thing:
    """One annotation.

    category: its number. box, area: px. crowd: whether it stands for many things. joints: 17 times
    x, y, v, px; None where it has none, or those of something else than COCO's people.
    """

    category: int
    box: Box
    area: float
    crowd: bool
    joints: tuple[float, ...] | None = None


class CocoFile:
    """One file.

    path: of it. into: where annotations of no picture are counted.

    Raises:
        BadRequest: it can't be read, or has not this form.

    Attributes:
        images: its rows. names: category -> name.
    """

    def __init__(self, path: Path, into: Reading):
        values = read_json(path)
        self.path, self.images = path, field_list(values, "images", path)
        self.names = _categories(values, path)
        self._sizes = {
            id_of(one): (one.get("width"), one.get("height"))
            for one in self.images
            if isinstance(one, dict)
        }
        self._number_of = Counter(map(id_of, self.images))
        self._things: dict[int, list[Thing]] = defaultdict(list)
        self._wrong: dict[int, str] = {}
        self._seen: set[tuple[object, int, Thing]] = set()
        rows = enumerate(field_list(values, "annotations", path))
        take = functools.partial(self._take, into)
        each(path, ((number, (number, row)) for number, row in rows), take, into, "annotation")

    def _take(self, into: Reading, numbered: tuple[int, Any]) -> tuple[()]:
        number, row = numbered
        image = field(row, "image_id", int)
        if image not in self._sizes:
            raise BadRequest(f"image {image} is not in the file")
        try:
            thing = self._thing(row, self._sizes[image])
        except UNUSABLE as error:
            self._wrong.setdefault(image, f"annotation {number}: {why(error)}")
            return ()
        key = id_of(row), image, thing
        if key[0] is not None and key in self._seen:
            said = f"{self.path.name}: annotation {quoted(key[0])} stands there twice"
            into.refuse("duplicate id", said)
            return ()
        self._seen.add(key)
        self._things[image].append(thing)
        return ()

    def _thing(self, row: Any, size: tuple[Any, Any]) -> Thing:
        category = field(row, "category_id", int)
        if category not in self.names:
            raise BadRequest(f"category {category} is not in the file")
        known = size if all(isinstance(side, int) for side in size) else None
        box = box_of(row.get("bbox"), known, xywh=True)
        crowd = row.get("iscrowd") in (1, True)
        joints = _joints(row.get("keypoints"))
        return Thing(category, box, area_of(row.get("area"), box), crowd, joints)

    @property
    def posed(self) -> set[int]:
        """The categories of which something has joints."""
        return {one.category for own in self._things.values() for one in own if one.joints}

    def about(self, image: Any) -> tuple[int, tuple[int, int], list[Thing]]:
        """(id, (width, height), things) of an image's row.

        Raises:
            BadRequest: the row has no id of its own or no size, or what is true is not known.
        """
        id = field(image, "id", int)
        if self._number_of[id] > 1:
            raise BadRequest(
                f"{self._number_of[id]} images have the id {id}, and share its things"
            )
        if id in self._wrong:
            raise BadRequest(self._wrong[id])
        size = field(image, "width", int), field(image, "height", int)
        return id, size, self._things.get(id, [])


def _categories(values: Any, path: Path) -> dict[int, str]:
    rows = field_list(values, "categories", path)
    try:
        return {field(row, "id", int): field(row, "name", str) for row in rows}
    except BadRequest as error:
        raise BadRequest(f"{path}, categories: {error}") from None


def _joints(given: Any) -> tuple[float, ...] | None:
    if not isinstance(given, list) or len(given) != NUMBERS:
        return None
    if not all(map(is_number, given)):
        raise BadRequest(f"the keypoints {quoted(given)} are not {NUMBERS} finite numbers")
    return tuple(given)
