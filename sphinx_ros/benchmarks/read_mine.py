"""Your own lines of JSON -> samples: expressions with boxes, questions with answers or choices.

    {"image": "desk.jpg", "text": "the red mug", "box": [214, 80, 305, 190]}
    {"image": "desk.jpg", "text": "the green mug", "box": null}
    {"image": "desk.jpg", "question": "What colour is the mug?", "answer": "red"}
    {"image": "desk.jpg", "question": "Which is it?", "choices": ["mug", "can"], "answer": "mug"}

Paths are relative to the folder. Boxes are x0, y0, x1, y1 in pixels of the picture as viewers
show it; null says that there is no such thing. Of a list of answers each is right; ten or more are
those of people, scored as VQAv2's in a split of their own. A line may have an "id"; else it is the
number of the line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, read_lines
from sphinx_ros.benchmarks.samples import Family, PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.true_boxes import box_of
from sphinx_ros.benchmarks.word_samples import answers_of, word_sample
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import checked_text

PEOPLE = 10
"""So many answers are those of several people."""


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """All files with an object a line."""
    return sorted(folder.glob("*.jsonl"))


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All lines of all files."""
    for path in files:

        def make(pair: tuple[int, Any], path: Path = path) -> Sample:
            """One question of a row of the file, or a refusal that names it."""
            number, row = pair
            picture = pictures.find(field(row, "picture" if "picture" in row else "image", str))
            id = str(row.get("id", f"{path.stem}.{number}"))
            if "box" in row:
                boxes = () if row["box"] is None else (box_of(row["box"]),)
                text = checked_text(row.get("text"))
                given = ("boxes", id, picture, Family.BOXES, text)
                return Sample(bench.name, *given, boxes=boxes, key=f"{picture.key}_{text}_{id}")
            if "question" not in row or "answer" not in row:
                raise BadRequest(f"{quoted(row)} has neither text and box nor question and answer")
            answers = answers_of(row["answer"])
            choices = row.get("choices") or ()
            split, family = "questions", Family.EXACT
            if choices:
                split, family = "choices", Family.CHOICE
            elif len(answers) >= PEOPLE:
                split, family = "people", Family.VQA
            return word_sample(
                bench,
                split,
                id,
                picture,
                row["question"],
                row["answer"] if choices else list(answers),
                choices=choices,
                hint=row.get("hint") or "",
                key=f"{picture.key}_{row['question']}_{id}",
                family=family,
            )

        each(path, ((number, (number, row)) for number, row in read_lines(path)), make, into)
