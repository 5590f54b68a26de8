"""D3, described object detection -> samples: each picture and each sentence of its group.

The JSON files are in COCO's form, their categories are sentences. ``groups.pkl`` and
``images.pkl`` say which sentences belong to a picture's group (the "intra-group" setting that is
published); without them every sentence is asked about every picture ("inter-group"). Source:
github.com/shikras/d-cube.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.coco_truth import CocoFile
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, id_of, read_list
from sphinx_ros.benchmarks.safe_pickle import read_plain
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample
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
    file = CocoFile(named[FILES["full"]], into)
    halves = {n: _ids(named[FILES[n]]) for n in ("pres", "abs") if FILES[n] in named}
    asked = _intra(*(named[name] for name in GROUPS)) if GROUPS[0] in named else None

    def make(image: Any) -> list[Sample]:
        """The questions about a picture, or a refusal that names it."""
        picture = pictures.find(field(image, "file_name", str))
        id, size, things = file.about(image)
        wanted = sorted(file.names if asked is None else asked.get(id, ()))
        unasked = [
            (one.category, one.box, one.area, _halves(one.category, halves))
            for one in things
            if one.category not in wanted
        ]
        found = []
        for sentence in wanted:
            own = [one for one in things if one.category == sentence]
            more = {
                "image": id,
                "category": sentence,
                "size": size,
                "crowd": [0] * len(own),
                "area": [one.area for one in own],
                "halves": _halves(sentence, halves),
                "unasked": unasked,
            }
            given = ("full", f"{id}.{sentence}", picture, Family.DETECT, file.names[sentence])
            boxes = tuple(one.box for one in own)
            found.append(Sample(bench.name, *given, boxes=boxes, more=more))
        return found

    each(file.path, enumerate(file.images), make, into, "image")


def _halves(sentence: int, halves: Mapping[str, set[Any]]) -> list[str]:
    return [half for half, ids in halves.items() if sentence in ids]


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
