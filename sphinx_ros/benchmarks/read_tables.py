"""Tables of the hub (parquet) and of VLMEvalKit (TSV) -> samples, by the names of their columns.

The columns are those that the hub's copies of these data sets use. Boxes of RefCOCO are x, y,
width, height in pixels in parquet files, and corners (``bbox_x1`` ...) in TSVs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks import parquet_rows, tsv_rows
from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import Made, each
from sphinx_ros.benchmarks.hub_files import REFCOCO, holds_pictures, split_of
from sphinx_ros.benchmarks.json_files import id_of, read_list
from sphinx_ros.benchmarks.samples import Family, Picture, PictureFiles, Reading
from sphinx_ros.benchmarks.table_samples import table_samples
from sphinx_ros.errors import BadRequest, quoted

COLUMNS = (
    "id", "index", "question_id", "questionId", "question", "text", "caption", "sentence",
    "answer", "answers", "label", "multiple_choice_answer", "bbox", "image_id", "file_name",
    "width", "height", "choices", "options", "hint", "context", "category", "split", "dataset",
    "ori_category_id", "questions", "image_source", "imageId", "ques_type",
    "A", "B", "C", "D", "E", "F", "G", "H",
)  # fmt: skip
PICTURES = ("image", "image_bytes", "picture", "query_image")
"""Columns that hold pictures: the first that there is."""


OF_NAMES = {
    "val", "test", "testdev", "balanced", "img", "zeroshot", "random", "dataset", "yn", "strict",
}  # fmt: skip
"""What may follow the name of a data set in the name of a TSV."""

TOLD_BY = ("file_name", "image_id", "image_source", "question_id")
"""Columns of parquet files that tell whether two rows have the same picture: the first."""


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
    apart = {
        id_of(row): Picture(path, f"{path.parent}/{row.get('id')}", _column(path), number)
        for path in files
        if holds_pictures(path)
        for number, row in parquet_rows.rows(path, ("id",))
    }
    before = 0
    for path in files:
        if not holds_pictures(path):
            table = Table(bench, path, _column(path), pictures, before, apart)
            named = (f"{table.column}.path",) if table.column else PICTURES
            rows = parquet_rows.rows(path, (*COLUMNS, *named))
            before += table.read(((number, 0, row) for number, row in rows), into)


def _column(path: Path) -> str:
    """The column that holds pictures; "" where it names them."""
    known = parquet_rows.columns(path)
    column = _expected(path, known)
    return "" if known.get(column) == "text" else column


def _expected(path: Path, columns: Iterable[str]) -> str:
    """The column of pictures, or "" where one names their files. Raises BadRequest: neither."""
    found = next((one for one in PICTURES if one in columns), "")
    if not found and not {"file_name", "image_id", "imageId"} & set(columns):
        raise BadRequest(
            f"{path} has the columns {quoted(', '.join(columns))}; expected one of pictures "
            f"({', '.join(PICTURES)}), or file_name"
        )
    return found


def read_tsv(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All rows of the files."""
    for path in files:
        column = _expected(path, tsv_rows.header(path))
        table = Table(bench, path, column, pictures)
        table.read(_resolved(tsv_rows.rows(path), column), into)


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
        rows = enumerate(read_list(path))
        Table(bench, path, "", pictures).read(((number, 0, row) for number, row in rows), into)


@dataclass(frozen=True)
class Table:
    """A file with named columns.

    column: that holds pictures; "" where rows name files. before: rows of the files before this
    one, so that no two rows without an id have the same number. apart: id -> picture in another
    file.
    """

    bench: Benchmark
    path: Path
    column: str
    pictures: PictureFiles
    before: int = 0
    apart: Mapping[Any, Picture] = field(default_factory=dict)

    def read(self, rows: Iterator[tuple[int, int, Mapping[str, Any]]], into: Reading) -> int:
        """Samples of (place, size, row) each; the number of rows."""
        number = 0
        for number, placed in enumerate(rows, 1):
            each(self.path, [(number - 1, (number - 1, *placed))], self._samples, into)
        return number

    def _samples(self, placed: tuple[int, int, int, Any]) -> Iterable[Made]:
        """The samples of (number, place, size, row)."""
        number, at, size, row = placed
        if not isinstance(row, Mapping):
            raise BadRequest(f"{quoted(row)} is no row with named columns")
        split = _split_of_row(self.bench, self.path, row)
        if split is None or _not_asked(self.bench, row, self.column):
            return ()
        picture = self._picture(at, size, row)
        return table_samples(self.bench, split, self.before + number, row, picture)

    def _picture(self, at: int, size: int, row: Mapping[str, Any]) -> Picture:
        """The picture of a row: in the table, in another, or a file that the row names."""
        if self.apart:
            if row.get("imageId") not in self.apart:
                raise BadRequest(f"the picture {quoted(row.get('imageId'))} is missing")
            return self.apart[row["imageId"]]
        if not self.column:
            names = (row.get(one) for one in ("file_name", *PICTURES, "image_id"))
            return self.pictures.find(next((one for one in names if one), None))
        if row.get(self.column, "") is None:
            raise BadRequest(f"the picture in column {self.column} is missing")
        told = (row.get(one) for one in TOLD_BY[: 4 if self.bench.family is Family.PAIRS else 3])
        name = next((one for one in told if one), f"row {at}")
        if self.path.suffix == ".tsv":  # the same picture stands in many rows
            name = row[self.column]
            if not name:
                raise BadRequest(f"the picture in column {self.column} is missing")
        shared = _without_thing(str(name)) if self.bench.name in REFCOCO else name
        return Picture(self.path, f"{self.path.parent}/{shared}", self.column, at, size)


def _without_thing(name: str) -> str:
    """The picture's name in that of one of its things: COCO_train2014_000000581857_16.jpg."""
    return re.sub(r"(?<=\d{12})_\d+(?=\.\w+\Z)", "", name)


def _not_asked(bench: Benchmark, row: Mapping[str, Any], column: str) -> bool:
    """Whether a row is of a kind that is not measured: no picture, choices that are pictures."""
    if bench.name == "scienceqa":
        return bool(column) and row.get(column, "") is None
    return bench.name == "iconqa" and row.get("ques_type") not in (None, "choose_txt")


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
    if bench.name == "vsr" and path.suffix == ".tsv":  # VLMEvalKit's
        return "test"
    of_file = split_of(bench, path)
    return of_file or (bench.splits[0] if len(bench.splits) == 1 else None)
