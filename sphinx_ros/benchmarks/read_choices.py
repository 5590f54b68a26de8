"""The folders of ScienceQA and IconQA -> samples: questions with choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, field_list, read_json
from sphinx_ros.benchmarks.read_words import first
from sphinx_ros.benchmarks.samples import PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest, quoted


def find_scienceqa(bench: Benchmark, folder: Path) -> list[Path]:
    """The problems and their splits."""
    problems = first(folder, "problems.json", "*/problems.json")
    splits = first(folder, "pid_splits.json", "*/pid_splits.json")
    return problems + splits if problems and splits else []


def read_scienceqa(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """The problems of the split that have a picture, as the official evaluation takes them."""
    problems, splits = (read_json(path) for path in files)
    split = bench.splits[0]
    if not isinstance(problems, dict) or not isinstance(splits, dict):
        raise BadRequest(f"{files[0]} and {files[1]} are not those of ScienceQA")

    def make(pair: tuple[str, Any]) -> Sample | list[Sample]:
        """One question of a row of the file, or a refusal that names it."""
        id, row = pair
        if not isinstance(row, dict):
            raise BadRequest(f"problem {quoted(id)} is not in {files[0].name}")
        if not row.get("image"):
            return []
        picture = pictures.find(f"{split}/{id}/{row['image']}")
        text = field(row, "question", str)
        return word_sample(
            bench, split, id, picture, text, field(row, "answer", int),
            choices=row.get("choices"), hint=row.get("hint"),
            key=f"{picture.path.parent.name}_{text}_{id}",
        )  # fmt: skip

    ids = field_list(splits, split, files[1])
    each(files[0], ((id, (str(id), problems.get(str(id)))) for id in ids), make, into)


def find_iconqa(bench: Benchmark, folder: Path) -> list[Path]:
    """The data.json of all questions whose choices are words."""
    found: list[Path] = []
    for split in bench.splits:
        for place in (folder, folder / "iconqa_data" / "iconqa"):
            found += sorted((place / split / "choose_txt").glob("*/data.json"))
    return found


def read_iconqa(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """All questions."""

    def make(path: Path) -> Sample:
        """One question of a row of the file, or a refusal that names it."""
        row, id = read_json(path), path.parent.name
        split = path.parent.parent.parent.name
        picture = pictures.find(f"{split}/choose_txt/{id}/image.png")
        text = field(row, "question", str)
        return word_sample(
            bench, split, id, picture, text, field(row, "answer", int),
            choices=row.get("choices"), key=f"{id}_{text}",
        )  # fmt: skip

    for path in files:
        each(path, [(path.parent.name, path)], make, into)
