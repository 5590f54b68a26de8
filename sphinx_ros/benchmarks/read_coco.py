"""COCO's annotations of boxes and of people -> samples.

Every category of the file is asked about every picture, also those that are not in it: who asks
for what is there alone tells the model half of the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.json_files import field, field_list, id_of, read_json
from sphinx_ros.benchmarks.samples import (
    Family,
    Picture,
    PictureFiles,
    Reading,
    Sample,
    box_of,
    trouble,
)
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.types import COCO_KEYPOINTS

JOINTS = len(COCO_KEYPOINTS)
_KIND = {Family.DETECT: "instances", Family.POSE: "person_keypoints"}


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The annotations of the splits; of one's own folder every file in this form."""
    if bench.name == "mine":
        files = sorted({*folder.glob("*.json"), *folder.glob("annotations/*.json")})
        return [path for path in files if _is_coco(path)]
    found = []
    for split in bench.splits:
        for place in (folder / "annotations", folder):
            found += sorted(place.glob(f"{_KIND[bench.family]}_{split}*.json"))[:1]
    return found[: len(bench.splits)]


def _is_coco(path: Path) -> bool:
    try:
        values = read_json(path)
    except BadRequest:
        return False
    return isinstance(values, dict) and {"images", "annotations"} <= set(values)


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All pictures of the files."""
    for path in files:
        values = read_json(path)
        rows = {name: field_list(values, name, path) for name in ("images", "annotations")}
        names = _categories(values, path)
        split = next((s for s in bench.splits if f"_{s}" in path.stem), bench.splits[0])
        truth = _annotations(path, rows, names, into)
        for number, image in enumerate(rows["images"]):
            try:
                picture, size = pictures.find(field(image, "file_name", str)), _size(image)
                own = truth.get(field(image, "id", int), [])
                if bench.name == "mine" or bench.family is Family.DETECT:
                    part = "detect" if bench.name == "mine" else split
                    _detect(bench, part, image["id"], picture, size, names, own, into)
                people = bench.name == "mine" and any("keypoints" in row for row in own)
                if bench.family is Family.POSE or people:
                    part = "pose" if bench.name == "mine" else split
                    _pose(bench, part, image["id"], picture, size, own, into)
            except BadRequest as error:
                into.refuse(trouble(error), f"{path.name}, image {number}: {error}")


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    return field(image, "width", int), field(image, "height", int)


def _categories(values: Mapping[str, Any], path: Path) -> dict[int, str]:
    rows = field_list(values, "categories", path)
    try:
        return {field(row, "id", int): field(row, "name", str) for row in rows}
    except BadRequest as error:
        raise BadRequest(f"{path}, categories: {error}") from None


def _annotations(
    path: Path, rows: Mapping[str, list], names: Mapping[int, str], into: Reading
) -> dict[int, list[dict[str, Any]]]:
    """Picture -> its things, with checked boxes; the others are refused."""
    sizes = {
        id_of(one): (one.get("width"), one.get("height"))
        for one in rows["images"]
        if isinstance(one, dict)
    }
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    seen: set[Any] = set()
    for number, row in enumerate(rows["annotations"]):
        try:
            image, category = field(row, "image_id", int), field(row, "category_id", int)
            if image not in sizes or category not in names:
                raise BadRequest(f"image {image} or category {category} is not in the file")
            if id_of(row) in seen:
                into.refuse("duplicate id", f"{path.name}: annotation {quoted(row.get('id'))}")
                continue
            seen.add(id_of(row))
            wide, high = sizes[image]
            size = (wide, high) if isinstance(wide, int) and isinstance(high, int) else None
            box = box_of(row.get("bbox"), size, xywh=True)
            found[image].append({**row, "box": box, "keypoints": _joints(row)})
        except BadRequest as error:
            into.refuse(trouble(error), f"{path.name}, annotation {number}: {error}")
    for own in found.values():
        for row in own:
            if row["keypoints"] is None:
                del row["keypoints"]
    return found


def _joints(row: Mapping[str, Any]) -> list[float] | None:
    """The 17 joints x, y, v; None where a thing has none."""
    if "keypoints" not in row:
        return None
    joints = row["keypoints"]
    usable = isinstance(joints, list) and len(joints) == 3 * JOINTS
    if not usable or not all(isinstance(v, (int, float)) for v in joints):
        raise BadRequest(f"the keypoints {quoted(joints)} are not {3 * JOINTS} numbers")
    return joints


def _detect(
    bench: Benchmark,
    split: str,
    image: int,
    picture: Picture,
    size: tuple[int, int],
    names: Mapping[int, str],
    own: list[dict[str, Any]],
    into: Reading,
) -> None:
    """A sample for each category."""
    for category, name in names.items():
        things = [row for row in own if row["category_id"] == category]
        more = {
            "image": image,
            "category": category,
            "size": size,
            "crowd": [int(row.get("iscrowd") in (1, True)) for row in things],
            "area": [_area(row) for row in things],
        }
        given = (split, f"{image}.{category}", picture, Family.DETECT, name)
        boxes = tuple(row["box"] for row in things)
        into.add(Sample(bench.name, *given, boxes=boxes, more=more))


def _pose(
    bench: Benchmark,
    split: str,
    image: int,
    picture: Picture,
    size: tuple[int, int],
    own: list[dict[str, Any]],
    into: Reading,
) -> None:
    """A sample for the people of a picture."""
    people = [row for row in own if "keypoints" in row]
    more = {
        "image": image,
        "size": size,
        "keypoints": [row["keypoints"] for row in people],
        "crowd": [int(row.get("iscrowd") in (1, True)) for row in people],
        "area": [_area(row) for row in people],
    }
    given = (split, str(image), picture, Family.POSE, "person")
    into.add(Sample(bench.name, *given, boxes=tuple(row["box"] for row in people), more=more))


def _area(row: Mapping[str, Any]) -> float:
    """Of the silhouette where it is given, else of the box, px."""
    x0, y0, x1, y1 = row["box"]
    area = row.get("area")
    return float(area) if isinstance(area, (int, float)) else (x1 - x0) * (y1 - y0)
