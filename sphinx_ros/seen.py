"""One picture, looked at once, and every question about it. Knows no files and no ROS.

A question goes on from the picture's key/value prefix, so its cost is its own words and answer.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from sphinx_ros.engine.prefix import common_length, question_prefix
from sphinx_ros.engine.rows import decode
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.parse import denies, parse
from sphinx_ros.prompt.results import to_detections, to_poses
from sphinx_ros.prompt.scores import span_scorer
from sphinx_ros.prompt.wording import question
from sphinx_ros.runtime.memory import memory_named
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Box, Detection, Pose, Results, Timing

MAX_TEXT = 1000
"""Characters a question may have; longer ones are refused before the model sees them."""

ROOM = 768
"""Positions kept for a question and its answer behind the prefix of a picture."""

NEW_TOKENS = {Task.GROUND: 96, Task.DETECT: 320, Task.POSE: 320, Task.DESCRIBE: 64,
              Task.CAPTION: 320, Task.ASK: 64, Task.READ_TEXT: 512}  # fmt: skip
"""Default limit of new tokens by task."""


class Seen:
    """One picture, encoded and prefilled: ask it anything. Made by :meth:`Sphinx.look`.

    Every question takes these keywords: ``max_new_tokens``; ``cancel``, a function that is asked
    before every token (True raises :class:`Cancelled`); ``timeout`` in seconds (raises
    :class:`TimedOut`); ``on_text``, called with the answer so far after every token.

    Attributes:
        width, height: of the picture, pixels. timing: milliseconds of encode and prefill.
    """

    def __init__(self, sphinx, rgb: np.ndarray):
        self._sphinx = sphinx
        started = time.perf_counter()
        with sphinx._lock, memory_named("looking at a picture"), torch.inference_mode():
            image = sphinx.encode(rgb)
            encoded = time.perf_counter()
            self.height, self.width = rgb.shape[:2]
            self._place = Letterbox.of(self.width, self.height)
            self._ids = question_prefix(sphinx.tokenizer)
            self._words = image.shape[1]
            start = len(self._ids) + self._words
            length = min(sphinx.config.max_seq_len, start + ROOM)
            if length - start < 32:
                raise BadRequest(
                    f"max_seq_len {length} leaves {length - start} positions for a question behind"
                    f" the picture's {start}; allow at least {start + 32}"
                )
            self._cache = sphinx.model.new_cache(1, length)
            tokens = torch.tensor([self._ids], device=sphinx.device)
            sphinx.model.hidden(sphinx.model.embed(tokens, image), cache=self._cache)
        finished = time.perf_counter()
        self.timing = Timing(encode=1e3 * (encoded - started), prefill=1e3 * (finished - encoded))

    def ground(self, text: str, **options) -> Results[Detection]:
        """The box of what a sentence describes; NOT_FOUND if the model denies it."""
        wanted = checked(text)
        return self._boxes(Task.GROUND, question(Task.GROUND, wanted), wanted, options)

    def detect(self, label: str = "objects", **options) -> Results[Detection]:
        """All things of a kind: "mug", "red mugs", "objects"."""
        wanted = checked(label)
        return self._boxes(Task.DETECT, question(Task.DETECT, wanted), singular(wanted), options)

    def read_text(self, **options) -> Results[Detection]:
        """Written words with their boxes; the label is the text (released weights only)."""
        return self._boxes(Task.READ_TEXT, question(Task.READ_TEXT), "", options)

    def pose(self, box: Box | None = None, **options) -> Results[Pose]:
        """The joints of the person in a box, or of everybody: people are then detected first."""
        if box is not None:
            return self._pose(box, options)
        deadline = Deadline(options.pop("timeout", None))
        people = self.detect("person", timeout=deadline.left(), **options)
        if not people:
            return Results((), **dataclasses.asdict(people.report))
        parts: list[Results[Pose]] = []
        for person in people:
            try:
                parts.append(self._pose(person.box, {**options, "timeout": deadline.left()}))
            except SphinxError as error:  # what was written before is not lost either
                written = [p.raw_text for p in (people, *parts)] + [error.partial_text]
                error.partial_text = "\n".join(written)
                raise
        poses = [pose for part in parts for pose in part]
        return Results(
            poses,
            raw_text="\n".join(p.raw_text for p in (people, *parts)),
            unread=sum((p.unread for p in (people, *parts)), ()),
            status=Status.OK if poses else Status.PARSE_FAILED,
            milliseconds=sum(p.milliseconds for p in (people, *parts)),
            tokens=sum(p.tokens for p in (people, *parts)),
        )

    def describe(self, box: Box, **options) -> Answer:
        """Words for what is in a box (x0, y0, x1, y1 in source pixels)."""
        asked = question(Task.DESCRIBE, box=self._region(box), decimals=self._decimals)
        return self._answer(Task.DESCRIBE, asked, options)

    def caption(self, **options) -> Answer:
        """One sentence on the picture; the boxes it names are in ``detections``."""
        return self._answer(Task.CAPTION, question(Task.CAPTION), options)

    def ask(self, text: str, *, short: bool = True, **options) -> Answer:
        """A free question. short: ask for a word or phrase, in the official wording."""
        wanted = checked(text)
        return self._answer(Task.ASK, question(Task.ASK, wanted) if short else wanted, options)

    @property
    def _decimals(self) -> int:
        return self._sphinx.config.coordinate_decimals

    def _region(self, box: Box) -> tuple[float, ...]:
        """A box in source pixels to fractions of the square."""
        if len(box) != 4 or not all(math.isfinite(v) for v in box):
            raise BadRequest(f"box {tuple(box)}: need four finite pixel numbers x0, y0, x1, y1")
        x0, y0, x1, y1 = box
        inside = 0 < x1 and x0 < self.width and 0 < y1 and y0 < self.height
        if not (x0 < x1 and y0 < y1 and inside):
            raise BadRequest(
                f"box {tuple(box)} is empty or outside the picture of {self.width}x{self.height}"
                " pixels; give x0 < x1 and y0 < y1 inside it"
            )
        return self._place.box_to_square(box)

    def _boxes(self, task: Task, asked: str, label: str, options: dict) -> Results[Detection]:
        written = self._write(task, asked, **options)
        found, points, unread = to_detections(
            parse(written.text), self._place, label, score=written.score
        )
        unread += tuple(f"{p.name} [{p.x:g},{p.y:g}] px" for p in points)  # a point is no box
        return Results(found, **written.report(bool(found)), unread=unread)

    def _pose(self, box: Box, options: dict) -> Results[Pose]:
        asked = question(Task.POSE, box=self._region(box), decimals=self._decimals)
        written = self._write(Task.POSE, asked, **options)
        region = tuple(float(v) for v in box)
        poses, unread = to_poses(parse(written.text), self._place, region, score=written.score)
        return Results(poses, **written.report(bool(poses)), unread=unread)

    def _answer(self, task: Task, asked: str, options: dict) -> Answer:
        written = self._write(task, asked, **options)
        found, points, unread = to_detections(
            parse(written.text), self._place, "", score=written.score
        )
        report = written.report(bool(written.text.strip()))
        return Answer(
            written.text.strip(), found, points, unread=unread, score=written.mean(), **report
        )

    @torch.inference_mode()
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
        sphinx, started = self._sphinx, time.perf_counter()
        ids = sphinx.tokenizer.encode(conversation([(asked, None)]), True, False)
        watch = Watch(sphinx.tokenizer.decode, cancel, Deadline(timeout), on_text)
        with watch.turn(sphinx._lock), memory_named(f"answering {task.value}"):
            shared = common_length(ids, self._ids)
            made = decode(
                sphinx.model,
                self._cache,
                shared + self._words,
                ids[shared:],
                max_new_tokens=max_new_tokens or NEW_TOKENS[task],
                stop=sphinx.stop,
                on_token=watch.token,
                should_stop=watch.stop,
            )
            # what this question overwrote of the prefix (nothing, with a sane tokenizer) is gone
            self._ids = self._ids[:shared]
        text = sphinx.tokenizer.decode(made.ids).split(END_SIGNAL)[0]
        watch.raise_if_stopped(text)
        score = span_scorer(made.ids, made.probabilities, sphinx.tokenizer.decode)
        spent = 1e3 * (time.perf_counter() - started)
        return Written(text, score, tuple(made.probabilities), spent)


@dataclasses.dataclass(frozen=True)
class Written:
    """The model's answer to one question, with its probabilities."""

    text: str
    score: Callable[[tuple[int, int]], float]
    probabilities: tuple[float, ...]
    milliseconds: float

    def report(self, found: bool) -> dict:
        """The fields that go beside the results. found: something readable was in the text."""
        status = Status.OK if found else Status.PARSE_FAILED
        if not found and denies(self.text):
            status = Status.NOT_FOUND
        return {
            "raw_text": self.text,
            "status": status,
            "milliseconds": self.milliseconds,
            "tokens": len(self.probabilities),
        }

    def mean(self) -> float:
        """Geometric mean of the probabilities of all tokens; NaN for an empty answer."""
        if not self.probabilities:
            return math.nan
        logs = [math.log(max(p, 1e-12)) for p in self.probabilities]
        return math.exp(sum(logs) / len(logs))


def checked(text: str) -> str:
    """A question's words, stripped; refuses empty and very long ones."""
    words = text.strip()
    if not words:
        raise BadRequest("the text is empty: say what to look for or what to answer")
    if len(words) > MAX_TEXT:
        raise BadRequest(
            f"the text has {len(words)} characters, at most {MAX_TEXT} are taken; shorten it"
        )
    return words
