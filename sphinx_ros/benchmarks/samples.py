"""Rows of data sets -> samples: one question about one picture, with its true answer.

Imports no torch. What can't be used is refused by name and counted; the rest goes on.
"""

from __future__ import annotations

import base64
import binascii
import functools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.types import Box

TOLD = 100
"""Refused rows that are told one by one; all are counted."""


class Family(str, Enum):
    """How the answers to a sample are scored; the value is part of the names of scores."""

    BOXES = "boxes"  # one expression, one box or none
    DETECT = "detect"  # all things of a category: average precision
    POSE = "pose"  # the joints of everybody: average precision by OKS
    VQA = "vqa"  # agreement with ten people, min(n / 3, 1)
    EXACT = "exact"  # the same words
    CHOICE = "choice"  # the letter of one of several answers
    YES_NO = "yes_no"  # yes or no, with the share of yes: POPE
    PAIRS = "pairs"  # yes or no, two questions a picture: MME


@dataclass(frozen=True)
class Picture:
    """Where the bytes of a picture are.

    path: its file, or the file that holds it. column: of a table that holds it as base64 (TSV) or
    as bytes (parquet); "" where the file is the picture. at, size: place of the row in a TSV,
    bytes; number of the row in a parquet file. key: the same for the same picture, for who shares
    a look.
    """

    path: Path
    key: str
    column: str = ""
    at: int = 0
    size: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.path.name}, row {self.at}" if self.column else self.path.name

    def read(self) -> bytes:
        """The picture's file.

        Raises:
            BadRequest: it can't be read.
        """
        try:
            if not self.column:
                return self.path.read_bytes()
            if self.path.suffix == ".parquet":
                from sphinx_ros.benchmarks.parquet_rows import picture_bytes

                return picture_bytes(self.path, self.column, self.at)
            return _of_tsv(self.path, self.column, self.at, self.size)
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise BadRequest(f"{self.path} can't be read: {said}") from None


def _of_tsv(path: Path, column: str, at: int, size: int) -> bytes:
    """The picture in a row of a TSV."""
    from sphinx_ros.benchmarks.tsv_rows import cells, header

    with open(path, "rb") as file:
        file.seek(at)
        row = dict(zip(_header(path, header), cells(file.read(size)), strict=False))
    return decoded(row.get(column, ""))


def decoded(text: str) -> bytes:
    """Base64 -> bytes. Raises BadRequest."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{quoted(text, 40)} is no picture in base64") from None


@functools.lru_cache(maxsize=4)
def _header(path: Path, read: Any) -> tuple[str, ...]:
    return tuple(read(path))


@dataclass(frozen=True)
class Sample:
    """One question about one picture.

    Attributes:
        dataset, split: as people call them. id: unique among these.
        family: how its answer is scored.
        text: the expression, the question without any ending, or the category.
        boxes: what is true, x0, y0, x1, y1 in pixels of the picture; none: there is no such thing.
        answers: what is true, in words. choices: of a question with choices, in their order.
        hint: what is told before the question.
        key: what the official script takes for one and the same question.
        group: a part of the split that is scored by itself, as "popular" of POPE.
        more: what else is known, as plain values: "size", (width, height) of the picture where the
            data tells it, px; of each box "crowd", whether it stands for many things, and
            "keypoints", 17 times x, y, v; "published", False where published figures are of other
            splits; the rest belongs to one data set.
    """

    dataset: str
    split: str
    id: str
    picture: Picture
    family: Family
    text: str
    boxes: tuple[Box, ...] = ()
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    hint: str = ""
    key: str = ""
    group: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Data set, split and id."""
        return f"{self.dataset}.{self.split} {self.id}"

    @property
    def sought(self) -> tuple[Box, ...]:
        """The boxes that are to be found: no crowds, and of people those with a labelled joint."""
        crowds = self.more.get("crowd") or [0] * len(self.boxes)
        joints = self.more.get("keypoints")
        return tuple(
            box
            for number, box in enumerate(self.boxes)
            if not crowds[number]
            and (joints is None or any(seen > 0 for seen in joints[number][2::3]))
        )

    @property
    def crowds(self) -> tuple[Box, ...]:
        """The boxes of many things together, in which any number of answers is neither right nor
        wrong.
        """
        marked = zip(self.boxes, self.more.get("crowd", ()), strict=False)
        return tuple(box for box, crowd in marked if crowd)


@dataclass
class Reading:
    """What was read of a data set's folder.

    samples: in the order of the files. refused: kind of trouble -> number of rows. told: the
    first of them, one sentence each. files: that were read. remarks: what else is to be known of
    the figures.
    """

    samples: list[Sample] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _ids: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, sample: Sample) -> None:
        """Take a sample; a second one of the same id is refused."""
        name = (sample.dataset, sample.split, sample.id)
        if name in self._ids:
            self.refuse("duplicate id", f"{sample.name}: there is another row of this id")
            return
        self._ids.add(name)
        self.samples.append(sample)

    def refuse(self, kind: str, said: str) -> None:
        """A row that can't be used."""
        self.refused[kind] += 1
        if len(self.told) < TOLD:
            self.told.append(f"{kind}: {said}")

    @property
    def summary(self) -> str:
        """ "3 rows refused: 2 missing picture, 1 wrong box", or ""."""
        if not self.refused:
            return ""
        parts = ", ".join(f"{number} {kind}" for kind, number in sorted(self.refused.items()))
        return f"{sum(self.refused.values())} rows refused: {parts}"


class PictureFiles:
    """Names of pictures, as data sets write them -> files below a folder.

    folder: of the data set. images: where pictures are as well, or None.
    """

    USUAL = (
        "", "images", "images/mscoco/images/train2014", "images/train2014", "train2014", "val2014",
        "train2017", "val2017", "images/val2014", "images/val2017", "coco/train2014",
        "coco/val2014", "test", "val", "train_images", "images/train_images", "JPEGImages",
    )  # fmt: skip
    """Folders of pictures inside the folders of data sets."""

    def __init__(self, folder: Path, images: Path | None = None):
        self._roots = [root for root in (images, folder) if root is not None]
        self._known: str | None = None

    def find(self, name: object) -> Picture:
        """The picture of a name or path; of a path that is not here its last parts are tried.

        Raises:
            BadRequest: there is none, or the name leads out of the folder.
        """
        if not isinstance(name, str) or not name or "\x00" in name:
            raise BadRequest(f"{quoted(name)} is no name of a picture")
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if ".." in parts:
            raise BadRequest(f"{quoted(name)} leads out of the folder of the pictures")
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        places = [self._known] if self._known is not None else []
        for root in self._roots:
            places += [os.path.join(root, usual) for usual in self.USUAL]
        for tail in tails:
            for place in places:
                path = os.path.join(place, tail)
                if os.path.isfile(path):
                    self._known = place
                    return Picture(Path(path), key=os.path.normpath(path))
        raise BadRequest(f"{self._roots[-1] / '/'.join(parts)} is missing")
