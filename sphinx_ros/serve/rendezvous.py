"""A picture's name and the lines before the replicas -> the replicas, the best for it first.

A look at a picture is kept where it was made, so the same picture should go to the same replica.
Rendezvous hashing (D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit
rates", 1998): each replica draws a number from its own name and the picture's, and the highest
wins. Nobody has to agree on anything, and a replica that comes or goes moves its own pictures
alone. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


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
