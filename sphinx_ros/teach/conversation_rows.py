"""Conversations about pictures (official META yaml, JSON, JSON Lines; LLaVA's JSON) -> examples.

    META:
      - {path: mugs.json, type: image_text, root: pictures, ratio: 0.5}

    {"image": "desk.jpg", "conversations": [{"from": "human", "value": "<image> Where ...?"},
                                            {"from": "gpt", "value": "[0.1,0.2,0.3,0.4]"}]}

Source of the format: LLaMA2-Accessory, ``accessory/data/conversation/dataset.py``. Texts are
taken as they are, coordinates included: who writes them knows the padded square.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.example import Data, Rounds
from sphinx_ros.teach.picture_files import is_file
from sphinx_ros.teach.shown import Shown

MOST_BYTES = 1 << 32
"""Of a file of rows."""

IMAGE = "<image>"
"""Stands for the picture in LLaVA's rows. The official code removes it: pictures come first."""

_BOXES = re.compile(r"\[[\d\s.,;]+\]")

HUMAN, MODEL = ("human", "user"), ("gpt", "assistant", "model")
"""Who says a round's question and its answer, as different tools write it."""


def read_text(path: Path) -> str:
    """A file of text. Raises BadRequest: there is none, it is too large or not UTF-8."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRequest(f"{path} has more than {MOST_BYTES >> 30} GiB; give a smaller part")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadRequest(f"{path} can't be read: {said}") from None


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises BadRequest."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is no JSON ({error}); expected an object or a list") from None


def read_yaml(path: Path) -> Any:
    """The value in a yaml file. Raises BadRequest."""
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"{path} is no yaml: {error}") from None


def rows_of(path: Path, data: Data) -> Iterator[tuple[str, Any]]:
    """(place, row) of a JSON list or JSON Lines; a line that is no JSON is kept as a bad row."""
    if path.suffix.lower() == ".json":
        rows = read_json(path)
        if not isinstance(rows, list):
            raise BadRequest(f"{path} holds {quoted(rows, 60)}, expected a list of rows")
        yield from ((f"{file_name(path)}, row {n}", row) for n, row in enumerate(rows, 1))
        return
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{file_name(path)}, line {number}"
        if not line.strip():
            continue
        row = None
        with data.row(where):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise BadRequest(
                    f"{quoted(line, 60)} is no JSON object; expected one on each line"
                ) from None
        if row is not None:
            yield where, row


def is_conversation(row: Any) -> bool:
    """Whether a row is of this format."""
    return isinstance(row, dict) and "conversations" in row


def read_meta(path: Path, data: Data) -> None:
    """The files that an official META yaml names, into ``data``.

    Raises:
        BadRequest: it is no such yaml, or a file that it names can't be read.
    """
    found = read_yaml(path)
    files = found.get("META") if isinstance(found, dict) else None
    if not isinstance(files, list) or not all(
        isinstance(one, dict)
        and isinstance(one.get("path"), str)
        and isinstance(one.get("root") or "", str)
        for one in files
    ):
        raise BadRequest(
            f"{path}: key META is {quoted(files, 60)}, expected a list with the path of a JSON "
            "file in each item, as {path: mugs.json, type: image_text, root: pictures}"
        )
    for one in files:
        rows = path.parent / one["path"]
        root = path.parent / one["root"] if one.get("root") else rows.parent
        read_conversations(rows, data, root, share_of(one.get("ratio", 1.0), path))


def share_of(ratio: Any, path: Path) -> float:
    """The share of a file's rows that is wanted. Raises BadRequest."""
    if isinstance(ratio, (int, float)) and 0 < ratio <= 1:
        return float(ratio)
    raise BadRequest(f"{path}: ratio is {quoted(ratio)}, expected a share from 0 to 1")


def read_conversations(path: Path, data: Data, root: Path, share: float = 1.0) -> None:
    """The rows of a JSON or JSON Lines file, into ``data``.

    root: what pictures are relative to. share: of the rows, drawn by a fixed seed.

    Raises:
        BadRequest: the file can't be read.
    """
    draw = np.random.default_rng(0)
    for where, row in rows_of(path, data):
        if share < 1 and draw.random() >= share:
            continue
        with data.row(where):
            add_conversation(row, where, data, root)


def add_conversation(row: Any, where: str, data: Data, root: Path) -> None:
    """One row, into ``data``. Raises BadRequest."""
    if not is_conversation(row):
        raise BadRequest(f"it is {quoted(row, 60)}, expected the keys image and conversations")
    if not isinstance(row.get("image"), str):
        raise BadRequest(
            f"key image is {quoted(row.get('image'))}, expected a picture's path; rows without "
            "a picture are not learnt here"
        )
    image, said = there(root, row["image"]), rounds(row["conversations"])
    data.add("conversations", Shown(image), [said], where)


def there(root: Path, name: str) -> Path:
    """A picture's path. Raises BadRequest: there is no such file."""
    image = root / name
    if not is_file(image):
        raise BadRequest(
            f"there is no picture {quoted(name)} in {root}; give paths relative to that folder, "
            "or whole ones"
        )
    return image


def rounds(said: Any) -> Rounds:
    """A row's turns -> (question, answer) of each round. Raises BadRequest."""
    turns = []
    for turn in said if isinstance(said, list) else ():
        who, what = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else ("", "")
        role = "human" if who in HUMAN else "gpt" if who in MODEL else ""
        if not role or not isinstance(what, str):
            raise BadRequest(
                f"a turn is {quoted(turn, 60)}, expected from: human or gpt, and a value of text"
            )
        turns.append((role, what.replace(IMAGE, "").strip() if IMAGE in what else what))
    roles = [role for role, _ in turns]
    if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
        raise BadRequest(
            f"its turns are from {', '.join(roles) or 'nobody'}; expected human, gpt, human, "
            "gpt ... and an answer at the end"
        )
    texts = [text for _, text in turns]
    if not all(text.strip() for text in texts):
        raise BadRequest("a question or an answer is empty; remove the row, or fill it in")
    for text in texts:
        check_boxes(text)
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def check_boxes(text: str) -> None:
    """Refuse boxes that are not in the picture: numbers above 1, or the wrong way round.

    Raises:
        BadRequest: names the box.
    """
    for group in _BOXES.findall(text):
        for part in group[1:-1].split(";"):
            try:
                values = [float(word) for word in part.split(",")]
            except ValueError:
                continue
            if len(values) != 4:
                continue
            x0, y0, x1, y1 = values
            if max(values) > 1 or x0 > x1 or y0 > y1:
                raise BadRequest(
                    f"the box {quoted(part.strip())} is not in the picture: expected x0,y0,x1,y1 "
                    "as fractions (0 to 1) of the picture filled up to a square"
                )
