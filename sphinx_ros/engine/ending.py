"""Where an answer ends. Knows no network and no picture.

The end-of-text id ends it, and a signal wherever it stands in the text: that of the conversation,
or a text that was asked for. Released tokenizers may merge the signal's first characters with
those before them, so its ids tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sphinx_ros.prompt.conversation import END_SIGNAL

INCOMPLETE = "\ufffd"
"""What a tokenizer writes for bytes that are no whole character."""


class Ending:
    """Tells after each token whether the answer is complete, and which tokens are part of it.

    to_text: ids to text. eos_id: the end-of-text id. signals: texts that end an answer.
    """

    def __init__(
        self,
        to_text: Callable[[list[int]], str],
        eos_id: int,
        signals: tuple[str, ...] = (END_SIGNAL,),
    ):
        self.to_text, self._eos_id, self._signals = to_text, eos_id, signals
        # each token that completes a signal holds a byte of it, or more
        self._tail = max(len(signal.encode()) for signal in signals) + 1

    def also(self, stop: Sequence[str]) -> Ending:
        """The same with more texts that end an answer."""
        if not stop:
            return self
        return Ending(self.to_text, self._eos_id, (*self._signals, *stop))

    def length(self, ids: Sequence[int]) -> int | None:
        """How many of the ids are the answer; None while it goes on.

        To be asked after each token. A token that holds both the answer's last characters and the
        beginning of the signal is part of the answer; with it all of the signal, by which
        :meth:`text` takes it off again, unless it is white space that begins there.
        """
        if ids and ids[-1] == self._eos_id:
            return len(ids) - 1
        tail = self.to_text(list(ids[-self._tail :]))
        if not any(signal in tail for signal in self._signals):
            return None
        answer = self.text(ids)
        keep = max(0, len(ids) - self._tail)
        while self.text(ids[:keep]).strip() != answer.strip():
            keep += 1
        return keep

    def text(self, ids: Sequence[int]) -> str:
        """The answer's text: what stands before the first signal."""
        text = self.to_text(list(ids))
        return min((text.split(signal, 1)[0] for signal in self._signals), key=len)

    def text_so_far(self, ids: Sequence[int]) -> str:
        """The text of an unfinished answer: only what no further token changes.

        So without the first characters of a signal to come, and without a character of which some
        bytes are missing.
        """
        text = self.text(ids).rstrip(INCOMPLETE)
        return text[: len(text) - max(_begun(text, signal) for signal in self._signals)].strip()


def _begun(text: str, signal: str) -> int:
    """How many first characters of a signal a text ends with."""
    sizes = range(len(signal) - 1, 0, -1)
    return next((size for size in sizes if text.endswith(signal[:size])), 0)
