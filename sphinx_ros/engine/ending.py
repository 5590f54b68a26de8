"""Where an answer ends. Knows no network and no picture.

The end-of-text id ends it, and the end signal wherever it stands in the text: released
tokenizers may merge the signal's first characters with those before them, so its ids tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sphinx_ros.prompt.conversation import END_SIGNAL

INCOMPLETE = "\ufffd"
"""What a tokenizer writes for bytes that are no whole character."""


class Ending:
    """Tells after each token whether the answer is complete, and which tokens are part of it.

    to_text: ids to text. eos_id: the end-of-text id.
    """

    def __init__(self, to_text: Callable[[list[int]], str], eos_id: int, signal: str = END_SIGNAL):
        self._to_text, self._eos_id, self._signal = to_text, eos_id, signal
        self._tail = len(signal) + 1  # each token that completes the signal holds a character

    def length(self, ids: Sequence[int]) -> int | None:
        """How many of the ids are the answer; None while it goes on.

        To be asked after each token. A token that holds both the answer's last characters and the
        beginning of the signal is part of the answer.
        """
        if ids and ids[-1] == self._eos_id:
            return len(ids) - 1
        if self._signal not in self._to_text(list(ids[-self._tail :])):
            return None
        answer = len(self.text(ids))
        keep = max(0, len(ids) - self._tail)
        while len(self._to_text(list(ids[:keep]))) < answer:
            keep += 1
        return keep

    def text(self, ids: Sequence[int]) -> str:
        """The answer's text: what stands before the signal."""
        return self._to_text(list(ids)).split(self._signal)[0]

    def text_so_far(self, ids: Sequence[int]) -> str:
        """The text of an unfinished answer: only what no further token changes.

        So without the first characters of a signal to come, and without a character of which some
        bytes are missing.
        """
        text = self.text(ids).rstrip(INCOMPLETE)
        for size in range(len(self._signal) - 1, 0, -1):
            if text.endswith(self._signal[:size]):
                return text[:-size].strip()
        return text.strip()
