"""Tables of the hub (parquet) and of VLMEvalKit (TSV) -> samples, by the names of their columns.

The columns are those that the hub's copies of these data sets use. Boxes of RefCOCO are x, y,
width, height in pixels in parquet files, and corners (``bbox_x1`` ...) in TSVs.
"""

from __future__ import annotations

import hashlib
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
    trouble,
)
from sphinx_ros.benchmarks.table_samples import table_samples
from sphinx_ros.errors import BadRequest, quoted

COLUMNS = (
    "id", "index", "question_id", "questionId", "question", "text", "caption", "sentence",
    "answer", "answers", "label", "multiple_choice_answer", "bbox", "image_id", "file_name",
    "width", "height", "choices", "options", "hint", "context", "category", "split", "dataset",
    "ori_category_id", "questions", "image_source",
    "A", "B", "C", "D", "E", "F", "G", "H",
)  # fmt: skip
PICTURES = ("image", "image_bytes", "picture")
"""Columns that hold pictures: the first that there is."""


OF_NAMES = {"val", "test", "testdev", "balanced", "img"}
"""What may follow the name of a data set in the name of a TSV."""

TOLD_BY = ("file_name", "image_id", "image_source", "question_id")
"""Columns of parquet files that tell whether two rows have the same picture: the first."""


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
    plain = "refcoco" if plain.startswith("refcoco") else plain
    found = []
    for path in sorted(folder.glob("*.tsv")):
        first, *others = re.split(r"[-_.]", path.stem.lower())
        if re.sub(r"\W", "", first) == plain and set(others) <= {*OF_NAMES, *bench.splits}:
            found.append(path)
    return found


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
            picture = _picture(bench, path, column, at, size, row, pictures)
            for sample in table_samples(bench, split, number, row, picture):
                into.add(sample)
        except BadRequest as error:
            into.refuse(trouble(error), f"{path.name}, row {number}: {error}")


def _split_of(bench: Benchmark, words: str) -> str | None:
    """The split that a name of a file tells: "val-00000-of-00003", "ref-l4-test"."""
    parts = [re.sub(r"20\d\d\Z", "", part.lower()) for part in re.split(r"[-_.]", words)]
    for split in bench.splits:
        if split.lower() in parts or (split == "val" and "validation" in parts):
            return split
    if bench.family is Family.YES_NO and "test" in parts:  # the rows tell
        return bench.splits[0]
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
    bench: Benchmark,
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
    told = (row.get(one) for one in TOLD_BY[: 4 if bench.family is Family.PAIRS else 3])
    name = next((one for one in told if one), f"row {at}")
    if path.suffix == ".tsv":  # the same picture stands in many rows
        name = row[column]
        if not name:
            raise BadRequest(f"the picture in column {column} is missing")
    shared = re.sub(r"_\d+(?=\.\w+\Z)", "", str(name))  # RefCOCO's: COCO_train2014_000000581857_16
    return Picture(path, f"{path.parent}/{shared}", column, at, size)
