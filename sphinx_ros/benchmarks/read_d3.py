"""D3, described object detection -> samples: each picture and each sentence of its group.

The JSON files are in COCO's form, their categories are sentences. ``groups.pkl`` and
``images.pkl`` say which sentences belong to a picture's group (the "intra-group" setting that is
published); without them every sentence is asked about every picture ("inter-group"). Source:
github.com/shikras/d-cube.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.json_files import field, field_list, id_of, read_json, read_list
from sphinx_ros.benchmarks.safe_pickle import read_plain
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample, box_of, trouble
from sphinx_ros.errors import BadRequest

FILES = {"full": "d3_full_annotations.json", "pres": "d3_pres_annotations.json",
         "abs": "d3_abs_annotations.json"}  # fmt: skip
GROUPS = ("groups.pkl", "images.pkl")


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The file of all sentences, those of each half, and the groups, as far as they are there."""
    places = (folder / "d3_json", folder)
    full = next((p / FILES["full"] for p in places if (p / FILES["full"]).is_file()), None)
    if full is None:
        return []
    found = [full] + [p for n in ("pres", "abs") if (p := full.with_name(FILES[n])).is_file()]
    for place in (folder / "d3_pkl", folder):
        if all((place / name).is_file() for name in GROUPS):
            return found + [place / name for name in GROUPS]
    return found


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All pictures, each with the sentences that it is asked for."""
    named = {path.name: path for path in files}
    full = named[FILES["full"]]
    whole = read_json(full)
    try:
        sentences = {
            row["id"]: field(row, "name", str) for row in field_list(whole, "categories", full)
        }
        things = _by_picture(field_list(whole, "annotations", full))
    except (KeyError, TypeError) as error:
        raise BadRequest(f"{full} has a row without {error}") from None
    halves = {n: _ids(named[FILES[n]]) for n in ("pres", "abs") if FILES[n] in named}
    asked = _intra(*(named[name] for name in GROUPS)) if GROUPS[0] in named else None
    for number, image in enumerate(field_list(whole, "images", full)):
        try:
            name, id = field(image, "file_name", str), field(image, "id", int)
            size = (field(image, "width", int), field(image, "height", int))
            picture = pictures.find(name)
            wanted = sorted(sentences if asked is None else asked.get(id, ()))
            unasked = [
                (row["category_id"], box_of(row.get("bbox"), size, xywh=True), _area(row),
                 _halves(row["category_id"], halves))
                for row in things[id] if row.get("category_id") not in wanted
            ]  # fmt: skip
            for sentence in wanted:
                own = [row for row in things[id] if row.get("category_id") == sentence]
                boxes = tuple(box_of(row.get("bbox"), size, xywh=True) for row in own)
                more = {
                    "image": id,
                    "category": sentence,
                    "size": size,
                    "crowd": [0] * len(own),
                    "area": [_area(row) for row in own],
                    "halves": _halves(sentence, halves),
                    "unasked": unasked,
                }
                given = ("full", f"{id}.{sentence}", picture, Family.DETECT, sentences[sentence])
                into.add(Sample(bench.name, *given, boxes=boxes, more=more))
        except BadRequest as error:
            into.refuse(trouble(error), f"{FILES['full']}, image {number}: {error}")


def _area(row: Mapping[str, Any]) -> float:
    """Of the silhouette where it is given, else of the box, px."""
    area = row.get("area")
    if isinstance(area, (int, float)) and not isinstance(area, bool):
        return float(area)
    return float(row["bbox"][2] * row["bbox"][3])


def _halves(sentence: int, halves: Mapping[str, set[Any]]) -> list[str]:
    return [half for half, ids in halves.items() if sentence in ids]


def _by_picture(rows: Iterable[Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for row in rows:
        found[row["image_id"]].append(row)
    return found


def _ids(path: Path) -> set[Any]:
    return {id_of(row) for row in read_list(path, "categories")}


def _intra(groups_file: Path, images_file: Path) -> dict[Any, set[Any]]:
    """Picture -> the sentences of its group."""
    groups, images = read_plain(groups_file), read_plain(images_file)
    try:
        return {
            id: set(groups[image["group_id"]]["inner_sent_id"]) for id, image in images.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise BadRequest(
            f"{groups_file} and {images_file} are not the groups of D3: {error!r}"
        ) from None
