"""Objects -> words that mean exactly one of them, or exactly a group. Knows no prompt, no picture.

"Left of", "above" and the like are meant in the picture and compare the middles of boxes. Every
expression here is unambiguous by construction and by a margin: a reader with a ruler agrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sphinx_ros.world.nouns import TRIES, Noun, Tabletop, name_of, nouns, pick

RELATION_MARGIN = 0.06  # middles of "left of" differ by more, as a share of the picture's width
OTHERS_MARGIN = 0.02  # and those it is not true of lie on the other side by at least this
ORDER_MARGIN = 0.04  # neighbours in "the second from the left" are apart by more
DEPTH_RATIO = 1.12  # "the nearest" is nearer than the next by this factor
AREA_RATIO = 1.35  # "the largest" covers more of the picture than the next by this factor

RELATIONS = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
RELATION_WORDS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below",),
}
ORDINALS = ("first", "second", "third", "fourth", "fifth")
EXTREMES = {
    "left": ("leftmost {}", "{} farthest to the left"),
    "right": ("rightmost {}", "{} farthest to the right"),
    "above": ("topmost {}", "highest {}"),
    "below": ("lowest {}",),
    "near": ("nearest {}", "closest {}"),
    "far": ("farthest {}",),
    "big": ("largest {}", "biggest {}"),
}
PAIR_SIDES = ("left {}", "right {}", "{} on the left", "{} on the right")
EXPRESSION_KINDS = ("attribute", "size", "ordinal", "relation", "superlative")


class Expression(NamedTuple):
    """Words that mean one thing.

    thing: its index. words: without "the". steps: what a finger passes on the way to it, the thing
    itself last: those before it in a row, or the one that it lies left of.
    """

    thing: int
    words: str
    steps: tuple[int, ...]


def attribute(table: Tabletop, rng: np.random.Generator) -> Expression | None:
    """A thing by kind, colour and kind, or colour alone: "mug", "red mug", "red object"."""
    for _ in range(TRIES):
        index = int(rng.integers(len(table)))
        thing = table.things[index]
        noun = pick(rng, (Noun(thing.kind), name_of(thing, False), name_of(thing, False)))
        if thing.kind != "person" and rng.random() < 0.2:
            noun = Noun("", thing.colour)
        if len(table.all_of(noun)) == 1:
            return Expression(index, noun.text(rng), (index,))
    return None


def size(table: Tabletop, rng: np.random.Generator) -> Expression | None:
    """A thing told from its like by being small or large: "small ball", "large red can"."""
    for _ in range(TRIES):
        index = int(rng.integers(len(table)))
        thing = table.things[index]
        if not thing.size:
            continue
        without = Noun(thing.kind, thing.colour if rng.random() < 0.5 else "")
        noun = without._replace(size=thing.size)
        if len(table.all_of(noun)) == 1 < len(table.all_of(without)):
            return Expression(index, noun.text(), (index,))
    return None


def _group(table: Tabletop, rng: np.random.Generator, colour: bool) -> tuple[Noun, list[int]]:
    """A name several things share (one thing, where none is shared) and their indices."""
    thing = pick(rng, table.things)
    noun = Noun(thing.kind, thing.colour if colour and rng.random() < 0.3 else "")
    if noun.kind != "person" and rng.random() < 0.1:
        noun = Noun("")
    return noun, table.all_of(noun)


def ordinal(table: Tabletop, rng: np.random.Generator, colour: bool = True) -> Expression | None:
    """A thing by its place in a row: "second cube from the left", of two also "left cube"."""
    for _ in range(TRIES):
        noun, group = _group(table, rng, colour)
        if not 2 <= len(group) <= len(ORDINALS):
            continue
        row = sorted(group, key=lambda i: table.x[i])
        gaps = [table.x[b] - table.x[a] for a, b in itertools.pairwise(row)]
        if min(gaps) <= ORDER_MARGIN:
            continue
        nth = int(rng.integers(len(row)))
        if len(row) == 2 and rng.random() < 0.4:
            words = pick(rng, PAIR_SIDES[nth::2]).format(noun.text(rng))
            return Expression(row[nth], words, (row[nth],))
        from_right = rng.random() < 0.5
        steps = tuple(row[nth:][::-1] if from_right else row[: nth + 1])
        side = "right" if from_right else "left"
        words = f"{ORDINALS[len(steps) - 1]} {noun.text(rng)} from the {side}"
        return Expression(row[nth], words, steps)
    return None


def _is_only(table: Tabletop, relation: str, one: int, mark: int, group: Sequence[int]) -> bool:
    """Does the relation to the mark hold clearly of one, and clearly of no other of the group?"""
    return table.offset(relation, one, mark) > RELATION_MARGIN and all(
        table.offset(relation, other, mark) < -OTHERS_MARGIN
        for other in group
        if other not in (one, mark)
    )


def relation(table: Tabletop, rng: np.random.Generator, colour: bool = True) -> Expression | None:
    """A thing by where it lies: "ball left of the green can". Prefers names of several things."""
    if len(table) < 2:
        return None
    for attempt in range(2 * TRIES):
        index, mark = int(rng.integers(len(table))), int(rng.integers(len(table)))
        marks = table.names(mark) if mark != index else []
        if not marks:
            continue
        thing = table.things[index]
        noun = pick(rng, nouns(thing) if colour else [Noun(thing.kind)])
        group = table.all_of(noun)
        if len(group) == 1 and attempt < TRIES:
            continue  # the name alone would do, and the relation could be ignored
        wanted = pick(rng, RELATIONS)
        if not _is_only(table, wanted, index, mark, group):
            continue
        link = pick(rng, RELATION_WORDS[wanted])
        words = f"{noun.text(rng)} {link} the {pick(rng, marks).text(rng)}"
        return Expression(index, words, (mark, index))
    return None


def superlative(
    table: Tabletop, rng: np.random.Generator, colour: bool = True
) -> Expression | None:
    """The one that is most so: "leftmost ball", "largest can", "nearest mug"."""
    for _ in range(TRIES):
        noun, group = _group(table, rng, colour)
        if len(group) < 2:
            continue
        most = pick(rng, tuple(EXTREMES))
        best = _extreme(table, most, group)
        if best is not None:
            words = pick(rng, EXTREMES[most]).format(noun.text(rng))
            return Expression(best, words, (best,))
    return None


def _extreme(table: Tabletop, most: str, group: list[int]) -> int | None:
    """The leftmost (nearest, ...) of the group, or None where the lead is small."""
    if most in ("near", "far"):
        order = sorted(group, key=lambda i: table.depth[i], reverse=most == "far")
        first, second = table.depth[order[0]], table.depth[order[1]]
        clear = max(first, second) > DEPTH_RATIO * min(first, second)
    elif most == "big":
        order = sorted(group, key=lambda i: -table.area[i])
        clear = table.area[order[0]] > AREA_RATIO * table.area[order[1]]
        # A small thing close by may cover more than a large one far off: not called the largest.
        clear &= table.things[order[0]].size != "small" or all(
            table.things[i].size == "small" for i in order
        )
    else:
        axis = table.x if most in ("left", "right") else table.y
        order = sorted(group, key=lambda i: axis[i], reverse=most in ("right", "below"))
        clear = abs(axis[order[0]] - axis[order[1]]) > ORDER_MARGIN
    return order[0] if clear else None


EXPRESSIONS: dict[str, Callable] = {
    "attribute": attribute,
    "size": size,
    "ordinal": ordinal,
    "relation": relation,
    "superlative": superlative,
}
"""Expression kind -> function (table, rng) -> :class:`Expression`, None where it finds none."""


def colourless(table: Tabletop, rng: np.random.Generator) -> Expression | None:
    """A thing named without its own colour, to ask for the colour."""
    for _ in range(TRIES):
        way = int(rng.integers(5))
        if way < 2:
            index = int(rng.integers(len(table)))
            thing = table.things[index]
            noun = Noun(thing.kind, "", thing.size if way else "")
            if len(table.all_of(noun)) == 1:
                return Expression(index, noun.text(), (index,))
            continue
        found = (ordinal, superlative, relation)[way - 2](table, rng, colour=False)
        # Of a person the shirt is asked for, which "the shirt of the leftmost object" says badly.
        if found and not ("object" in found.words and table.things[found.thing].kind == "person"):
            return found
    return None
