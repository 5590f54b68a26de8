"""The folders of RefCOCO, RefCOCO+ and RefCOCOg as `refer` keeps them -> samples.

``refs(BY).p`` is a pickle of rows {ref_id, ann_id, image_id, split, sentences}; ``instances.json``
has the boxes (x, y, width, height) and pictures, as COCO's. Source: github.com/lichengunc/refer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.hub_files import of_same_kind
from sphinx_ros.benchmarks.json_files import field, field_list, id_of, read_json
from sphinx_ros.benchmarks.safe_pickle import read_plain
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample, box_of, trouble
from sphinx_ros.errors import BadRequest, quoted

PREFERRED = ("refs(umd).p", "refs(unc).p", "refs(google).p")
"""Of several divisions the first: that of umd is the one that RefCOCOg is measured on."""


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The refs and instances.json; none where this is another layout.

    Raises BadRequest: the folder is called as another of RefCOCO, + and g.
    """
    for place in (folder / bench.name, folder):
        for name in PREFERRED:
            if (place / name).is_file():
                if place == folder:
                    of_same_kind(bench, folder)
                return [place / name, place / "instances.json"]
    return []


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All expressions of the splits that are measured."""
    refs_file, instances = files
    refs, known = read_plain(refs_file), read_json(instances)
    if not isinstance(refs, list):
        raise BadRequest(f"{refs_file} holds {quoted(refs)}; expected a list of refs")
    images = _by_id(known, "images", instances)
    boxes = _by_id(known, "annotations", instances)
    for number, ref in enumerate(refs):
        where = f"{refs_file.name}, ref {number}"
        try:
            if field(ref, "split", str) in bench.splits:
                _read_ref(bench, ref, images, boxes, pictures, into)
        except BadRequest as error:
            into.refuse(trouble(error), f"{where}: {error}")


def _by_id(known: Any, name: str, path: Path) -> dict[Any, Any]:
    rows = field_list(known, name, path)
    return {id_of(row): row for row in rows if isinstance(row, dict)}


def _read_ref(
    bench: Benchmark, ref: Any, images: dict, boxes: dict, pictures: PictureFiles, into: Reading
) -> None:
    """One thing, with all its sentences."""
    image = images.get(field(ref, "image_id", int))
    truth = boxes.get(field(ref, "ann_id", int))
    if image is None or truth is None:
        missing = "image_id" if image is None else "ann_id"
        raise BadRequest(f"its {missing} {quoted(ref[missing])} is not in instances.json")
    size = (field(image, "width", int), field(image, "height", int))
    box = box_of(truth.get("bbox"), size, xywh=True)
    picture = pictures.find(field(image, "file_name", str))
    for one in field(ref, "sentences", list):
        text = field(one, "sent", str)
        into.add(
            Sample(
                bench.name,
                ref["split"],
                str(field(one, "sent_id", int)),
                picture,
                Family.BOXES,
                text,
                boxes=(box,),
                key=f"{picture.path.name}_{text}_height{size[1]}_width{size[0]}",
                more={"category": str(truth.get("category_id", ""))},
            )
        )
