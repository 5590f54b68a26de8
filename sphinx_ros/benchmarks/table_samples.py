"""A row of a table of the hub or of VLMEvalKit -> samples, by the names of its columns."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.each_row import Made, tried
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.benchmarks.true_boxes import box_of, is_number
from sphinx_ros.benchmarks.word_samples import word_sample
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.wording import TRUE_OR_FALSE

ANSWERS = ("answers", "answer", "multiple_choice_answer", "label")
IDS = ("id", "index", "question_id", "questionId")


def table_samples(
    bench: Benchmark, split: str, number: int, row: Mapping[str, Any], picture: Picture
) -> Iterator[Made]:
    """The questions of a row; some have several about one picture, or expressions for one box.

    number: of the row. Raises BadRequest: none can be used; of several each may be refused.
    """
    id = next((row[k] for k in IDS if row.get(k) not in (None, "")), number)
    if bench.family is Family.BOXES:
        yield from _boxes(bench, split, number, id, row, picture)
        return
    if isinstance(row.get("questions"), list):  # OCR-VQA: all questions about a cover
        answers = row.get("answers") or []
        if len(answers) != len(row["questions"]):
            raise BadRequest(f"{len(row['questions'])} questions and {len(answers)} answers")
        for place, (text, answer) in enumerate(zip(row["questions"], answers, strict=True)):
            name = f"{id}.{place}"
            key = f"{picture.key}_{text}_{name}"
            yield tried(word_sample, bench, split, name, picture, text, answer, key=key)
        return
    text = row.get("question") or row.get("text") or row.get("caption")
    choices = row.get("choices") or row.get("options") or ()
    if bench.name == "iconqa" and isinstance(choices, str):  # "turn,slide,flip"
        choices = choices.split(",") if isinstance(listed(choices), str) else choices
    if not choices and bench.family is Family.CHOICE:
        choices = [row[letter] for letter in "ABCDEFGH" if row.get(letter)]
    answer = next((row[k] for k in ANSWERS if row.get(k) is not None), None)
    more: dict[str, Any] = {}
    if bench.wording == TRUE_OR_FALSE and str(answer) in ("0", "1"):
        answer = "true" if str(answer) == "1" else "false"
    elif bench.wording == TRUE_OR_FALSE and str(answer).lower() in ("yes", "no"):
        more["prompt"] = text  # VLMEvalKit's has questions in place of statements
    pairs = bench.family is Family.PAIRS
    if pairs:  # both questions about a picture have its name
        id = f"{id}.{number}"
    made = word_sample(
        bench,
        split,
        id,
        picture,
        text,
        listed(answer),
        choices=listed(choices),
        hint=row.get("hint") or row.get("context") or "",
        key=f"{picture.key}_{text}_{id}",
        group=str(row.get("category") or "") if pairs else "",
    )
    yield replace(made, more=more)


def _boxes(
    bench: Benchmark,
    split: str,
    number: int,
    id: Any,
    row: Mapping[str, Any],
    picture: Picture,
) -> Iterator[Made]:
    box, texts = _box(row), _expressions(row)
    size = _size(row)
    more = {"category": str(row.get("ori_category_id", ""))} | ({"size": size} if size else {})

    def make(part: str, given: Any) -> Sample:
        words = _expression(given)
        key = f"{picture.key}_{words}"  # a picture has one size
        named = (split, part, picture, Family.BOXES, words)
        return Sample(bench.name, *named, boxes=(box,), key=key, more=more)

    for place, given in enumerate(texts):
        part = f"{number}" if len(texts) == 1 else f"{number}.{place}"
        yield tried(make, str(id) if bench.name == "ref-l4" else part, given)


def _expressions(row: Mapping[str, Any]) -> list[Any]:
    """What is said of the box of a row, unchecked."""
    given = row.get("answer") if isinstance(row.get("answer"), list) else None
    return given or [row.get("sentence") or row.get("caption") or row.get("question")]


def _expression(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise BadRequest(f"the expression is {quoted(given)}; expected words")
    # a TSV has the whole prompt: "... this sentence describes: <ref>the red mug</ref>."
    return re.sub(r"</?ref>", "", _PROMPT.sub("", given)).strip()


_PROMPT = re.compile(r"\A.*\bdescribes?: *(?=\S)|(?<=</ref>)[\s.].*\Z", re.DOTALL)


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height, px; None where the row tells none."""
    width, height = (_number(row.get(name)) for name in ("width", "height"))
    if width is None or height is None or not is_number(width) or not is_number(height):
        return None
    return int(width), int(height)


def _box(row: Mapping[str, Any]) -> Any:
    size = _size(row)
    corners = [_number(row.get(f"bbox_{side}")) for side in ("x1", "y1", "x2", "y2")]
    if None not in corners:
        return box_of(corners, size)
    if isinstance(row.get("answer"), str) and "bbox" not in row:  # a TSV: "[x1, y1, x2, y2]" in px
        return box_of(listed(row["answer"]), size)
    return box_of(row.get("bbox"), size, xywh=True)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def listed(value: Any) -> Any:
    """A list that a cell holds as JSON, or as Python writes it; anything else as it is."""
    if isinstance(value, str) and value.strip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return found
    return value
