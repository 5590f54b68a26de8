"""A conversation about a picture that was looked at -> its next answer, while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sphinx_ros.events import Event
from sphinx_ros.prompt.conversation import LONGEST_ANSWER
from sphinx_ros.seen import Seen
from sphinx_ros.serve.work import Work


def stream_turns(seen: Seen, work: Work, cancel: Callable[[], bool]) -> Iterator[Event]:
    """Answer the last, open turn of ``work.turns``, in one batch with all that others ask.

    The answer is that of :meth:`sphinx_ros.pipeline.Sphinx.chat`, token for token: the best ones,
    or at a temperature above 0 those that are drawn with the seed.

    cancel: asked before every pass of the network; it knows the time limit, too. What ends the
    answer is its result; closing the iterator cancels it as well.

    Yields:
        As :meth:`sphinx_ros.seen.Seen.stream` with ``return_errors``.
    """
    *earlier, (asked, _) = work.turns
    options = work.options
    with seen.chat([(question, answer or "") for question, answer in earlier]) as chat:
        yield from chat.stream(
            asked,
            short=False,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=options.seed,
            stop=options.stop,
            max_new_tokens=options.max_new_tokens or LONGEST_ANSWER,
            cancel=cancel,
            return_errors=True,
        )
