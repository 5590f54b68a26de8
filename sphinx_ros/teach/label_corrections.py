"""What a tool for labelling exports, as COCO -> the labels of a folder, corrected.

CVAT exports an archive with annotations/instances_default.json, Label Studio one with result.json;
their file of COCO alone is as good. Sources: CVAT's datumaro (``coco_format/converter.py``) and
label-studio-sdk (``converter/converter.py``, and ``get_local_path`` for the names).
"""

from __future__ import annotations

import json
import lzma
import math
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.teach.coco_rows import is_coco, numbers
from sphinx_ros.teach.conversation_rows import MOST_BYTES, read_json
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.label_folder import KEPT, REVIEW, read_sheets
from sphinx_ros.teach.labelling import Found, Sheet, has_area, in_hundredths
from sphinx_ros.teach.said import checked_inside, checked_kind

_RENAMED = re.compile(r"[0-9a-f]{8}(?:-|__)(.+)")
"""How Label Studio names a file that was uploaded to it, or that it has fetched."""

EXPORTS = "export COCO 1.0 from CVAT, or COCO from Label Studio"

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises where an archive is damaged, encrypted or packed in an unknown way."""


@dataclass
class Corrected:
    """A folder's labels with corrections.

    Attributes:
        sheets: all pictures. kinds: those that were looked for, and new ones behind them.
        count: pictures that were corrected. spared: pictures with kept boxes, of which the file
            has none: as they were. new: kinds that nobody had looked for.
        untouched: pictures without a correction. bad: rows that can't be used, with the reason;
            their pictures are as they were.
    """

    sheets: list[Sheet]
    kinds: list[str]
    count: int = 0
    spared: int = 0
    new: list[str] = field(default_factory=list)
    untouched: int = 0
    bad: Data = field(default_factory=Data)


def corrected(folder: Path, corrections: Path, empty_is_none: bool = False) -> Corrected:
    """Put corrections into the labels of a folder.

    What the file says of a picture counts, whatever was kept or in doubt. A picture in doubt that
    has no boxes in it has none. One with kept boxes stays as it was: tools export every picture of
    a task, also those without a box that nobody has opened. Pictures are known by their names,
    also as the tools change them.

    Args:
        empty_is_none: a picture with kept boxes that has no boxes in the file has none, too.

    Raises:
        BadRequest: the file is none of COCO's, or corrects no picture.
    """
    sheets, kinds = read_sheets(folder / KEPT)
    # a run that was stopped half-way has left pictures in both files: they are settled
    settled = {sheet.name for sheet in sheets}
    doubted = [one for one in read_sheets(folder / REVIEW)[0] if one.name not in settled]
    for sheet in doubted:
        sheet.kept, sheet.doubted, sheet.trouble = [], sheet.kept, "it waits for a person"
    made = Corrected([*sheets, *doubted], kinds)
    by_name = {sheet.name: sheet for sheet in made.sheets}
    found = read_export(corrections)
    names: dict[Any, str] = {}
    for number, one in enumerate(found["categories"], 1):
        with made.bad.row(f"{file_name(corrections)}, category {number}"):
            names[one["id"]] = checked_kind(one.get("name"))
    marks: dict[Any, list[Any]] = {one["id"]: [] for one in found["images"]}
    for number, mark in enumerate(found["annotations"], 1):
        with made.bad.row(f"{file_name(corrections)}, annotation {number}"):
            marks_of(mark["image_id"], marks).append(mark)
    done = set()
    for number, one in enumerate(found["images"], 1):
        with made.bad.row(f"{file_name(corrections)}, image {number}"):
            sheet = sheet_named(str(one.get("file_name")), by_name)
            check_size(one, sheet.size)
            if sheet.sure and sheet.kept and not marks[one["id"]] and not empty_is_none:
                made.spared += 1
                continue
            boxes = [found_of(mark, names, sheet.size) for mark in marks[one["id"]]]
            sheet.kept = list(dict.fromkeys(boxes))  # what was pasted twice is one thing
            sheet.doubted, sheet.trouble = [], ""
            done.add(sheet.name)
    if not done:
        why = "it has no images"
        if made.bad.bad:
            why = made.bad.bad[0].why
        elif made.spared:
            why = "it has no boxes; where these pictures have none, say so by --empty-is-none"
        raise BadRequest(f"{corrections} corrects no picture of {folder}: {why}")
    said = dict.fromkeys(one.kind for sheet in made.sheets for one in sheet.kept)
    made.new = [kind for kind in said if kind not in kinds]
    made.kinds = [*kinds, *made.new]
    made.count, made.untouched = len(done), len(made.sheets) - len(done)
    return made


def read_export(path: Path) -> dict[str, Any]:
    """The COCO in a file, or in the archive that a tool exports, of which all ids can be used.

    Raises:
        BadRequest: it is damaged, none of COCO's, or doesn't say what belongs to what.
    """
    found = _unpacked(path) if zipfile.is_zipfile(path) else read_json(path)
    if not is_coco(found):
        raise BadRequest(f"{path} is no file of COCO: {EXPORTS}")
    rows = [row for key in ("images", "annotations", "categories") for row in found[key]]
    if not all(isinstance(row, dict) for row in rows):
        raise BadRequest(f"{path} has images, annotations or categories that are no objects")
    for key, name in (("images", "id"), ("categories", "id"), ("annotations", "image_id")):
        known = set()
        for number, row in enumerate(found[key], 1):
            value = row.get(name)
            if not isinstance(value, (int, float, str)) or (name == "id" and value in known):
                raise BadRequest(
                    f"{path}: the {name} in row {number} of {key} is {quoted(value)}, expected a "
                    f"number or a word{', each row its own' if name == 'id' else ''}; {EXPORTS}"
                )
            known.add(value)
    return found


def _unpacked(path: Path) -> Any:
    """The first value of COCO in an archive; None where it has none. Raises BadRequest."""
    try:
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                if one.filename.endswith(".json") and one.file_size <= MOST_BYTES:
                    found = _parsed(archive, one)
                    if is_coco(found):
                        return found
    except DAMAGED as error:
        raise BadRequest(
            f"{path} is a damaged archive: {one_line(error)}; export it anew"
        ) from None
    return None


def _parsed(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> Any:
    try:
        return json.loads(archive.read(one))
    except (RecursionError, *DAMAGED):
        return None  # not JSON, encrypted or damaged


def marks_of(image: Any, marks: Mapping[Any, list[Any]]) -> list[Any]:
    """The annotations of an image. Raises BadRequest: there is no such image."""
    if image not in marks:
        raise BadRequest(f"image_id is {quoted(image)}, which no image of the file has")
    return marks[image]


def check_size(image: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Raises BadRequest: the boxes are in pixels of a picture of another size."""
    said = image.get("width"), image.get("height")
    if any(one not in (None, true) for one, true in zip(said, size, strict=True)):
        raise BadRequest(
            f"the file says {quoted(said[0])}x{quoted(said[1])} pixels, but the folder's picture "
            f"has {size[0]}x{size[1]}: label the folder's own pictures, in their size"
        )


def sheet_named(name: str, by_name: Mapping[str, Sheet]) -> Sheet:
    """The picture that a tool means. Raises BadRequest: there is none."""
    last = re.split(r"[/\\]", name)[-1]
    for one in (last, urllib.parse.unquote(last)):
        renamed = _RENAMED.fullmatch(one)
        for known in (one, renamed[1] if renamed else one):
            if known in by_name:
                return by_name[known]
    raise BadRequest(
        f"there is no picture {quoted(name)} in the folder; give the corrections of its own "
        "pictures, with their names"
    )


def found_of(mark: Mapping[str, Any], names: Mapping[Any, str], size: tuple[int, int]) -> Found:
    """A box that a person has drawn. Raises BadRequest."""
    number = mark.get("category_id")
    kind = names.get(number) if isinstance(number, (int, float, str)) else None
    if kind is None:
        raise BadRequest(
            f"annotation {quoted(mark.get('id'))} has category_id {quoted(number)}, "
            f"expected one of {sorted(names, key=str)}"
        )
    x, y, wide, high = numbers(mark.get("bbox"), 4, "bbox")
    attributes = mark.get("attributes")
    turn = attributes.get("rotation", 0.0) if isinstance(attributes, dict) else 0.0
    if isinstance(turn, (int, float)) and turn:  # CVAT: degrees about the middle
        (turn,) = numbers([turn], 1, "rotation")
        c, s = abs(math.cos(math.radians(turn))), abs(math.sin(math.radians(turn)))
        across, along = wide * c + high * s, wide * s + high * c
        x, y = x + (wide - across) / 2, y + (high - along) / 2
        box = (max(x, 0.0), max(y, 0.0), min(x + across, size[0]), min(y + along, size[1]))
    else:
        box = (x, y, x + wide, y + high)
    inside = in_hundredths(checked_inside(box, *size))
    if not has_area(inside):
        raise BadRequest(
            f"annotation {quoted(mark.get('id'))} is narrower than a hundredth of a pixel: remove "
            "it, or draw it anew"
        )
    return Found(kind, inside, 1.0)
