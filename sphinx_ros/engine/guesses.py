"""What was written about another picture -> what may be written now. Knows no network.

The answer is followed through the draft, token by token. A digit may stand for another: things
move. Where words differ, as when a thing has come or gone, the draft is taken up again behind the
words that were written last.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST = 2
"""Tokens in a row that have to be alike where a draft is taken up again."""

DIGIT = -1
"""What all digits count as when tokens are compared."""


class Draft:
    """An answer to the same question about another picture, and where in it the new one stands.

    ids: of that answer, end signal included. digits: the ids of the ten digits.
    """

    def __init__(self, ids: Sequence[int], digits: Sequence[int] = ()):
        self._ids, self._digits = list(ids), frozenset(digits)
        self._kinds = [self._kind(token) for token in ids]
        self._behind: dict[int, list[int]] = {}  # the places behind the tokens of each kind
        for place, kind in enumerate(self._kinds, 1):
            self._behind.setdefault(kind, []).append(place)
        self._written: list[int] = []  # kinds, too
        self._at = 0

    def __len__(self) -> int:
        return len(self._ids)

    def follow(self, token: int) -> None:
        """One more token of the new answer was written."""
        if not self._ids:
            return
        self._written.append(self._kind(token))
        expected = self._kinds[self._at : self._at + 1]
        self._at += 1
        if expected != self._written[-1:]:
            self._at = self._behind_the_same()

    def rest(self, most: int) -> list[int]:
        """Ids that may come next, no more than ``most``."""
        return self._ids[self._at : self._at + most]

    def _kind(self, token: int) -> int:
        return DIGIT if token in self._digits else token

    def _behind_the_same(self) -> int:
        """The place behind the most tokens like those written last, of several the nearest; where
        there is none, that which the place before leads to.
        """
        best, longest = self._at, LEAST - 1
        for place in self._behind.get(self._written[-1], ()):
            alike = self._alike(place)
            nearer = abs(place - self._at) < abs(best - self._at)
            if alike > longest or (alike == longest >= LEAST and nearer):
                best, longest = place, alike
        return best

    def _alike(self, place: int) -> int:
        """How many of the tokens written last stand in the draft before a place."""
        kinds, written, alike = self._kinds, self._written, 0
        most = min(place, len(written))
        while alike < most and kinds[place - 1 - alike] == written[-1 - alike]:
            alike += 1
        return alike
