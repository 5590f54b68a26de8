"""The folders of RefCOCO, RefCOCO+ and RefCOCOg as `refer` keeps them -> samples.

``refs(BY).p`` is a pickle of rows {ref_id, ann_id, image_id, split, sentences}; ``instances.json``
has the boxes (x, y, width, height) and pictures, as COCO's. Source: github.com/lichengunc/refer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import Made, each, tried
from sphinx_ros.benchmarks.hub_files import of_same_kind
from sphinx_ros.benchmarks.json_files import field, field_list, id_of, read_json
from sphinx_ros.benchmarks.safe_pickle import read_plain
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.true_boxes import box_of
from sphinx_ros.errors import BadRequest, quoted

DIVISIONS = ("refs(umd).p", "refs(unc).p", "refs(google).p")
"""Who divided the expressions into splits. What is published is of the one in the catalogue."""


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The refs and instances.json; none where this is another layout.

    Raises BadRequest: the folder is called as another of RefCOCO, + and g.
    """
    for place in (folder / bench.name, folder):
        for name in sorted(DIVISIONS, key=lambda name: not _published(bench, name)):
            if (place / name).is_file():
                if place == folder:
                    of_same_kind(bench, folder)
                return [place / name, place / "instances.json"]
    return []


def _published(bench: Benchmark, name: str) -> bool:
    """Whether a file of refs has the division that published figures are of."""
    return name in bench.files["refer"]


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All expressions of the splits that are measured."""
    refs_file, instances = files
    refs, known = read_plain(refs_file), read_json(instances)
    if not isinstance(refs, list):
        raise BadRequest(f"{refs_file} holds {quoted(refs)}; expected a list of refs")
    images = _by_id(known, "images", instances)
    boxes = _by_id(known, "annotations", instances)
    published = _published(bench, refs_file.name)
    if not published:
        (usual,) = (name for name in DIVISIONS if _published(bench, name))
        into.remarks.append(
            f"the splits are those of {refs_file.name}, while published figures are of {usual}: "
            "none is shown"
        )

    def make(ref: Any) -> list[Made]:
        """The expressions of one thing, each or a refusal that names it."""
        if field(ref, "split", str) not in bench.splits:
            return []
        return _expressions(bench, ref, images, boxes, pictures, published)

    each(refs_file, enumerate(refs), make, into, "ref")


def _by_id(known: Any, name: str, path: Path) -> dict[Any, Any]:
    rows = field_list(known, name, path)
    return {id_of(row): row for row in rows if isinstance(row, dict)}


def _expressions(
    bench: Benchmark, ref: Any, images: dict, boxes: dict, pictures: PictureFiles, published: bool
) -> list[Made]:
    """All sentences about one thing. Raises BadRequest: nothing is known of the thing."""
    image = images.get(field(ref, "image_id", int))
    truth = boxes.get(field(ref, "ann_id", int))
    if image is None or truth is None:
        missing = "image_id" if image is None else "ann_id"
        raise BadRequest(f"its {missing} {quoted(ref[missing])} is not in instances.json")
    size = (field(image, "width", int), field(image, "height", int))
    box = box_of(truth.get("bbox"), size, xywh=True)
    picture = pictures.find(field(image, "file_name", str))
    category = str(truth.get("category_id", ""))
    more = {"category": category, "size": size, "published": published}

    def make(one: Any) -> Sample:
        text = field(one, "sent", str)
        given = ref["split"], str(field(one, "sent_id", int)), picture, Family.BOXES, text
        key = f"{picture.path.name}_{text}_height{size[1]}_width{size[0]}"
        return Sample(bench.name, *given, boxes=(box,), key=key, more=more)

    return [tried(make, one) for one in field(ref, "sentences", list)]
