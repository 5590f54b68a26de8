"""Several questions about one picture, each of which knows the answers before it.

The model reads the official prompt of all turns. What it has read or written already stays where
it is, so that a question costs its own words and answer, however long the conversation is.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

from sphinx_ros.answer.subject import Subject, Turns
from sphinx_ros.answer.together import answer_one
from sphinx_ros.engine.talk import Talk
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer


class Chat:
    """A conversation about a picture. :meth:`sphinx_ros.seen.Seen.chat` begins one.

    It keeps memory behind the picture as long as it lives: until :meth:`close`, the end of a
    ``with`` block, or until nobody holds it any more. Where a picture's memory has been given to
    others the turns are computed again.
    """

    def __init__(self, subject: Subject):
        self._subject, self._talk, self._asking = subject, Talk(), threading.Lock()
        self._turns: Turns = ()
        self._end = weakref.finalize(self, subject.engine.let_go, self._talk)
        self._end.atexit = False

    @property
    def turns(self) -> Turns:
        """Questions and answers so far, as :meth:`sphinx_ros.pipeline.Sphinx.chat` takes them.

        The question is the whole Human text.
        """
        return self._turns

    def ask(self, text: str, *, short: bool = True, **options: Any) -> Answer:
        """A free question that may refer to what was said before.

        short, options: as :meth:`sphinx_ros.seen.Seen.ask`. An answer that ends with an error is
        no turn.

        Raises:
            SphinxError: BUSY: another thread is asking.
            BadRequest: the conversation is too long for a further question.
        """
        if not self._asking.acquire(blocking=False):
            raise SphinxError(
                "this conversation waits for another answer: ask when it has come, or begin "
                "another conversation",
                status=Status.BUSY,
            )
        try:
            query = Query(Task.ASK, text).checked()
            subject = self._subject.after(self._turns, self._talk)
            (ask,) = next(subject.plan(query, short, verify=False, coordinates=""))
            answer = answer_one(subject, query, short=short, **options)
            self._turns = (*self._turns, (ask.text, answer.text))
            return answer
        finally:
            self._asking.release()

    def close(self) -> None:
        """Let go of the memory. The conversation can be gone on with, at its full cost."""
        self._end()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
