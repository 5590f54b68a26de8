"""The JSON of the official evaluation (LLaMA2-Accessory, ``accessory/eval_mm``) -> samples.

A list of rows {image_path, question, question_id, gt_answers[, hint, choices]}. Of referring
expressions question_id is "height{H}_width{W}", which many rows share, and gt_answers the box in
pixels; so the number of the row is the id here. Of VQAv2, OK-VQA, TextVQA and VizWiz gt_answers
is one answer, and those of ten people are looked up in the file that the official script reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, id_of, read_list
from sphinx_ros.benchmarks.read_words import answers_of_people, first_of, people_files
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.true_boxes import box_of
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.wording import TRUE_OR_FALSE

_SIZE = re.compile(r"height(\d+)_width(\d+)\Z")
_STATEMENT = re.compile(
    re.escape(TRUE_OR_FALSE).replace(re.escape("{text}"), "(.*)") + r"\Z", re.DOTALL
)
_LETTERED = re.compile(
    r"Context:\n(.*?)\nQuestion:\n(.*?)\nChoices:\n((?:[A-Z]\. [^\n]*\n?)+)", re.DOTALL
)
"""A question that holds its choices already, as those of ScienceQA."""


def _named(bench: Benchmark, split: str) -> list[str]:
    """The official names of a split's file, and what other names begin with."""
    if bench.name == "mme":
        return ["MME_benchmark.json"]
    return [f"{bench.name}_{split}.json", f"{bench.name}_{split}*.json"]


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The files of the splits; where people's answers are apart, these behind them."""
    places = (folder, folder / "annotations", folder / bench.name)
    found = []
    for split in bench.splits:
        for place in places:
            files = [f for name in _named(bench, split) for f in sorted(place.glob(name))]
            files = [f for f in files if not f.stem.endswith(("_annotations", "_questions"))]
            if files:
                found.append(files[0])
                break
    if found and bench.family is Family.VQA:
        found += first_of(people_files(bench, p) for p in (*places, folder / "data" / bench.name))
    return found


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All rows of the files."""
    people = {}
    if len(files) > len(bench.splits):
        *files, answered = files
        people = answers_of_people(answered)
    for path in files:
        split = next((s for s in bench.splits if f"_{s}" in path.stem), bench.splits[0])
        rows = ((number, (number, row)) for number, row in enumerate(read_list(path)))

        def make(pair: tuple[int, Any], split: str = split) -> Sample:
            """The question of a row, or a refusal that names it."""
            return _sample(bench, split, *pair, pictures, people)

        each(path, rows, make, into)


def _sample(
    bench: Benchmark,
    split: str,
    number: int,
    row: Any,
    pictures: PictureFiles,
    people: Mapping[Any, Any],
) -> Sample:
    path = field(row, "image_path", str)
    text, name = field(row, "question", str), row.get("question_id", -1)
    key = f"{path}_{text}_{name}"
    picture = pictures.find(path)
    if bench.family is Family.BOXES:
        said = _SIZE.search(str(name))
        if said is None:
            raise BadRequest(f"question_id is {name!r}; expected height480_width640")
        size = int(said[2]), int(said[1])
        box = box_of(row.get("gt_answers"), size)
        given = (split, str(number), picture, Family.BOXES, text)
        return Sample(bench.name, *given, boxes=(box,), key=key, more={"size": size})
    if bench.wording == TRUE_OR_FALSE and (bare := _STATEMENT.match(text)):
        text = bare[1]
    choices, hint, prompt = row.get("choices") or (), row.get("hint") or "", ""
    if bench.family is Family.CHOICE and not choices and (told := _LETTERED.match(text)):
        prompt, hint, text = text, told[1], told[2]
        choices = [line.partition(". ")[2] for line in told[3].strip().split("\n")]
    made = word_sample(
        bench,
        split,
        number,
        picture,
        text,
        people.get(id_of(row, "question_id")) or row.get("gt_answers"),
        choices=choices,
        hint=hint,
        key=key,
        group=_part(Path(path)) if bench.family is Family.PAIRS else "",
    )
    return replace(made, more={"prompt": prompt}) if prompt else made


def _part(path: Path) -> str:
    """MME's part that a picture belongs to: PART/NAME.png, or PART/images/NAME.jpg."""
    folder = path.parent
    return (folder.parent if folder.name == "images" else folder).name
