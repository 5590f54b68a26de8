"""Names of things: nouns, and which things of an observation they are true of. Knows no prompt.

A :class:`Tabletop` is an observation with the places and sizes that phrases compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.english import plural
from sphinx_ros.world.truth import COLOURS, KINDS, Observation, SceneObject

T = TypeVar("T")

SHIRTS = ("person in {} shirt", "person in the {} shirt", "person in {}")
PEOPLE = ("people in {} shirts", "people in {} shirt")
TRIES = 24  # draws until a maker gives up
VOWELS = tuple("aeiou")  # a word that begins with one takes "an"


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of the items, all equally likely."""
    return items[int(rng.integers(len(items)))]


class Noun(NamedTuple):
    """A kind of thing, "" where it does not matter: Noun("mug", "red") is any red mug."""

    kind: str = ""
    colour: str = ""
    size: str = ""

    def matches(self, thing: SceneObject) -> bool:
        """Is this thing one of them? A person has the colour of the shirt."""
        return (
            (not self.kind or thing.kind == self.kind)
            and (not self.colour or thing.colour == self.colour)
            and (not self.size or thing.size == self.size)
        )

    def text(self, rng: np.random.Generator | None = None) -> str:
        """Its name without an article; with ``rng`` one of the wordings, else the plain one."""
        if self.kind == "person" and self.colour:
            way = 0 if rng is None else int(rng.integers(len(SHIRTS)))
            return SHIRTS[way].format(self.colour if way else article(self.colour))
        return " ".join(word for word in (self.size, self.colour, self.kind or "object") if word)

    def plural(self, rng: np.random.Generator | None = None) -> str:
        """Its name for many: "red mugs", "people in red shirts"."""
        if self.kind == "person" and self.colour:
            if rng is None or rng.random() < 0.6:
                return PEOPLE[0].format(self.colour)
            return PEOPLE[1].format(article(self.colour))
        return plural(self.text())


def name_of(thing: SceneObject, size: bool = True) -> Noun:
    """Everything that can be said of a thing by itself: "small red mug", "person in a red ..."."""
    return Noun(thing.kind, thing.colour, thing.size if size else "")


def article(words: str) -> str:
    """ "red mug" -> "a red mug", "orange mug" -> "an orange mug"."""
    return ("an " if words.startswith(VOWELS) else "a ") + words


class Tabletop:
    """An observation with what the language needs of it worked out once.

    things: the objects. x, y: middles of their boxes as shares of the picture's WIDTH (both, so
    that margins mean the same length). area: box areas, px. depth: metres. place: the letterbox.
    """

    def __init__(self, observation: Observation):
        self.things = observation.objects
        camera = observation.camera
        self.place = Letterbox.of(camera.width, camera.height)
        self.x = [thing.centre[0] / camera.width for thing in self.things]
        self.y = [thing.centre[1] / camera.width for thing in self.things]
        self.depth = [thing.depth for thing in self.things]
        self.area = [
            (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1]) for thing in self.things
        ]

    def __len__(self) -> int:
        return len(self.things)

    def all_of(self, noun: Noun) -> list[int]:
        """Indices of the things the noun is true of."""
        return [i for i, thing in enumerate(self.things) if noun.matches(thing)]

    def offset(self, relation: str, one: int, other: int) -> float:
        """How far ``one`` lies left of (right of, ...) ``other``; negative: on the other side."""
        if relation in ("left", "right"):
            ahead = self.x[other] - self.x[one]
        else:
            ahead = self.y[other] - self.y[one]
        return ahead if relation in ("left", "above") else -ahead

    def names(self, index: int) -> list[Noun]:
        """Names that are true of this thing and of no other, the short ones first."""
        return [noun for noun in nouns(self.things[index]) if len(self.all_of(noun)) == 1]


def nouns(thing: SceneObject) -> list[Noun]:
    """All the names a thing goes by, from "mug" to "small red mug"."""
    kind, colour, size = thing.kind, thing.colour, thing.size
    found = [Noun(kind), Noun(kind, colour)]
    if size:
        found += [Noun(kind, "", size), Noun(kind, colour, size)]
    return found


def absent(table: Tabletop, rng: np.random.Generator) -> Noun | None:
    """Something the picture does not show: a kind, or a colour and kind that share a half."""
    for _ in range(TRIES):
        way = rng.random()
        if way < 0.4 or not len(table):
            noun = Noun(pick(rng, KINDS))
        elif way < 0.75:
            noun = Noun(pick(rng, table.things).kind, pick(rng, COLOURS))
        else:
            noun = Noun(pick(rng, KINDS), pick(rng, table.things).colour)
        if not table.all_of(noun):
            return noun
    return None
