"""Objects -> words that are true of none of them, most of them by a hair. Knows no prompt.

The counterpart of :mod:`sphinx_ros.world.phrases`, kind by kind and with its margins: the right
kind in the wrong colour, an ordinal too many, a relation the other way round. A reader with a
ruler agrees that there is no such thing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sphinx_ros.world.nouns import TRIES, Noun, Tabletop, absent, pick
from sphinx_ros.world.phrases import (
    EXTREMES,
    ORDINALS,
    OTHERS_MARGIN,
    PAIR_SIDES,
    RELATION_WORDS,
    RELATIONS,
)
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES

NEAR_MISSES = 0.7
"""Share of the expressions whose noun is there, and something else said of it is false."""


def no_attribute(table: Tabletop, rng: np.random.Generator) -> str | None:
    """A kind, a colour and kind, or a colour that is not there: "red mug", "red object"."""
    if rng.random() < 0.15:
        noun = Noun("", pick(rng, COLOURS))  # a shirt would leave open whether its wearer is one
        return None if table.all_of(noun) else noun.text()
    missing = absent(table, rng)
    return None if missing is None else missing.text(rng)


def no_size(table: Tabletop, rng: np.random.Generator) -> str | None:
    """The other size of what is there, or a size of what is not: "small ball"."""
    for _ in range(TRIES):
        noun = Noun(pick(rng, [kind for kind in KINDS if kind != "person"]), "", pick(rng, SIZES))
        if len(table) and rng.random() < NEAR_MISSES:
            thing = pick(rng, table.things)
            noun = noun._replace(kind=thing.kind)
            if rng.random() < 0.5:
                noun = noun._replace(colour=thing.colour)
        if noun.kind != "person" and not table.all_of(noun):
            return noun.text()
    return None


def no_ordinal(table: Tabletop, rng: np.random.Generator) -> str | None:
    """One more than there are, "third cube from the left" of two; or one of a row of none."""
    side = pick(rng, ("left", "right"))
    for _ in range(TRIES):
        noun, near = absent(table, rng), False
        if len(table) and rng.random() < NEAR_MISSES:
            thing, near = pick(rng, table.things), True
            noun = Noun(thing.kind, thing.colour if rng.random() < 0.3 else "")
        if noun is None:
            continue
        if not near and rng.random() < 0.3:
            return pick(rng, PAIR_SIDES).format(noun.text(rng))
        first = len(table.all_of(noun))
        if first >= len(ORDINALS):
            continue
        # by one too many most of the time: the nearest miss is the hardest
        place = first if rng.random() < 0.7 else int(rng.integers(first, len(ORDINALS)))
        return f"{ORDINALS[place]} {noun.text(rng)} from the {side}"
    return None


def no_relation(table: Tabletop, rng: np.random.Generator) -> str | None:
    """A thing where none lies: "ball left of the green can" with all balls on its right."""
    for _ in range(2 * TRIES if len(table) else 0):
        wanted, mark = pick(rng, RELATIONS), int(rng.integers(len(table)))
        link, marks = pick(rng, RELATION_WORDS[wanted]), table.names(mark)
        if not marks:
            continue
        noun, beside = Noun(pick(rng, table.things).kind), pick(rng, marks)
        if rng.random() < 0.4:
            noun = noun._replace(colour=pick(rng, table.things).colour)
        if rng.random() < NEAR_MISSES:
            group = [i for i in table.all_of(noun) if i != mark]
            if not group or any(table.offset(wanted, i, mark) > -OTHERS_MARGIN for i in group):
                continue
        else:
            missing = absent(table, rng)
            if missing is None:
                continue
            if rng.random() < 0.5 and table.all_of(noun):
                beside = missing
            else:
                noun = missing
        return f"{noun.text(rng)} {link} the {beside.text(rng)}"
    return None


def no_superlative(table: Tabletop, rng: np.random.Generator) -> str | None:
    """The most so of none: "nearest mug" without a mug."""
    noun = absent(table, rng)
    if noun is None:
        return None
    return pick(rng, EXTREMES[pick(rng, tuple(EXTREMES))]).format(noun.text(rng))


DENIED: dict[str, Callable[[Tabletop, np.random.Generator], str | None]] = {
    "attribute": no_attribute,
    "size": no_size,
    "ordinal": no_ordinal,
    "relation": no_relation,
    "superlative": no_superlative,
}
"""Expression kind -> function (table, rng) -> words without "the" that are true of nothing."""
