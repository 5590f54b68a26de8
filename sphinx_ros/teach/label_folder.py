"""Labels of pictures -> a folder: COCO, YOLO or LLaVA's JSON, and what a person is to review.

    DIR/images/           the pictures          DIR/annotations.json   what is kept, as COCO
    DIR/review.json       what is in doubt, as COCO: CVAT and Label Studio import it
    DIR/data.yaml, DIR/labels/  (YOLO)          DIR/conversations.json (LLaVA)
    DIR/labels.json       how many, by which model and queries

annotations.json is written in every format: corrections are put into it, and the others made anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.teach.coco_rows import coco_pictures
from sphinx_ros.teach.conversation_rows import read_json
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.labelling import Found, Sheet, known
from sphinx_ros.teach.said import Thing, Writing, checked_kind, rounds_about

FORMATS = ("coco", "yolo", "llava")
KEPT, REVIEW, TOLD = "annotations.json", "review.json", "labels.json"
IMAGES = "images"

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
"""How Label Studio renames a file that was uploaded to it."""


def coco(sheets: Sequence[Sheet], kinds: Sequence[str], doubted: bool) -> dict[str, Any]:
    """A file of COCO. doubted: boxes in doubt are in it, too, with those that are kept."""
    numbers = {kind: number for number, kind in enumerate(kinds, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sheet in enumerate(sheets, 1):
        wide, high = sheet.size
        name = f"{IMAGES}/{sheet.name}"
        images.append({"id": number, "file_name": name, "width": wide, "height": high})
        for found in [*sheet.kept, *(sheet.doubted if doubted else ())]:
            x0, y0, x1, y1 = (round(float(side), 2) for side in found.box)
            box = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                "category_id": numbers[found.kind], "bbox": box, "segmentation": [],
                "area": round(box[2] * box[3], 2), "score": known(found.score),
            })  # fmt: skip
    categories = [{"id": number, "name": kind} for kind, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_folder(
    folder: Path,
    sheets: Sequence[Sheet],
    kinds: Sequence[str],
    format: str,
    writing: Writing,
) -> None:
    """All files but the pictures. writing: of boxes, for LLaVA's texts."""
    sure = [sheet for sheet in sheets if sheet.sure]
    doubted = [sheet for sheet in sheets if not sheet.sure]
    if format == "yolo":
        write_yolo(folder, sure, kinds)
    elif format == "llava":
        write_llava(folder, sure, kinds, writing)
    _write_json(folder / REVIEW, coco(doubted, kinds, doubted=True))
    _write_json(folder / KEPT, coco(sure, kinds, doubted=False))


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_yolo(folder: Path, sheets: Sequence[Sheet], kinds: Sequence[str]) -> None:
    """data.yaml, and a file of lines for each picture."""
    (folder / "labels").mkdir(exist_ok=True)
    numbers = {kind: number for number, kind in enumerate(kinds)}
    for sheet in sheets:
        wide, high = sheet.size
        lines = []
        for found in sheet.kept:
            x0, y0, x1, y1 = found.box
            middle = ((x0 + x1) / 2 / wide, (y0 + y1) / 2 / high)
            values = (*middle, (x1 - x0) / wide, (y1 - y0) / high)
            lines.append(" ".join([str(numbers[found.kind]), *(f"{v:.6f}" for v in values)]))
        path = folder / "labels" / f"{Path(sheet.name).stem}.txt"
        write_text(path, "".join(f"{line}\n" for line in lines))
    names = [f"{IMAGES}/{sheet.name}" for sheet in sheets]
    write_text(folder / "train.txt", "".join(f"{name}\n" for name in names))
    said = json.dumps({number: kind for kind, number in numbers.items()})
    # JSON is yaml; the numbers of kinds must be numbers there
    said = re.sub(r'"(\d+)":', r"\1:", said)
    write_text(folder / "data.yaml", f"train: train.txt\nval: train.txt\nnames: {said}\n")


def write_llava(
    folder: Path, sheets: Sequence[Sheet], kinds: Sequence[str], writing: Writing
) -> None:
    """conversations.json: what tune asks and answers about these pictures, in LLaVA's form."""
    rows: list[dict[str, Any]] = []
    for number, sheet in enumerate(sheets):
        things = [Thing(found.kind, found.box) for found in sheet.kept]
        draw = np.random.default_rng([number, *sheet.size])
        for rounds in rounds_about(things, kinds, sheet.size, writing, draw):
            said = [
                turn
                for asked, answer in rounds
                for turn in (
                    {"from": "human", "value": f"<image>\n{asked}"},
                    {"from": "gpt", "value": answer},
                )
            ]
            name = f"{IMAGES}/{sheet.name}"
            rows.append({"id": f"{len(rows)}", "image": name, "conversations": said})
    _write_json(folder / "conversations.json", rows)


def read_sheets(path: Path) -> tuple[list[Sheet], list[str]]:
    """A file of COCO beside its pictures -> sheets of what is kept, and the kinds.

    Raises:
        BadRequest: it is no such file, or a row of it can't be used.
    """
    data = Data()
    sheets = []
    scores = {one["id"]: one.get("score") for one in read_json(path)["annotations"]}
    for _, image, things, _, size in coco_pictures(path, data):
        kept = [Found(thing.kind, thing.box, float("nan")) for thing in things]
        sheets.append(Sheet(image.name, size, kept))
    if data.bad:
        raise BadRequest(f"{data.bad[0].where}: {data.bad[0].why}")
    ordered = iter(scores.values())
    for sheet in sheets:
        sheet.kept = [
            Found(one.kind, one.box, float("nan") if (s := next(ordered, None)) is None else s)
            for one in sheet.kept
        ]
    return sheets, [checked_kind(one["name"]) for one in read_json(path)["categories"]]


def corrected(folder: Path, corrections: Path) -> tuple[list[Sheet], list[str], int]:
    """A folder of labels and a file of COCO from a tool for labelling -> all sheets, the kinds,
    and how many pictures were corrected.

    What the file says of a picture counts, whatever was kept or in doubt; a picture without boxes
    in it has none. Pictures are known by their names, also as Label Studio renames them.

    Raises:
        BadRequest: the file is none of COCO's, or of other pictures.
    """
    sheets, kinds = read_sheets(folder / KEPT)
    doubted, _ = read_sheets(folder / REVIEW)
    for sheet in doubted:
        sheet.kept, sheet.doubted = [], sheet.kept
    by_name = {sheet.name: sheet for sheet in [*sheets, *doubted]}
    found = read_json(corrections)
    if not isinstance(found, dict) or not {"images", "annotations", "categories"} <= set(found):
        raise BadRequest(
            f"{corrections} is no file of COCO: export COCO 1.0 from CVAT, or COCO from Label "
            "Studio"
        )
    names = {one["id"]: checked_kind(one["name"]) for one in found["categories"]}
    count = 0
    for one in found["images"]:
        meant = _sheet_named(str(one.get("file_name")), by_name)
        if meant is None:
            raise BadRequest(
                f"{corrections} has the picture {one.get('file_name')!r}, which {folder} has not: "
                "give the corrections of this folder's review.json"
            )
        marks = [mark for mark in found["annotations"] if mark.get("image_id") == one["id"]]
        meant.kept = [_found(mark, names, corrections) for mark in marks]
        meant.doubted = []
        count += 1
    all_kinds = list(dict.fromkeys([*kinds, *(f.kind for s in by_name.values() for f in s.kept)]))
    return list(by_name.values()), all_kinds, count


def _sheet_named(name: str, by_name: dict[str, Sheet]) -> Sheet | None:
    last = re.split(r"[/\\]", name)[-1]
    renamed = _UPLOADED.fullmatch(last)
    return by_name.get(last) or (by_name.get(renamed[1]) if renamed else None)


def _found(mark: dict, names: dict[Any, str], path: Path) -> Found:
    box, kind = mark.get("bbox"), names.get(mark.get("category_id"))
    if kind is None or not isinstance(box, list) or len(box) != 4:
        raise BadRequest(
            f"{path}: annotation {mark.get('id')} has category {mark.get('category_id')!r} and "
            f"bbox {box!r}, expected one of {sorted(names)} and x, y, width, height"
        )
    x, y, wide, high = (float(value) for value in box)
    return Found(kind, (x, y, x + wide, y + high), 1.0)
