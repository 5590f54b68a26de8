"""A conversation about one picture: each question knows the answers before it. Knows no torch.

Who answers is told by the subclasses, as for :mod:`sphinx_ros.seen`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sphinx_ros.errors import BadRequest, SphinxError, Status, quoted
from sphinx_ros.events import Event, Finished
from sphinx_ros.prompt.checks import checked_unicode
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer

Turns = tuple[tuple[str, str], ...]
"""Questions (the whole Human text) and answers of a conversation."""


class Chat(ABC):
    """A conversation about a picture. :meth:`sphinx_ros.seen.Seen.chat` begins one.

    It keeps memory behind the picture as long as it lives: until :meth:`close`, the end of a
    ``with`` block, or until nobody holds it any more. Where a picture's memory has been given to
    others the turns are computed again.

    Both ways to ask take, beside the keywords of every question (:class:`Seen`): ``short``, as
    :meth:`Seen.ask`; ``temperature``, ``top_p`` and ``seed`` of draws, which are those of
    :meth:`sphinx_ros.pipeline.Sphinx.chat` whatever is answered at the same time (temperature 0,
    the usual one, takes the best token each time); ``stop``, a text or several that end the answer
    and are no part of it.

    turns: those that it begins with.
    """

    def __init__(self, turns: Sequence[tuple[str, str]] = ()) -> None:
        self._asking = threading.Lock()
        self._turns: Turns = tuple(map(_turn, turns))

    @property
    def turns(self) -> Turns:
        """Questions and answers so far, as :meth:`sphinx_ros.pipeline.Sphinx.chat` takes them.

        The question is the whole Human text.
        """
        return self._turns

    def ask(self, text: str, *, short: bool = True, **options: Any) -> Answer:
        """A free question that may refer to what was said before; keywords: see the class.

        An answer that ends with an error is no turn.

        Raises:
            SphinxError: BUSY: another thread is asking.
            BadRequest: the conversation is too long for a further question.
        """
        with self._one_at_a_time():
            asked = _human(text, short)
            answer = self._ask(asked, options)
            self._turns = (*self._turns, (asked, answer.text))
            return answer

    def stream(
        self, text: str, *, short: bool = True, return_errors: bool = False, **options: Any
    ) -> Iterator[Event]:
        """The same, told while it is answered, as :meth:`Seen.stream` tells one query."""
        with self._one_at_a_time():
            asked = _human(text, short)
            for event in self._stream(asked, return_errors, options):
                if isinstance(event, Finished) and isinstance(event.result, Answer):
                    self._turns = (*self._turns, (asked, event.result.text))
                yield event

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if not self._asking.acquire(blocking=False):
            raise SphinxError(
                "this conversation waits for another answer: ask when it has come, or begin "
                "another conversation",
                status=Status.BUSY,
            )
        try:
            yield
        finally:
            self._asking.release()

    @abstractmethod
    def _ask(self, asked: str, options: dict[str, Any]) -> Answer:
        """The answer to the whole Human text of a question behind the turns so far."""

    @abstractmethod
    def _stream(self, asked: str, return_errors: bool, options: dict[str, Any]) -> Iterator[Event]:
        """The events of :meth:`stream`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the memory. The conversation can be gone on with, at its full cost."""

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _human(text: str, short: bool) -> str:
    """The whole Human text of a question."""
    words = Query(Task.ASK, text).checked().text
    return question(Task.ASK, words) if short else words


def _turn(turn: Any) -> tuple[str, str]:
    """A question and its answer, checked."""
    pair = turn if isinstance(turn, (list, tuple)) and len(turn) == 2 else (None, None)
    asked, answered = pair
    if not isinstance(asked, str) or not isinstance(answered, str):
        raise BadRequest(f"the turn {quoted(turn)} is no pair of texts: give (question, answer)")
    return checked_unicode(asked), checked_unicode(answered)
