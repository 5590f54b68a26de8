"""One picture, looked at once, and every question about it. Knows no files and no ROS.

A question goes on from the picture's key/value prefix, so its cost is its own words and answer.
Several questions are answered as one batch, together with those of other threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.plans import Ask, Plan, Plans
from sphinx_ros.answer.written import Written, written
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.engine import Engine, Question
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.row import Row
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.errors import BadRequest, SphinxError, quoted
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.checks import checked_tokens
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.prompt.wording import EVERYTHING
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Box, Cost, Detection, Pose, Results, Timing

Drafts = Mapping[tuple[Task, str], tuple[int, ...]]
"""What was written to a question about another picture: ids by task and words."""

DRAFTS = 128
"""Answers that are handed on from picture to picture, the last ones."""

COORDINATES = ("greedy", "expected")


class Seen:
    """One picture, encoded and prefilled: ask it anything. :meth:`Sphinx.look` makes it.

    Every question takes these keywords: ``max_new_tokens``; ``cancel``, a function that is asked
    before every pass of the network (True raises :class:`Cancelled`); ``timeout`` in seconds
    (raises :class:`TimedOut`); ``on_text``, called with the answer so far after every token;
    ``free``: True lets the model write anything where it could write numbers alone; ``verify``:
    False does not ask whether what GROUND looks for is there; ``coordinates``: "expected" takes
    the expected values of the digits in place of those that were written ("greedy"); usual is
    what the checkpoint's calibration found better, without one greedy.

    Attributes:
        width, height: of the picture, pixels. timing: milliseconds of encode and prefill.
        cached: whether the same pixels had been looked at before, so that this look was free.
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
        """place: where the picture lies in its square. decimals: of numbers in a question.

        judge: what boxes are worth. cached: whether the picture had been looked at before. drafts:
        what may be written again.
        """
        self._engine, self._frame, self._judge = engine, frame, judge
        self._place, self._decimals = place, decimals
        self._drafts, self._written = dict(drafts or {}), {}  # type: ignore[var-annotated]
        self.width, self.height, self.cached = place.width, place.height, cached
        self.timing = Timing(frame.encode_ms, frame.prefill_ms)

    def ground(self, text: str, **options: Any) -> Results[Detection]:
        """The box of what a sentence describes; NOT_FOUND if the model denies that it is there.

        It is asked that as well (``verify``): :attr:`Detection.presence`.
        """
        return self._one(Query(Task.GROUND, text), options)

    def detect(self, label: str = EVERYTHING, **options: Any) -> Results[Detection]:
        """All things of a kind: "mug", "red mugs", "objects"."""
        return self._one(Query(Task.DETECT, label), options)

    def read_text(self, **options: Any) -> Results[Detection]:
        """Written words with their boxes; the label is the text (released weights only)."""
        return self._one(Query(Task.READ_TEXT), options)

    def pose(self, box: Box | None = None, **options: Any) -> Results[Pose]:
        """The joints of the person in a box, or of everybody: people are then detected first."""
        return self._one(Query(Task.POSE, box=box), options)

    def describe(self, box: Box, **options: Any) -> Answer:
        """Words for what is in a box (x0, y0, x1, y1 in source pixels)."""
        return self._one(Query(Task.DESCRIBE, box=box), options)

    def caption(self, **options: Any) -> Answer:
        """One sentence on the picture; the boxes it names are in ``detections``."""
        return self._one(Query(Task.CAPTION), options)

    def ask(self, text: str, *, short: bool = True, **options: Any) -> Answer:
        """A free question. short: ask for a word or phrase, in the official wording."""
        return self._one(Query(Task.ASK, text), options, short)

    def answer(
        self,
        queries: Sequence[str | Query],
        *,
        on_text: Callable[[int, str], None] | None = None,
        return_errors: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Several questions as one batch; the results are those of the single calls, in order.

        queries: lines such as "ground: the red mug", "pose", "ask: how many mugs are there?" (the
            grammar of the node's parameter ``queries``), or :class:`Query` objects.
        on_text: called with the number of the query and its answer so far.
        return_errors: put the error of a query in the place of its result instead of raising the
            first one when all others have been answered.

        Raises:
            BadRequest: a query can't be asked; nothing was asked then.
        """
        if isinstance(queries, (str, Query)):
            raise BadRequest(f"queries is {quoted(queries)}: give a list of them")
        asked = [_query(one) for one in queries]
        pairs = [(self, query) for query in asked]
        results = answer_together(pairs, on_text=on_text, **options)
        if not return_errors:
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return results

    def _one(self, query: Query, options: dict[str, Any], short: bool = True) -> Any:
        on_text = options.pop("on_text", None)
        heard = on_text
        if callable(on_text):
            heard = lambda _, text: on_text(text)  # noqa: E731 (a function of the text alone)
        (result,) = answer_together([(self, query)], short=short, on_text=heard, **options)
        if isinstance(result, BaseException):
            raise result
        return result

    @property
    def engine(self) -> Engine:
        """What answers; of one checkpoint."""
        return self._engine

    @property
    def ending(self) -> Ending:
        """What tells where an answer ends."""
        return self._engine.ending

    @property
    def drafts(self) -> Drafts:
        """What was written to the questions so far, for the next picture of the same camera."""
        known = self._drafts | self._written
        return dict(list(known.items())[-DRAFTS:])  # a robot may ask something new each time

    def plan(self, query: Query, short: bool, verify: bool, coordinates: str) -> Plan:
        """What has to be asked for a query. Raises BadRequest."""
        judge = self._judge
        if coordinates:
            if coordinates not in COORDINATES:
                raise BadRequest(
                    f"coordinates {coordinates!r} is unknown: use {' or '.join(COORDINATES)}"
                )
            judge = Judge(judge.yes_no, judge.calibration, coordinates == "expected")
        return Plans(self._place, self._decimals, judge).of(query, short, verify)

    def question(self, ask: Ask, limit: int, watch: Watch, free: bool) -> tuple[Frame, Question]:
        """A question for the engine."""
        row = ask.task.row
        doing = f"answering {ask.task.value}"
        if ask.presence:  # its first token says it all
            ids = self._judge.yes_no.ids
            return self._frame, Question(ask.text, 1, watch, doing, report=ids)
        draft = self._drafts.get((ask.task, ask.key), ())
        return self._frame, Question(ask.text, limit, watch, doing, row.language, free, draft)

    def read(self, ask: Ask, row: Row) -> Written | Exception:
        """What the engine wrote, or the error that ended it."""
        try:
            made = row.answer()
            row.watch.raise_if_stopped(self._engine.ending.text(made.ids))
        except Exception as error:
            return error
        look_ms = 0.0 if self.cached else self.timing.encode + self.timing.prefill
        answer = written(made, self._engine, Cost(look_ms, cached=self.cached))
        if not ask.presence:
            self._written[ask.task, ask.key] = answer.ids
        return answer


def _query(one: str | Query) -> Query:
    """A line or a query, checked."""
    if isinstance(one, str):
        return read_query(one)
    if not isinstance(one, Query):
        raise BadRequest(f"{quoted(one)} is no query: give a line of text or a Query")
    return one.checked()


def answer_together(
    pairs: Sequence[tuple[Seen, Query]],
    *,
    short: bool = True,
    verify: bool = True,
    coordinates: str = "",
    max_new_tokens: int | None = None,
    cancel: Callable[[], bool] | None = None,
    timeout: float | None = None,
    on_text: Callable[[int, str], None] | None = None,
    free: bool = False,
) -> list[Any]:
    """Queries about any pictures of one checkpoint as one batch; for options see :class:`Seen`.

    Returns:
        The results in order, and errors in the places of those that failed.

    Raises:
        BadRequest: one can't be asked; nothing was asked then.
    """
    for name, function in (("cancel", cancel), ("on_text", on_text)):
        if function is not None and not callable(function):
            raise BadRequest(f"{name} is {quoted(function)}: give a function")
    plans = [seen.plan(query, short, verify, coordinates) for seen, query in pairs]
    usual, deadline = checked_tokens(max_new_tokens or 0), Deadline(timeout)
    results: list[Any] = [None] * len(plans)
    waiting = {number: next(plan) for number, plan in enumerate(plans)}
    while waiting:
        questions, owners = [], []
        for number, asks in waiting.items():
            seen, query = pairs[number]
            heard = None if on_text is None else _heard(on_text, number)
            for ask in asks:
                told = None if ask.presence else heard
                watch = Watch(seen.ending, deadline, cancel, told)
                limit = query.max_new_tokens or usual or ask.task.row.max_new_tokens
                questions.append(seen.question(ask, limit, watch, free))
                owners.append((number, ask))
        rows = pairs[0][0].engine.answer(questions)
        answers: dict[int, list[Any]] = {number: [] for number in waiting}
        for (number, ask), row in zip(owners, rows, strict=True):
            answers[number].append(pairs[number][0].read(ask, row))
        waiting = _go_on(plans, answers, results)
    return results


def _heard(on_text: Callable[[int, str], None], number: int) -> Callable[[str], None]:
    return lambda text: on_text(number, text)


def _go_on(
    plans: Sequence[Plan], answers: Mapping[int, list[Any]], results: list[Any]
) -> dict[int, list[Ask]]:
    """Tell the plans what was written; the next questions of those that have not ended."""
    following: dict[int, list[Ask]] = {}
    for number, parts in answers.items():
        failed = next((one for one in parts if isinstance(one, Exception)), None)
        try:
            if failed is None:
                following[number] = plans[number].send(parts)
            else:
                if isinstance(failed, SphinxError):  # what the others wrote is not lost
                    failed.partial_text = "\n".join(filter(None, map(_text, parts)))
                plans[number].throw(failed)
        except StopIteration as end:
            results[number] = end.value
        except Exception as error:
            results[number] = error
    return following


def _text(part: Written | Exception) -> str:
    return part.text if isinstance(part, Written) else getattr(part, "partial_text", "")
