"""Tables of the hub (parquet) and of VLMEvalKit (TSV) -> samples, by the names of their columns.

The columns are those that the hub's copies of these data sets use. Boxes of RefCOCO are x, y,
width, height in pixels in parquet files, and corners (``bbox_x1`` ...) in TSVs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks import parquet_rows, tsv_rows
from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.json_files import field_list, read_json
from sphinx_ros.benchmarks.samples import (
    Family,
    Picture,
    PictureFiles,
    Reading,
    Sample,
    box_of,
    trouble,
)
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.wording import TRUE_OR_FALSE

COLUMNS = (
    "id", "index", "question_id", "questionId", "question", "text", "caption", "sentence",
    "answer", "answers", "label", "multiple_choice_answer", "bbox", "image_id", "file_name",
    "width", "height", "choices", "options", "hint", "context", "category", "split", "dataset",
    "ori_category_id",
    "A", "B", "C", "D", "E", "F", "G", "H",
)  # fmt: skip
PICTURES = ("image", "image_bytes", "picture")
"""Columns that hold pictures: the first that there is."""


def find_parquet(bench: Benchmark, folder: Path) -> list[Path]:
    """Parquet files whose names tell one of the splits."""
    found = []
    for path in sorted({*folder.glob("*.parquet"), *folder.glob("*/*.parquet")}):
        if _split_of(bench, path.stem) is not None:
            found.append(path)
    return found


def find_tsv(bench: Benchmark, folder: Path) -> list[Path]:
    """TSVs that are named after the data set; RefCOCO.tsv holds all three."""
    plain = re.sub(r"\W", "", bench.name)
    named = ("refcoco",) if bench.name.startswith("refcoco") else (plain,)
    return [
        path
        for path in sorted(folder.glob("*.tsv"))
        if re.sub(r"\W", "", path.stem.lower()).startswith(named)
    ]


def find_rows(bench: Benchmark, folder: Path) -> list[Path]:
    """The rows of a table as a list in JSON."""
    found = [folder / f"{bench.name}-{split}.json" for split in bench.splits]
    return [path for path in found if path.is_file()]


def read_parquet(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """All rows of the files."""
    for path in files:
        column = next((c for c in PICTURES if c in parquet_rows.columns(path)), "")
        rows = parquet_rows.rows(path, COLUMNS)
        _read(bench, path, ((number, 0, row) for number, row in rows), column, pictures, into)


def read_tsv(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All rows of the files."""
    for path in files:
        column = next((c for c in PICTURES if c in tsv_rows.header(path)), "")
        _read(bench, path, _resolved(tsv_rows.rows(path), column), column, pictures, into)


REFERENCE = 64
"""Characters: what is shorter is no picture, but the index of the row that has it."""


def _resolved(
    rows: Iterator[tuple[int, int, dict[str, str]]], column: str
) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    """Rows whose place is that of the row with their picture; the picture is a short name."""
    known: dict[str, tuple[int, int, str]] = {}
    for at, size, row in rows:
        cell = row.get(column, "")
        if len(cell) > REFERENCE:
            name = hashlib.blake2b(cell.encode(), digest_size=16).hexdigest()
            known[row.get("index", str(at))] = at, size, name
        elif cell in known:
            at, size, name = known[cell]
        else:
            name = ""
        yield at, size, {**row, column: name}


def read_rows(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All rows of the files."""
    for path in files:
        rows = enumerate(field_list(read_json(path), "rows"))
        _read(bench, path, ((number, 0, row) for number, row in rows), "", pictures, into)


def _read(
    bench: Benchmark,
    path: Path,
    rows: Iterator[tuple[int, int, Mapping[str, Any]]],
    column: str,
    pictures: PictureFiles,
    into: Reading,
) -> None:
    for number, (at, size, row) in enumerate(rows):
        try:
            if not isinstance(row, Mapping):
                raise BadRequest(f"{quoted(row)} is no row with named columns")
            split = _split_of_row(bench, path, row)
            if split is None:
                continue
            picture = _picture(path, column, at, size, row, pictures)
            for sample in _samples(bench, split, number, row, picture):
                into.add(sample)
        except BadRequest as error:
            into.refuse(trouble(error), f"{path.name}, row {number}: {error}")


def _split_of(bench: Benchmark, words: str) -> str | None:
    """The split that a name of a file tells: "val-00000-of-00003", "ref-l4-test"."""
    parts = [part.lower() for part in re.split(r"[-_.]", words)]
    if bench.name == "scienceqa" and "train" in parts:
        return None
    for split in bench.splits:
        if split.lower() in parts or (split == "val" and "validation" in parts):
            return split
    return None


def _split_of_row(bench: Benchmark, path: Path, row: Mapping[str, Any]) -> str | None:
    """The split of a row; None: of another data set, or of none that is measured."""
    said = row.get("dataset") or row.get("split") or ""
    if bench.family is Family.BOXES and bench.name.startswith("refcoco"):
        name, _, split = str(row.get("category") or said).replace("-", "_").partition("_")
        if name.lower() == bench.name and split in bench.splits:
            return split
        if name.lower().startswith("refcoco"):
            return None
    if bench.name == "pope" and row.get("category") in bench.splits:
        return str(row["category"])
    if said in bench.splits:
        return str(said)
    of_file = _split_of(bench, path.stem)
    return of_file or (bench.splits[0] if len(bench.splits) == 1 else None)


def _picture(
    path: Path,
    column: str,
    at: int,
    size: int,
    row: Mapping[str, Any],
    pictures: PictureFiles,
) -> Picture:
    """The picture of a row: in the table, or a file that the row names."""
    if not column:
        return pictures.find(row.get("file_name") or row.get("image_id"))
    name = row.get("file_name") or row.get("image_id") or f"row {at}"
    if path.suffix == ".tsv":  # the same picture stands in many rows
        name = row[column]
        if not name:
            raise BadRequest(f"the picture in column {column} is missing")
    shared = re.sub(r"_\d+(?=\.\w+\Z)", "", str(name))  # RefCOCO's: COCO_train2014_000000581857_16
    return Picture(path, f"{path.parent}/{shared}", column, at, size)


def _samples(
    bench: Benchmark, split: str, number: int, row: Mapping[str, Any], picture: Picture
) -> Iterator[Sample]:
    """The questions of a row: a row of RefCOCO has several expressions for one box."""
    id = next((row[k] for k in ("id", "index", "question_id", "questionId") if row.get(k)), number)
    if bench.family is Family.BOXES:
        size = _size(row)
        box = _box(row, size)
        texts = _expressions(row)
        for place, words in enumerate(texts):
            part = f"{number}" if len(texts) == 1 else f"{number}.{place}"
            if bench.name == "ref-l4":
                part = str(id)
            key = f"{picture.key}_{words}"  # a picture has one size
            given = (split, part, picture, Family.BOXES, words)
            more = {"category": str(row.get("ori_category_id", ""))}
            yield Sample(bench.name, *given, boxes=(box,), key=key, more=more)
        return
    text = row.get("question") or row.get("text") or row.get("caption")
    choices = row.get("choices") or row.get("options") or ()
    if not choices and bench.family is Family.CHOICE:
        choices = [row[letter] for letter in "ABCDEFGH" if row.get(letter)]
    answer = next(
        (row[k] for k in ("answers", "answer", "multiple_choice_answer", "label") if k in row),
        None,
    )
    if bench.wording == TRUE_OR_FALSE and str(answer) in ("0", "1"):
        answer = "true" if str(answer) == "1" else "false"
    yield word_sample(
        bench,
        split,
        id,
        picture,
        text,
        _listed(answer),
        choices=choices,
        hint=row.get("hint") or row.get("context") or "",
        key=f"{picture.key}_{text}_{id}",
        group=str(row.get("category") or "") if bench.family is Family.PAIRS else "",
    )


def _expressions(row: Mapping[str, Any]) -> list[str]:
    """What is said of the box of a row."""
    given = row.get("answer") if isinstance(row.get("answer"), list) else None
    found = given or [row.get("sentence") or row.get("caption") or row.get("question")]
    if not all(isinstance(one, str) and one.strip() for one in found):
        raise BadRequest(f"the expressions are {quoted(found)}; expected words")
    # a TSV has the whole prompt: "... this sentence describes: <ref>the red mug</ref>."
    return [re.sub(r"</?ref>", "", _PROMPT.sub("", one)).strip() for one in found]


_PROMPT = re.compile(r"\A.*\bdescribes?: *(?=\S)|(?<=</ref>)[\s.].*\Z", re.DOTALL)


def _size(row: Mapping[str, Any]) -> tuple[float, float] | None:
    width, height = (_number(row.get(name)) for name in ("width", "height"))
    return None if width is None or height is None else (width, height)


def _box(row: Mapping[str, Any], size: tuple[float, float] | None) -> Any:
    corners = [_number(row.get(f"bbox_{side}")) for side in ("x1", "y1", "x2", "y2")]
    if None not in corners:
        return box_of(corners, size)
    if isinstance(row.get("answer"), str) and "bbox" not in row:  # a TSV: "[x1, y1, x2, y2]" in px
        return box_of(_listed(row["answer"]), size)
    return box_of(row.get("bbox"), size, xywh=True)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _listed(value: Any) -> Any:
    """A list that a cell holds as JSON, or as Python writes it."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            return json.loads(value.replace("'", '"'))
        except (ValueError, RecursionError):
            return value
    return value
