"""One picture that was looked at: its questions for the engine, and the words of the answers.

Knows no files and no ROS.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from dataclasses import replace

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.plans import Ask, Plan, Plans
from sphinx_ros.answer.written import Written, written
from sphinx_ros.dialogue import Turns
from sphinx_ros.engine.decoding import BEST, Decoding
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.engine import Engine, Question
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.row import Row
from sphinx_ros.engine.talk import Talk
from sphinx_ros.engine.watch import Watch
from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.queries import Query
from sphinx_ros.seen import DRAFTS, handed_on
from sphinx_ros.tasks import Task
from sphinx_ros.types import Cost

Drafts = Mapping[tuple[Task, str], tuple[int, ...]]
"""What was written to a question about another picture: ids by task and words."""

COORDINATES = ("greedy", "expected")


class Subject:
    """What questions are about.

    place: where the picture lies in its square. decimals: of numbers in a question. judge: what
    boxes are worth. cached: whether the picture had been looked at before. drafts: what may be
    written again.
    """

    def __init__(
        self,
        engine: Engine,
        frame: Frame,
        place: Letterbox,
        decimals: int,
        judge: Judge,
        *,
        cached: bool = False,
        drafts: Drafts | None = None,
    ):
        self.engine, self.frame, self.place, self.cached = engine, frame, place, cached
        self._decimals, self._judge = decimals, judge
        self._drafts, self._written = dict(drafts or {}), {}  # type: ignore[var-annotated]
        self._keeping = threading.Lock()  # of what is written: threads share a picture
        self._earlier: Turns = ()
        self._talk: Talk | None = None
        self._decoding = BEST

    def after(self, earlier: Turns, talk: Talk, decoding: Decoding) -> Subject:
        """The same picture for the next question of a conversation. decoding: of its answer.

        What is written depends on the turns before it, so it is no draft for others.
        """
        other = copy.copy(self)
        other._drafts, other._written = {}, {}
        other._earlier, other._talk, other._decoding = earlier, talk, decoding
        return other

    @property
    def ending(self) -> Ending:
        """Where answers end."""
        return self.engine.ending.also(self._decoding.stop)

    @property
    def drafts(self) -> Drafts:
        """What was written to the questions so far, for the next picture of the same camera."""
        with self._keeping:
            return handed_on(self._drafts, self._written)

    def plan(self, query: Query, short: bool, verify: bool, coordinates: str) -> Plan:
        """What has to be asked for a query. Raises BadRequest."""
        judge = self._judge
        if coordinates:
            if coordinates not in COORDINATES:
                raise BadRequest(
                    f"coordinates {coordinates!r} is unknown: use {' or '.join(COORDINATES)}"
                )
            judge = Judge(judge.yes_no, judge.calibration, coordinates == "expected")
        return Plans(self.place, self._decimals, judge).of(query, short, verify)

    def askable(self, asks: list[Ask], begun: str = "") -> list[Ask]:
        """These questions. Raises BadRequest where one is too long."""
        for ask in asks:
            self.engine.question_ids(ask.text, (*self._earlier, *ask.earlier), begun)
        return asks

    def question(
        self, ask: Ask, limit: int, watch: Watch, free: bool, begun: str = ""
    ) -> tuple[Frame, Question]:
        """A question for the engine. begun: how its answer begins, but for that of presence."""
        row = ask.task.row
        doing = f"answering {ask.task.value}"
        if ask.presence:  # its first token says it all
            ids = self._judge.yes_no.ids
            return self.frame, Question(ask.text, 1, watch, doing, report=ids)
        asked = Question(
            ask.text,
            limit,
            watch,
            doing,
            row.language,
            free,
            self._drafts.get((ask.task, ask.key), ()),
            earlier=(*self._earlier, *ask.earlier),
            talk=None if ask.earlier else self._talk,
            decoding=self._decoding,
            begun=begun,
        )
        return self.frame, asked

    def read(self, ask: Ask, row: Row) -> Written | Exception:
        """What the engine wrote, or the error that ended it."""
        try:
            made = row.answer()
            row.watch.raise_if_stopped(self.ending.text(made.ids))
        except SphinxError as error:
            return self._own(error, row)
        except Exception as error:
            return error
        look_ms = 0.0 if self.cached else self.frame.encode_ms + self.frame.prefill_ms
        answer = written(made, self.ending, Cost(look_ms, cached=self.cached))
        if ask.presence:  # one token is all that was wanted
            return replace(answer, cost=replace(answer.cost, cut=False))
        self._keep(ask, answer.ids)
        return answer

    def _keep(self, ask: Ask, ids: tuple[int, ...]) -> None:
        """Keep an answer for :attr:`drafts`, the last ones: a picture may be asked for hours."""
        with self._keeping:
            self._written.pop((ask.task, ask.key), None)
            self._written[ask.task, ask.key] = ids
            while len(self._written) > DRAFTS:
                del self._written[next(iter(self._written))]

    def _own(self, error: SphinxError, row: Row) -> SphinxError:
        """A row's own error with its own words: all rows share the one of the network."""
        if error is not row.error:
            return error
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        own.partial_text = self.ending.text_so_far(row.written)
        return own
