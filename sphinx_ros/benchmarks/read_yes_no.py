"""The files of POPE and MME -> samples: questions that yes or no answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, read_lines
from sphinx_ros.benchmarks.read_words import first
from sphinx_ros.benchmarks.samples import PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest


def find_pope(bench: Benchmark, folder: Path) -> list[Path]:
    """A file of each split."""
    found = [
        first(folder, f"coco_pope_{split}.json", f"*/coco_pope_{split}.json")
        for split in bench.splits
    ]
    return [path for files in found for path in files]


def read_pope(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All questions: {question_id, image, text, label} a line."""
    for path in files:
        split = path.stem.rpartition("_")[2]

        def make(row: Any, split: str = split) -> Sample:
            """One question of a row of the file, or a refusal that names it."""
            picture, text = pictures.find(field(row, "image", str)), field(row, "text", str)
            id = field(row, "question_id", (int, str))
            key = f"{picture.path.name}_{text}_{id}"
            return word_sample(bench, split, id, picture, text, row.get("label"), key=key)

        each(path, read_lines(path), make, into)


def find_mme(bench: Benchmark, folder: Path) -> list[Path]:
    """The texts of all parts: PART/NAME.txt, or PART/questions_answers_YN/NAME.txt."""
    for place in (folder, folder / "MME_Benchmark_release_version"):
        files = sorted({*place.glob("*/*.txt"), *place.glob("*/questions_answers_YN/*.txt")})
        files = [path for path in files if "\t" in _text(path)]
        if files:
            return files
    return []


def read_mme(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All questions: two lines "question<TAB>answer" a picture."""
    for path in files:
        nested = path.parent.name == "questions_answers_YN"
        part = (path.parent.parent if nested else path.parent).name

        def make(
            pair: tuple[int, str], path: Path = path, part: str = part, nested: bool = nested
        ) -> Sample:
            """One question of a row of the file, or a refusal that names it."""
            number, line = pair
            text, tab, answer = line.rpartition("\t")
            if not tab:
                raise BadRequest("no tab between the question and its answer")
            place = f"{part}/images" if nested else part
            picture = None
            for suffix in (".jpg", ".png", ".jpeg"):
                try:
                    picture = pictures.find(f"{place}/{path.stem}{suffix}")
                    break
                except BadRequest:
                    continue
            if picture is None:
                raise BadRequest(f"{place}/{path.stem}.jpg is missing")
            id = f"{part}.{path.stem}.{number}"
            key = f"{picture.path}_{text}_{number}"
            given = bench, bench.splits[0], id, picture, text, answer
            return word_sample(*given, key=key, group=part)

        lines = [line for line in _text(path).splitlines() if line.strip()]
        each(path, ((n, (n, line)) for n, line in enumerate(lines)), make, into)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}") from None
