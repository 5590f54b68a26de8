"""A user's data, whatever its format -> examples. Finds the format by the contents.

    data.yaml with META              official conversations
    data.yaml with names and train   YOLO
    a JSON object with images, annotations, categories    COCO
    a JSON list or JSON Lines with conversations          official, LLaVA
    JSON Lines with image, text, box                      labels as for `sphinx-ros calibrate`

A folder is what its files are; one that `sphinx-ros label` made is one of these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.evaluate.label_file import KEYS, labelled_line
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.coco_rows import is_coco, read_coco
from sphinx_ros.teach.conversation_rows import (
    is_conversation,
    read_conversations,
    read_json,
    read_meta,
    read_text,
    read_yaml,
    rows_of,
)
from sphinx_ros.teach.example import Data, reasons
from sphinx_ros.teach.label_folder import JOURNAL, KEPT, REVIEW, TOLD, UPLOAD
from sphinx_ros.teach.picture_files import is_file
from sphinx_ros.teach.said import Writing, about_expression
from sphinx_ros.teach.shown import Shown, Views
from sphinx_ros.teach.yolo_rows import is_yolo, read_yolo

PLAIN = Views()

EXPECTED = (
    "expected a META yaml, JSON or JSON Lines of conversations, a COCO file, a YOLO folder with "
    "data.yaml, JSON Lines with image, text and box, or a folder of these"
)


def read_data(
    paths: Sequence[str | Path],
    writing: Writing,
    views: Views = PLAIN,
    known: Sequence[str | Path] = (),
) -> Data:
    """All examples of several files and folders.

    writing: how the checkpoint writes boxes. views: in which ways pictures whose labels are boxes
    and joints are shown. known: more of them, whose answers are to stay as they are.

    Raises:
        BadRequest: a path that holds no data, or nothing that can be learnt.
    """
    data = Data(views=views)
    _read(paths, data, writing)
    data.known = True
    _read(known, data, writing)
    if all(one.known for one in data.examples):
        raise BadRequest(nothing_of(data))
    return data


def nothing_of(data: Data) -> str:
    """Why nothing of some data can be learnt."""
    if not data.bad:
        return f"no picture can be used: {reasons(data.left_out)}"
    first = data.bad[0]
    return f"none of {len(data.bad)} rows can be used; the first: {first.where}: {first.why}"


def _read(paths: Sequence[str | Path], data: Data, writing: Writing) -> None:
    """All files of some paths. Raises BadRequest."""
    for path in map(Path, paths):
        before = rows_in(data)
        for file in files_of(path):
            read_file(file, data, writing)
        if rows_in(data) == before:
            raise BadRequest(f"{path} holds no rows; {EXPECTED}")


def rows_in(data: Data) -> int:
    """How much was read so far, whether it can be used or not."""
    return len(data.examples) + len(data.bad) + data.left_out.total()


def files_of(path: Path) -> list[Path]:
    """The files of data that a path stands for. Raises BadRequest."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadRequest(f"there is no file or folder {path}; {EXPECTED}")
    if (path / JOURNAL).is_file():
        raise BadRequest(
            f"the labelling of {path} has not ended: go on with it, sphinx-ros label ... --resume"
        )
    if (path / KEPT).is_file() and (path / TOLD).is_file():
        return [path / KEPT]  # the other files of `sphinx-ros label` say the same once more
    found = sorted(path.iterdir()) + sorted((path / "annotations").glob("*.json"))
    files = [one for one in found if one.suffix.lower() in (".yaml", ".yml", ".json", ".jsonl")]
    # what waits for a person is not learnt
    chosen = [one for one in files if one.name not in (REVIEW, UPLOAD) and kind_of(one)]
    if not chosen:
        raise BadRequest(f"{path} holds no file of data; {EXPECTED}")
    return chosen


def kind_of(path: Path) -> str:
    """The format of a file, "" for a file of something else. Raises BadRequest."""
    if path.suffix.lower() in (".yaml", ".yml"):
        try:
            found = read_yaml(path)
        except BadRequest:
            return ""
        return "YOLO" if is_yolo(found) else "META" if _has(found, "META") else ""
    if path.suffix.lower() == ".json":
        found = read_json(path)
        if isinstance(found, list):
            return "conversations" if any(map(is_conversation, found[:1000])) else ""
        return "COCO" if is_coco(found) else ""
    if path.suffix.lower() == ".jsonl":
        for line in read_text(path).split("\n"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if is_conversation(row):
                return "conversations"
            if isinstance(row, dict) and set(row) == KEYS:
                return "labels"
    return ""


def _has(found: Any, key: str) -> bool:
    return isinstance(found, dict) and key in found


def read_file(path: Path, data: Data, writing: Writing) -> None:
    """One file of any format, into ``data``. Raises BadRequest: it is of none."""
    kind = kind_of(path)
    if kind == "META":
        read_meta(path, data)
    elif kind == "YOLO":
        read_yolo(path, data, writing)
    elif kind == "COCO":
        read_coco(path, data, writing)
    elif kind == "conversations":
        images = path.parent / "images"
        root = images if images.is_dir() and not _finds(path) else path.parent
        read_conversations(path, data, root)
    elif kind == "labels":
        read_label_lines(path, data, writing)
    else:
        raise BadRequest(f"{path} is of no known format; {EXPECTED}")


def _finds(path: Path) -> bool:
    """Whether the first row's picture lies relative to the file itself."""
    rows = (row for _, row in rows_of(path, Data()) if is_conversation(row))
    row: dict[str, Any] = next(rows, {})
    return is_file(path.parent / str(row.get("image", "")))


def read_label_lines(path: Path, data: Data, writing: Writing) -> None:
    """A file as :mod:`sphinx_ros.evaluate.label_file` reads it, into ``data``."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file_name(path)}, line {number}"
        with data.row(where):
            one = labelled_line(number, line, path.parent)
            _, size = data.files.of(one.image)
            said = about_expression(one.text, one.box, size, writing)
            data.add("labels", Shown(one.image), said, where)
