"""All digits that may come next, each tried beside the others, so that a pass writes two.

Where the language leaves nothing but a digit, a pass can take every one of them with it, and what
has to follow it: the digit that is chosen has then been read already, and tells the next one. The
others see nothing of each other and are forgotten. That costs no pass, but tokens: it pays where a
pass of a few tokens costs about as much as one of one. Knows no network.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from sphinx_ros.engine.choosing import Wish
from sphinx_ros.engine.style import Guide, State


class Branch(NamedTuple):
    """One continuation: a digit and what is certain or likely to follow. wishes: for each."""

    tokens: tuple[int, ...]
    wishes: tuple[Wish, ...]


@functools.lru_cache(maxsize=128)
def branches(guide: Guide, state: State) -> tuple[Branch, ...]:
    """A branch for each digit, where nothing else may follow; none where the answer ends then."""
    digits = guide.digits
    if not digits or guide.wish(state).only != digits:
        return ()
    found = []
    for digit in digits:
        tokens, after = [digit], guide.after(state, digit)
        if guide.ends(after):
            return ()
        wishes = [guide.wish(after)]
        for token in (*guide.forced(after), *_likely(guide, after)):
            tokens.append(token)
            after = guide.after(after, token)
            wishes.append(guide.wish(after))
        found.append(Branch(tuple(tokens), tuple(wishes)))
    return tuple(found)


def _likely(guide: Guide, state: State) -> tuple[int, ...]:
    """What is likely to follow what has to follow."""
    for token in guide.forced(state):
        state = guide.after(state, token)
    return guide.guess(state)
