"""A picture's name and the lines before the replicas -> the replicas, the best for it first.

A look at a picture is kept where it was made, so the same picture should go to the same replica.
Rendezvous hashing (D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit
rates", 1998): each replica draws a number from its own name and the picture's, and the highest
wins. Nobody has to agree on anything, and a replica that comes or goes moves its own pictures
alone. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping


class Homes:
    """Which pictures belong to each other: each of a camera that names the one before it.

    What was answered about the earlier one helps with the later one (:attr:`Work.after`), where
    both are at the same replica. number: of pictures that are remembered.
    """

    def __init__(self, number: int = 1 << 16):
        self._number = number
        self._homes: OrderedDict[str, str] = OrderedDict()

    def of(self, picture: str, after: str = "") -> str:
        """The name of the first of its camera's pictures, by which its replica is drawn."""
        home = self._homes.pop(picture, "") or self._homes.get(after, after) or picture
        self._homes[picture] = home
        while len(self._homes) > self._number:
            self._homes.popitem(last=False)
        return home


def ranked(picture: str, waiting: Mapping[str, int], crowd: int) -> list[str]:
    """The names of the replicas, in the order in which they should be asked about a picture.

    The winner of the draw comes first, unless its line is a crowd: longer than ``crowd`` and than
    twice the mean of the *others'*. (Of two replicas none can be above twice the mean of both.)
    Then the next of the draw is the first, and the crowded one the last.

    Args:
        picture: the name of a picture.
        waiting: name of each replica -> how many works it has, being answered or in its line.
        crowd: as many works as a replica may have however idle the others are.
    """
    drawn = sorted(waiting, key=lambda replica: _number(picture, replica), reverse=True)
    total = sum(waiting.values())
    for place, replica in enumerate(drawn):
        mine, others = waiting[replica], len(drawn) - 1
        if mine <= crowd or mine * others <= 2 * (total - mine):
            return drawn[place:] + drawn[:place]
    return drawn  # there is none


def _number(picture: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{picture} {replica}".encode(), digest_size=8).digest()
