"""One picture, looked at once, and every question about it. Knows no files and no ROS.

A question goes on from the picture's key/value prefix, so its cost is its own words and answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sphinx_ros.engine.engine import Engine, Prefix
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.checks import checked_box, checked_text, checked_tokens
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.parse import denies, parse
from sphinx_ros.prompt.results import to_detections, to_poses
from sphinx_ros.prompt.scores import geometric_mean, span_scorer
from sphinx_ros.prompt.wording import EVERYTHING, question
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Box, Detection, Pose, Results, Timing


class Seen:
    """One picture, encoded and prefilled: ask it anything. :meth:`Sphinx.look` makes it.

    Every question takes these keywords: ``max_new_tokens``; ``cancel``, a function that is asked
    before every token (True raises :class:`Cancelled`); ``timeout`` in seconds (raises
    :class:`TimedOut`); ``on_text``, called with the answer so far after every token.

    Attributes:
        width, height: of the picture, pixels. timing: milliseconds of encode and prefill.
    """

    def __init__(self, engine: Engine, prefix: Prefix, place: Letterbox, decimals: int):
        """place: where the picture lies in its square. decimals: of numbers in a question."""
        self._engine, self._prefix, self._place = engine, prefix, place
        self._decimals = decimals
        self.width, self.height = place.width, place.height
        self.timing = Timing(prefix.encode_ms, prefix.prefill_ms)

    def ground(self, text: str, **options: Any) -> Results[Detection]:
        """The box of what a sentence describes; NOT_FOUND if the model denies it."""
        wanted = checked_text(text)
        return self._boxes(Task.GROUND, question(Task.GROUND, wanted), wanted, options)

    def detect(self, label: str = EVERYTHING, **options: Any) -> Results[Detection]:
        """All things of a kind: "mug", "red mugs", "objects"."""
        wanted = checked_text(label)
        return self._boxes(Task.DETECT, question(Task.DETECT, wanted), singular(wanted), options)

    def read_text(self, **options: Any) -> Results[Detection]:
        """Written words with their boxes; the label is the text (released weights only)."""
        return self._boxes(Task.READ_TEXT, question(Task.READ_TEXT), "", options)

    def pose(self, box: Box | None = None, **options: Any) -> Results[Pose]:
        """The joints of the person in a box, or of everybody: people are then detected first."""
        if box is not None:
            return self._pose(box, options)
        deadline = Deadline(options.pop("timeout", None))
        people: Results[Any] = self.detect("person", timeout=deadline.left(), **options)
        if not people:
            return replace(people, items=())
        parts: list[Results[Any]] = [people]
        lost: list[str] = []
        for person in people:
            try:
                region = checked_box(person.box, (self.width, self.height))
                part = self._pose(region, {**options, "timeout": deadline.left()})
            except BadRequest:  # a box of no area: no region that could be asked about
                lost.append(f"{person.label} [{','.join(f'{v:g}' for v in person.box)}] px")
                continue
            except SphinxError as error:  # what was written before is not lost either
                written = [p.raw_text for p in parts] + [error.partial_text]
                error.partial_text = "\n".join(written)
                raise
            parts.append(part)
            if not part and not part.unread:
                lost.append(part.raw_text.strip())
        return _joined(parts, lost)

    def describe(self, box: Box, **options: Any) -> Answer:
        """Words for what is in a box (x0, y0, x1, y1 in source pixels)."""
        asked = question(Task.DESCRIBE, box=self._region(box), decimals=self._decimals)
        return self._words(Task.DESCRIBE, asked, options)

    def caption(self, **options: Any) -> Answer:
        """One sentence on the picture; the boxes it names are in ``detections``."""
        return self._words(Task.CAPTION, question(Task.CAPTION), options)

    def ask(self, text: str, *, short: bool = True, **options: Any) -> Answer:
        """A free question. short: ask for a word or phrase, in the official wording."""
        wanted = checked_text(text)
        return self._words(Task.ASK, question(Task.ASK, wanted) if short else wanted, options)

    def _region(self, box: Box) -> Box:
        """A box in source pixels to fractions of the square."""
        return self._place.box_to_square(checked_box(box, (self.width, self.height)))

    def _boxes(
        self, task: Task, asked: str, label: str, options: dict[str, Any]
    ) -> Results[Detection]:
        written = self._write(task, asked, **options)
        found, points, unread = to_detections(
            parse(written.text), self._place, label, score=written.score
        )
        unread += tuple(f"{p.name} [{p.x:g},{p.y:g}] px" for p in points)  # a point is no box
        return Results(found, unread=unread, **written.report(bool(found)))

    def _pose(self, box: Box, options: dict[str, Any]) -> Results[Pose]:
        asked = question(Task.POSE, box=self._region(box), decimals=self._decimals)
        written = self._write(Task.POSE, asked, **options)
        poses, unread = to_poses(parse(written.text), self._place, box, score=written.score)
        return Results(poses, unread=unread, **written.report(bool(poses)))

    def _words(self, task: Task, asked: str, options: dict[str, Any]) -> Answer:
        written = self._write(task, asked, **options)
        found, points, unread = to_detections(
            parse(written.text), self._place, "", score=written.score
        )
        text = written.text.strip()
        return Answer(
            text, found, points, unread=unread, score=written.mean, **written.report(bool(text))
        )

    def _write(
        self,
        task: Task,
        asked: str,
        *,
        max_new_tokens: int | None = None,
        cancel: Callable[[], bool] | None = None,
        timeout: float | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Written:
        """The model's words for one question, going on from the picture's prefix."""
        started, engine = time.perf_counter(), self._engine
        limit = checked_tokens(max_new_tokens or 0) or task.row.max_new_tokens
        watch = Watch(engine.ending, Deadline(timeout), cancel, on_text)
        made = engine.answer(self._prefix, asked, f"answering {task.value}", limit, watch)
        return Written(
            engine.ending.text(made.ids),
            span_scorer(made.ids, made.probabilities, engine.tokenizer.decode),
            geometric_mean(made.probabilities),
            len(made.ids),
            1e3 * (time.perf_counter() - started),
        )


def _joined(parts: list[Results[Any]], lost: list[str]) -> Results[Pose]:
    """The people, then an answer for each of them, as one result. lost: what could not be read."""
    poses = tuple(pose for part in parts for pose in part.poses)
    return Results(
        poses,
        raw_text="\n".join(part.raw_text for part in parts),
        unread=(*(text for part in parts for text in part.unread), *lost),
        status=Status.OK if poses else Status.PARSE_FAILED,
        milliseconds=sum(part.milliseconds for part in parts),
        tokens=sum(part.tokens for part in parts),
    )


@dataclass(frozen=True)
class Written:
    """The model's answer to one question.

    score: the score of a span of characters of the text. mean: geometric mean of the probabilities
    of all tokens, NaN for an empty answer.
    """

    text: str
    score: Callable[[tuple[int, int]], float]
    mean: float
    tokens: int
    milliseconds: float

    def report(self, found: bool) -> dict[str, Any]:
        """The fields that go beside the results. found: something readable was in the text."""
        status = Status.OK if found else Status.PARSE_FAILED
        if not found and denies(self.text):
            status = Status.NOT_FOUND
        return {
            "raw_text": self.text,
            "status": status,
            "milliseconds": self.milliseconds,
            "tokens": self.tokens,
        }
