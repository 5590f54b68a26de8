"""One picture, looked at once, and every question about it. Knows no files, no torch and no ROS.

Who answers is told by the subclasses: :mod:`sphinx_ros.answer.looked` for a network in this
process, :mod:`sphinx_ros.remote` for one on a server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sphinx_ros.dialogue import Chat
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.events import Event
from sphinx_ros.prompt.checks import checked_list
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.prompt.wording import EVERYTHING, as_chosen, checked_choices, multiple_choice
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Box, Detection, Points, Pose, Results, Timing

DRAFTS = 128
"""Answers about a picture that are handed on as guesses, the last ones."""


def handed_on(known: Mapping[Any, Any], written: Mapping[Any, Any]) -> dict[Any, Any]:
    """Guesses for the next picture: what was written now, behind what was known before.

    A robot may ask something new each time, so the oldest are left out.
    """
    before = {key: ids for key, ids in known.items() if key not in written}
    return dict(list({**before, **written}.items())[-DRAFTS:])


class Seen(ABC):
    """One picture, encoded and prefilled: ask it anything. :meth:`Sphinx.look` makes it.

    A question goes on from the picture's key/value prefix, so its cost is its own words and
    answer. Several questions are answered as one batch, together with those of other threads.

    Every question takes these keywords: ``max_new_tokens``; ``cancel``, a function that is asked
    before every pass of the network (True raises :class:`Cancelled`); ``timeout`` in seconds
    (raises :class:`TimedOut`); ``on_text``, called with the answer so far after every token;
    ``on_found``, called with each box and point as soon as its bracket closes, after the text that
    closes it, as :class:`sphinx_ros.events.Found` tells it;
    ``free``: True lets the model write anything where it could write numbers alone; ``verify``:
    False does not ask whether what GROUND and POINT look for is there; ``coordinates``:
    "expected" takes the expected values of the digits in place of those that were written
    ("greedy"); usual is what the checkpoint's calibration found better, without one greedy.

    ``cancel``, ``on_text`` and ``on_found`` are called in the middle of a pass of the network,
    for which all who ask wait: they must be quick, and what they ask themselves is refused
    (:class:`BadRequest`). What one of them raises ends its own question.

    Attributes:
        width, height: of the picture, pixels. timing: milliseconds of encode and prefill.
        cached: whether the same pixels had been looked at before, so that this look was free.
        key: what :meth:`Sphinx.recall` finds it by, b"" where nothing does.
    """

    width: int
    height: int
    timing: Timing
    cached: bool
    key: bytes = b""

    def ground(self, text: str, **options: Any) -> Results[Detection]:
        """The box of what a sentence describes; NOT_FOUND if the model denies that it is there.

        It is asked that as well (``verify``): :attr:`Detection.presence`.
        """
        return self._one(Query(Task.GROUND, text), options)

    def point(self, text: str, **options: Any) -> Points:
        """A point on what a description names: the model's own, else the middle of its box.

        ``source`` says which. The model is asked for a box, as no published one was taught a
        question for points; where it answers with a point, that is taken. NOT_FOUND as
        :meth:`ground`.
        """
        return self._one(Query(Task.POINT, text), options)

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

    def ask(
        self,
        text: str,
        *,
        box: Box | None = None,
        short: bool = True,
        choices: Iterable[str] = (),
        **options: Any,
    ) -> Answer:
        """A free question, about the picture or a region of it.

        box: the region, x0, y0, x1, y1 in source pixels. It is described first, and the question
        asked as the next turn; "what is this?" is answered by the description. short: ask for a
        word or phrase, in the official wording. choices: answers to choose one of, in the wording
        of the official evaluation: the text of the answer is the one that was chosen, and
        PARSE_FAILED says that the model's words, in ``raw_text``, name none of them.
        """
        given = checked_choices(choices)
        if not given:
            return self._one(Query(Task.ASK, text, box), {**options, "short": short})
        asked = Query(Task.ASK, multiple_choice(text, given), box)
        return as_chosen(self._one(asked, {**options, "short": False}), given)

    @abstractmethod
    def chat(self, turns: Sequence[tuple[str, str]] = ()) -> Chat:
        """A conversation about the picture: each question goes on from those before it.

        turns: questions and answers that it begins with, as :attr:`Chat.turns` gives them.

        Raises:
            BadRequest: a turn is no pair of texts.
        """

    def answer(
        self,
        queries: Sequence[str | Query],
        *,
        on_text: Callable[[int, str], None] | None = None,
        on_found: Callable[[int, Any], None] | None = None,
        return_errors: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Several questions as one batch; the results are those of the single calls, in order.

        queries: lines such as "ground: the red mug", "pose", "ask: how many mugs are there?" (the
            grammar of the node's parameter ``queries``), or :class:`Query` objects.
        on_text, on_found: called with the number of the query and its answer so far, or a box.
        return_errors: put the error of a query in the place of its result, also where it can't be
            asked of this picture, instead of raising the first one.

        Raises:
            BadRequest: a query can't be asked; nothing was asked then.
        """
        results = self._answer(
            _queries(queries),
            on_text=on_text,
            on_found=on_found,
            refuse=not return_errors,
            **options,
        )
        if not return_errors:
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return results

    def stream(
        self,
        queries: str | Query | Sequence[str | Query],
        *,
        return_errors: bool = False,
        **options: Any,
    ) -> Iterator[Event]:
        """One query or several, told while they are answered.

        A thread of its own asks, as :meth:`answer` does, from the first event that is waited for.
        Who stops listening (``break``, ``close()``, or nobody holds the iterator any more) cancels
        the questions before the next pass of the network.

        Args:
            queries: as for :meth:`answer`, or a single one. Events of a list come mixed, each with
                the number of its query.
            return_errors: as for :meth:`answer`.

        Yields:
            :class:`Piece`: more text; the pieces of a query make up its ``raw_text``, but for
            spaces around an answer. :class:`Found`: each box and point as soon as its bracket
            closes, behind the text that closes it, and each person at the end of the answer about
            it: those of the result, in order, but for what is judged at the end. Last, when all
            are answered, :class:`Finished` with the result of each query, in order.

        Raises:
            BadRequest: a query can't be asked.
            SphinxError: what ended a query, with its ``partial_text``; all others are told before.
        """
        several = [queries] if isinstance(queries, (str, Query)) else queries
        return self._stream(_queries(several), return_errors, options)

    @property
    @abstractmethod
    def drafts(self) -> Mapping[Any, Any]:
        """What was written to the questions so far, for the next picture of the same camera."""

    # How it is answered

    @abstractmethod
    def _one(self, query: Query, options: dict[str, Any]) -> Any:
        """The result of one query; raises what ended it. options: those of the public method."""

    @abstractmethod
    def _answer(self, queries: list[Query], *, refuse: bool, **options: Any) -> list[Any]:
        """The results of queries, and errors in the places of those that failed.

        refuse: raise where one can't be asked, and ask none.
        """

    @abstractmethod
    def _stream(
        self, queries: list[Query], return_errors: bool, options: dict[str, Any]
    ) -> Iterator[Event]:
        """The events of :meth:`stream`."""


def _queries(queries: Any) -> list[Query]:
    """Lines and queries, checked."""
    return [_query(one) for one in checked_list(queries, "queries", "lines and queries")]


def _query(one: str | Query) -> Query:
    """A line or a query, checked."""
    if isinstance(one, str):
        return read_query(one)
    if not isinstance(one, Query):
        raise BadRequest(f"{quoted(one)} is no query: give a line of text or a Query")
    return one.checked()
