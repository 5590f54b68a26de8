"""Each data set's own files of questions -> samples: VQAv2, OK-VQA, GQA, VizWiz, TextVQA and more.

One reader for each layout; what their files look like is said beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import Made, each, tried
from sphinx_ros.benchmarks.json_files import field, id_of, read_json, read_lines, read_list
from sphinx_ros.benchmarks.samples import PictureFiles, Reading, Sample
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest, quoted


def first(folder: Path, *patterns: str) -> list[Path]:
    """The first file that a pattern finds, of the first pattern that finds any."""
    for pattern in patterns:
        if files := sorted(folder.glob(pattern)):
            return files[:1]
    return []


# VQAv2 and OK-VQA: {"questions": [{image_id, question, question_id}]} and
# {"annotations": [{question_id, answers: [{answer}]}]}; pictures COCO_val2014_%012d.jpg


def first_of(found: Iterable[list[Path]]) -> list[Path]:
    """The first list that is not empty."""
    return next((paths for paths in found if paths), [])


def _vqa_files(bench: Benchmark, folder: Path, what: str) -> list[Path]:
    """The file of questions or of annotations of VQAv2 (v2_...) or of another in its form."""
    patterns = [f"*{what}*val*.json", f"*val*{what}*.json", f"*{what}*.json"]
    found = first_of(sorted(folder.glob(pattern)) for pattern in patterns)
    second = [path for path in found if path.name.startswith("v2_")]
    if bench.name == "okvqa":
        return [path for path in found if path not in second][:1]
    return (second or found)[:1]


def people_files(bench: Benchmark, folder: Path) -> list[Path]:
    """The file of annotations, in the form of VQAv2's."""
    return _vqa_files(bench, folder, "annotations")


def answers_of_people(path: Path) -> dict[Any, Any]:
    """Question -> what people answered. Raises BadRequest."""
    rows = [row for row in read_list(path, "annotations") if id_of(row, "question_id") is not None]
    return {id_of(row, "question_id"): row.get("answers") for row in rows}


def find_vqa(bench: Benchmark, folder: Path) -> list[Path]:
    """Questions and annotations."""
    questions, answers = _vqa_files(bench, folder, "questions"), people_files(bench, folder)
    return questions + answers if questions and answers else []


def read_vqa(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All questions that have answers."""
    asked, answered = files
    answers = answers_of_people(answered)

    def make(row: Any) -> Sample:
        """One question of a row of the file, or a refusal that names it."""
        id, image = field(row, "question_id", (int, str)), field(row, "image_id", (int, str))
        text = field(row, "question", str)
        truth = answers.get(id)
        if truth is None:
            raise BadRequest(f"question {id} has no answer in {answered.name}")
        picture = pictures.find(_coco_name(image, pictures))
        key = f"{picture.path.name}_{text}_{id}"
        return word_sample(bench, "val", id, picture, text, truth, key=key)

    each(asked, enumerate(read_list(asked, "questions")), make, into)


def _coco_name(image: int | str, pictures: PictureFiles) -> str:
    """The file of a number: COCO's own name of 2014, else that of 2017, else the number."""
    if isinstance(image, str) and not image.isdecimal():
        return image
    number = int(image)
    names = (f"COCO_val2014_{number:012d}.jpg", f"{number:012d}.jpg", f"{number}.jpg")
    for name in (*names, *(one.replace(".jpg", ".png") for one in names)):
        try:
            pictures.find(name)
            return name
        except BadRequest:
            continue
    return names[0]


# GQA: {id: {imageId, question, answer}}


def find_gqa(bench: Benchmark, folder: Path) -> list[Path]:
    """The balanced questions."""
    split = bench.splits[0]
    return first(folder, f"{split}_balanced_questions.json", f"*/{split}_balanced_questions.json")


def read_gqa(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All questions."""
    (path,) = files
    rows = read_json(path)
    if not isinstance(rows, dict):
        raise BadRequest(f"{path} holds {quoted(rows)}; expected questions by their ids")

    def make(pair: tuple[str, Any]) -> Sample:
        """One question of a row of the file, or a refusal that names it."""
        id, row = pair
        text = field(row, "question", str)
        picture = pictures.find(_with_suffix(field(row, "imageId", str), pictures))
        key = f"{picture.path.name}_{text}_{id}"
        return word_sample(bench, bench.splits[0], id, picture, text, row.get("answer"), key=key)

    each(path, ((id, (id, row)) for id, row in rows.items()), make, into)


def _with_suffix(name: str, pictures: PictureFiles) -> str:
    for suffix in (".jpg", ".png", ".jpeg"):
        try:
            pictures.find(name + suffix)
            return name + suffix
        except BadRequest:
            continue
    return name + ".jpg"


# VizWiz: [{image, question, answers: [{answer}]}]


def find_vizwiz(bench: Benchmark, folder: Path) -> list[Path]:
    """The annotations."""
    return first(folder, "val.json", "Annotations/val.json", "annotations/val.json")


def read_vizwiz(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """All questions."""
    (path,) = files

    def make(pair: tuple[int, Any]) -> Sample:
        """One question of a row of the file, or a refusal that names it."""
        number, row = pair
        picture, text = pictures.find(field(row, "image", str)), field(row, "question", str)
        key = f"{picture.path.name}_{text}_{number}"
        return word_sample(bench, "val", number, picture, text, row.get("answers"), key=key)

    rows = enumerate(read_list(path))
    each(path, ((number, (number, row)) for number, row in rows), make, into)


# TextVQA: {"data": [{image_id, question, question_id, answers: [words]}]}


def find_textvqa(bench: Benchmark, folder: Path) -> list[Path]:
    """The annotations."""
    return first(folder, "TextVQA_0.5.1_val.json", "TextVQA*val*.json")


def read_textvqa(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """All questions."""
    (path,) = files

    def make(row: Any) -> Sample:
        """One question of a row of the file, or a refusal that names it."""
        picture = pictures.find(_with_suffix(field(row, "image_id", str), pictures))
        text, id = field(row, "question", str), field(row, "question_id", (int, str))
        key = f"{picture.path.name}_{text}_{id}"
        return word_sample(bench, "val", id, picture, text, row.get("answers"), key=key)

    each(path, enumerate(read_list(path, "data")), make, into)


# OCR-VQA: {id: {imageURL, questions: [...], answers: [...], split: 1 train, 2 val, 3 test}}


def find_ocrvqa(bench: Benchmark, folder: Path) -> list[Path]:
    """The one file."""
    return first(folder, "dataset.json")


def read_ocrvqa(
    bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading
) -> None:
    """All questions of the splits that are measured."""
    (path,) = files
    rows = read_json(path)
    if not isinstance(rows, dict):
        raise BadRequest(f"{path} holds {quoted(rows)}; expected books by their ids")

    def make(pair: tuple[str, Any]) -> list[Made]:
        """The questions about a cover, each or a refusal that names it."""
        id, row = pair
        split = {2: "val", 3: "test"}.get(field(row, "split", int))
        if split is None:
            return []
        asked, answers = field(row, "questions", list), field(row, "answers", list)
        if len(asked) != len(answers):
            raise BadRequest(f"{len(asked)} questions and {len(answers)} answers")
        picture = pictures.find(_with_suffix(id, pictures))
        return [
            tried(
                word_sample, bench, split, f"{id}.{n}", picture, text, answer,
                key=f"{picture.path.name}_{text}_{id}.{n}",
            )
            for n, (text, answer) in enumerate(zip(asked, answers, strict=True))
        ]  # fmt: skip

    each(path, ((id, (id, row)) for id, row in rows.items()), make, into)


# VSR: {image, caption, label: 0 or 1} a line


def find_vsr(bench: Benchmark, folder: Path) -> list[Path]:
    """The splits that are there: dev.jsonl is val."""
    found = [first(folder, f"{n}.jsonl", f"*/{n}.jsonl") for n in ("dev", "val", "test")]
    return [path for files in found for path in files]


def read_vsr(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All statements."""
    for path in files:
        split = "test" if path.stem == "test" else "val"

        def make(pair: tuple[int, Any], split: str = split) -> Sample:
            """One question of a row of the file, or a refusal that names it."""
            number, row = pair
            picture, text = pictures.find(field(row, "image", str)), field(row, "caption", str)
            if row.get("label") not in (0, 1):
                raise BadRequest(f"label is {quoted(row.get('label'))}; expected 0 or 1")
            answer = "true" if row["label"] else "false"
            key = f"{picture.path.name}_{text}_{number}"
            return word_sample(bench, split, number, picture, text, answer, key=key)

        each(path, ((number, (number, row)) for number, row in read_lines(path)), make, into)
