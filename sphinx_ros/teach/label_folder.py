"""Labels of pictures -> a folder: COCO, YOLO or LLaVA's JSON, and what a person is to review.

    DIR/images/           the pictures          DIR/annotations.json   what is kept, as COCO
    DIR/review.json       the pictures in doubt, with all their boxes, as COCO
    DIR/to_upload.json    all pictures with all boxes, as COCO: CVAT and Label Studio import it
    DIR/data.yaml, DIR/labels/  (YOLO)          DIR/conversations.json (LLaVA)
    DIR/labels.json       how many, by which model and queries
    DIR/journal.jsonl     the answers, while the run has not ended

annotations.json is written in every format: corrections are put into it, and the others made anew.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.teach.coco_rows import coco_pictures
from sphinx_ros.teach.conversation_rows import read_json
from sphinx_ros.teach.example import Data, reasons
from sphinx_ros.teach.labelling import Found, Sheet, in_hundredths
from sphinx_ros.teach.said import Writing, checked_kind, rounds_about
from sphinx_ros.teach.shown import Thing

KEPT, REVIEW, TOLD = "annotations.json", "review.json", "labels.json"
UPLOAD = "to_upload.json"
IMAGES, JOURNAL = "images", "journal.jsonl"

UNKNOWN = -1.0
"""A score that is not known: CVAT and Label Studio both want a number."""


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
            x0, y0, x1, y1 = in_hundredths(found.box)
            box = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                "category_id": numbers[found.kind], "bbox": box, "segmentation": [],
                "area": round(box[2] * box[3], 2), "score": number_of(found.score),
            })  # fmt: skip
    categories = [{"id": number, "name": kind} for kind, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def number_of(score: float) -> float:
    """A score as the files have it."""
    return UNKNOWN if math.isnan(score) else round(score, 4)


def score_of(number: float) -> float:
    """A score as :func:`number_of` wrote it."""
    return math.nan if number < 0 else number


def write_folder(
    folder: Path,
    sheets: Sequence[Sheet],
    kinds: Sequence[str],
    format: str,
    writing: Writing,
) -> None:
    """All files but the pictures. writing: of boxes, for LLaVA's texts.

    The review comes last: where a process is killed between it and what is kept, a picture that
    was settled stands in both and is not lost.
    """
    sure = [sheet for sheet in sheets if sheet.sure]
    doubted = [sheet for sheet in sheets if not sheet.sure]
    if format == "yolo":
        write_yolo(folder, sure, kinds)
    elif format == "llava":
        write_llava(folder, sure, kinds, writing)
    # A tool exports every picture that it was given, and one without boxes as empty: what is kept
    # goes there, too, or it would come back as "there is none".
    _write_json(folder / UPLOAD, coco(sheets, kinds, doubted=True))
    _write_json(folder / KEPT, coco(sure, kinds, doubted=False))
    _write_json(folder / REVIEW, coco(doubted, kinds, doubted=True))


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
    scores = [one.get("score", UNKNOWN) for one in read_json(path)["annotations"]]
    for _, image, things, _, size in coco_pictures(path, data):
        kept = [Found(thing.kind, thing.box, float("nan")) for thing in things]
        sheets.append(Sheet(image.name, size, kept))
    if data.bad:
        raise BadRequest(f"{data.bad[0].where}: {data.bad[0].why}")
    if data.left_out:
        raise BadRequest(f"{path} was changed: of its pictures {reasons(data.left_out)}")
    ordered = iter(scores)
    for sheet in sheets:
        sheet.kept = [Found(one.kind, one.box, score_of(next(ordered))) for one in sheet.kept]
    return sheets, [checked_kind(one["name"]) for one in read_json(path)["categories"]]
