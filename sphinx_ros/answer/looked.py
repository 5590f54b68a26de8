"""One picture that a network in this process has looked at: questions -> results. Knows no ROS.

What can be asked is told by :class:`sphinx_ros.seen.Seen`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sphinx_ros.answer.chat import SubjectChat
from sphinx_ros.answer.streaming import stream_together
from sphinx_ros.answer.subject import Drafts, Subject
from sphinx_ros.answer.together import answer_one, answer_together
from sphinx_ros.dialogue import Chat
from sphinx_ros.events import Event
from sphinx_ros.prompt.queries import Query
from sphinx_ros.seen import Seen
from sphinx_ros.types import Timing


class Looked(Seen):
    """A picture in the memory of an engine."""

    def __init__(self, subject: Subject):
        self._subject, self._frame = subject, subject.frame
        self.width, self.height = subject.place.width, subject.place.height
        self.cached, self.key = subject.cached, subject.frame.key
        self.timing = Timing(subject.frame.encode_ms, subject.frame.prefill_ms)

    def chat(self, turns: Sequence[tuple[str, str]] = ()) -> Chat:
        """As :meth:`Seen.chat`."""
        return SubjectChat(self._subject, turns)

    @property
    def drafts(self) -> Drafts:
        """As :attr:`Seen.drafts`: ids by task and words."""
        return self._subject.drafts

    def _one(self, query: Query, options: dict[str, Any]) -> Any:
        return answer_one(self._subject, query, **options)

    def _answer(self, queries: list[Query], *, refuse: bool, **options: Any) -> list[Any]:
        return answer_together(self._pairs(queries), refuse=refuse, **options)

    def _stream(
        self, queries: list[Query], return_errors: bool, options: dict[str, Any]
    ) -> Iterator[Event]:
        return stream_together(self._pairs(queries), return_errors=return_errors, **options)

    def _pairs(self, queries: list[Query]) -> list[tuple[Subject, Query]]:
        return [(self._subject, query) for query in queries]
