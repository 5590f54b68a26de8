"""Queries -> text, boxes and results, each as soon as it is known.

A thread of its own asks, since the passes that it makes may be those of other questions, too, and
nobody's answer waits for who listens to another. Tokens are turned to events by the listener.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sphinx_ros.answer.listening import Listener, News
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.together import answer_together
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.events import Event, ends
from sphinx_ros.prompt.queries import Query


def stream_together(
    pairs: Sequence[tuple[Subject, Query]],
    *,
    cancel: Callable[[], bool] | None = None,
    return_errors: bool = False,
    **options: Any,
) -> Iterator[Event]:
    """Answer queries about any pictures of one checkpoint: :meth:`sphinx_ros.seen.Seen.stream`.

    The thread ends with the answers, with the iterator, or with the program's main thread.
    """
    if cancel is not None and not callable(cancel):
        raise BadRequest(f"cancel is {quoted(cancel)}: give a function")
    options["refuse"] = not return_errors
    told: queue.SimpleQueue[News | list[Any] | BaseException] = queue.SimpleQueue()
    closed = threading.Event()

    def stop() -> bool:
        """Whether nobody waits any more, or the caller wants it to end."""
        if closed.is_set() or not threading.main_thread().is_alive():
            return True
        return cancel is not None and cancel()

    def ask() -> None:
        """Tell all news, and last the results or what ended them."""
        try:
            told.put(answer_together(pairs, cancel=stop, heard=told.put, **options))
        except BaseException as error:  # whoever listens raises it
            told.put(error)

    def listen() -> News | list[Any] | BaseException:
        """What is told next. Raises BadRequest where this thread has to make the pass itself."""
        for subject, _ in pairs[:1]:
            subject.engine.check_outside()
        return told.get()

    threading.Thread(target=ask, name="sphinx_ros stream").start()
    try:
        listeners = [Listener(subject.ending, n) for n, (subject, _) in enumerate(pairs)]
        while isinstance(news := listen(), News):
            yield from listeners[news.number].events(news)
    finally:
        closed.set()
    if isinstance(news, BaseException):
        raise news
    yield from ends(news, return_errors)
