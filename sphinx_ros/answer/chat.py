"""Several questions about one picture, each of which knows the answers before it.

The model reads the official prompt of all turns. What it has read or written already stays where
it is, so that a question costs its own words and answer, however long the conversation is.
"""

from __future__ import annotations

import weakref
from typing import Any

from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.together import answer_one
from sphinx_ros.engine.talk import Talk
from sphinx_ros.prompt.queries import Query
from sphinx_ros.seen import Chat
from sphinx_ros.types import Answer


class SubjectChat(Chat):
    """A conversation whose turns are kept behind the picture, in its cache."""

    def __init__(self, subject: Subject):
        super().__init__()
        self._subject, self._talk = subject, Talk()
        self._end = weakref.finalize(self, subject.engine.let_go, self._talk)
        self._end.atexit = False

    def _ask(self, query: Query, short: bool, options: dict[str, Any]) -> tuple[str, Answer]:
        subject = self._subject.after(self._turns, self._talk)
        (ask,) = next(subject.plan(query, short, verify=False, coordinates=""))
        return ask.text, answer_one(subject, query, short=short, **options)

    def close(self) -> None:
        """As :meth:`Chat.close`."""
        self._end()
