"""The engine changes cost, never answers: every query of many scenes, asked in four ways.

    python bench/identity.py [--checkpoint demo] [--queries 2000] [--json FILE]

Each query is asked alone and freely; then all queries of its scene as one batch, in the language
of their tasks; then again with the answers to another scene as guesses, and with the right ones.
Words that differ from the first are counted and shown. A free answer that is not in the language
of its task (a bracket with three numbers) may differ: these are counted apart.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from sphinx_ros.engine.style import style_of
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.queries import Query
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.seen import Seen
from sphinx_ros.tasks import Language, Task
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.scenes import World

SIZES = ((640, 480), (640, 360), (480, 640))
FIRST = 1_700_000_000
"""First seed: scenes that neither training nor the evaluation has."""

ASKED = {
    "grounding": 3, "denial": 2, "worded": 0.5, "detect": 1, "detect_all": 0.3, "detect_none": 0.5,
    "count": 1, "colour": 1, "exist": 1, "caption": 0.3, "pose": 1, "describe": 1,
}  # fmt: skip
"""Queries per scene, by maker."""


def queries(scene, seed: int) -> list[Query]:
    """What is asked of a scene."""
    found = []
    for turn in turns(scene, np.random.default_rng(seed), ASKED):
        words = turn.question.split("\n")[0]
        if turn.task is Task.GROUND:
            found.append(Query(Task.GROUND, turn.target["said"]))
        elif turn.task is Task.DETECT:
            kind = words.removeprefix("Detect all ").removesuffix(" shown in the image.")
            found.append(Query(Task.DETECT, kind))
        elif turn.task in (Task.POSE, Task.DESCRIBE):
            found.append(Query(turn.task, box=tuple(turn.target["boxes"][0])))
        else:
            found.append(Query(turn.task, words if turn.task is Task.ASK else ""))
    return found


def in_language(sphinx: Sphinx, query: Query, text: str) -> bool:
    """Whether a free answer is written in the language of its task, as far as that is simple."""
    language = query.task.row.language
    if language is Language.FREE or "[" not in text:
        return True
    ids = sphinx.tokenizer.encode_segment(text.strip())
    return style_of(ids, sphinx.engine.habits.pieces, language) is not None


def main() -> None:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--queries", type=int, default=2000, metavar="N")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    sphinx = Sphinx.from_pretrained(options.checkpoint)
    plain = Sphinx(sphinx.model, sphinx.tokenizer)
    worlds = {size: World(*size) for size in SIZES}
    counts, shown, last, number = Counter(), [], None, 0
    with Progress(options.queries, "asking", "query") as bar:
        while counts["queries"] < options.queries:
            scene = worlds[SIZES[number % len(SIZES)]].observe(FIRST + number)
            asked, number = queries(scene, number), number + 1
            free = [query.put_to(plain.look(scene.rgb), free=True).raw_text for query in asked]
            batched = sphinx.look(scene.rgb)
            ways: dict[str, Seen] = {"batched": batched}
            if last is not None:
                ways["wrong guesses"] = sphinx.look(scene.rgb, after=last)
            made = {name: seen.answer(asked) for name, seen in ways.items()}
            again = sphinx.look(scene.rgb, after=batched)
            made["right guesses"] = again.answer(asked)
            last = batched
            for name, results in made.items():
                for query, one, expected in zip(asked, results, free, strict=True):
                    counts[f"{name}: passes"] += one.cost.passes
                    counts[f"{name}: tokens"] += one.cost.tokens
                    if one.raw_text == expected:
                        continue
                    known = in_language(sphinx, query, expected)
                    counts[f"{name}: {'different' if known else 'not in the language'}"] += 1
                    shown.append((name, query.line(), expected, one.raw_text))
            counts["queries"] += len(asked)
            bar.reach(min(counts["queries"], options.queries))
    for name, value in sorted(counts.items()):
        print(f"{name:34} {value:8}")
    for name, line, expected, got in shown[:20]:
        print(f"{name} | {line}\n  free {expected!r}\n  got  {got!r}")
    if options.json:
        write_text(Path(options.json), json.dumps(dict(counts), indent=1) + "\n")


if __name__ == "__main__":
    main()
