"""Several questions about one picture, each of which knows the answers before it.

The model reads the official prompt of all turns. What it has read or written already stays where
it is, so that a question costs its own words and answer, however long the conversation is.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from sphinx_ros.answer.streaming import stream_together
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.together import answer_one
from sphinx_ros.dialogue import Chat
from sphinx_ros.engine.decoding import Decoding
from sphinx_ros.engine.talk import Talk
from sphinx_ros.events import Event
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer


class SubjectChat(Chat):
    """A conversation whose turns are kept behind the picture, in its cache."""

    def __init__(self, subject: Subject, turns: Sequence[tuple[str, str]] = ()):
        super().__init__(turns)
        self._subject, self._talk = subject, Talk()
        self._end = weakref.finalize(self, subject.engine.let_go, self._talk)
        self._end.atexit = False

    def _ask(self, asked: str, options: dict[str, Any]) -> Answer:
        subject, rest = self._next(**options)
        return answer_one(subject, Query(Task.ASK, asked), short=False, **rest)

    def _stream(self, asked: str, return_errors: bool, options: dict[str, Any]) -> Iterator[Event]:
        subject, rest = self._next(**options)
        pairs = [(subject, Query(Task.ASK, asked))]
        return stream_together(pairs, short=False, return_errors=return_errors, **rest)

    def _next(
        self,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        **rest: Any,
    ) -> tuple[Subject, dict[str, Any]]:
        """What the next question is about, and its other keywords."""
        decoding = Decoding.of(temperature, top_p, seed, stop)
        return self._subject.after(self._turns, self._talk, decoding), rest

    def close(self) -> None:
        """As :meth:`Chat.close`."""
        self._end()
