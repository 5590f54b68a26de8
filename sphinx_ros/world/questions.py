"""Questions that a word or two answer: counts, colours, existence, relations."""

from __future__ import annotations

import math

import numpy as np

from sphinx_ros.prompt.wording import presence_question, question
from sphinx_ros.tasks import Task
from sphinx_ros.world.denied import DENIED
from sphinx_ros.world.nouns import TRIES, Noun, Tabletop, absent, article, name_of, pick
from sphinx_ros.world.phrases import (
    EXPRESSION_KINDS,
    EXPRESSIONS,
    OPPOSITE,
    OTHERS_MARGIN,
    RELATION_MARGIN,
    RELATION_WORDS,
    RELATIONS,
    colourless,
)
from sphinx_ros.world.turn import Turn, target_of
from sphinx_ros.world.wordings import freely

COUNT_WORDINGS = (
    "How many {} are there?",
    "How many {} are in the image?",
    "How many {} can you see?",
)
COLOUR_WORDINGS = ("What color is the {}?", "What colour is the {}?", "Which color is the {}?")
SHIRT_WORDINGS = ("What color is the shirt of the {}?", "What colour is the shirt of the {}?")
EXIST_WORDINGS = ("Is there {}?", "Is there {} in the image?", "Can you see {}?")
RELATION_WORDINGS = ("Is the {} {} the {}?",)
WHAT_WORDINGS = ("What is {} the {}?", "Which object is {} the {}?")

COUNT_WEIGHTS = (0.55, 0.45, 1.0, 2.0, 3.0)  # of answers 0, 1, 2, 3, 4+: rare ones asked oftener
NEAREST_RATIO = 1.3  # "what is left of": the nearest there is nearer than the next by this factor


def _ask(kind: str, words: str, answer: str, target: dict) -> Turn:
    target["answers"] = [answer]
    return Turn(Task.ASK, question(Task.ASK, words), answer, kind, target)


def count(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """How many of a kind, of a colour and kind, of a colour, or of all. Answers 0..4+ balanced."""
    choices: dict[int, list[tuple[Noun, list[int]]]] = {}
    asked = {Noun(thing.kind) for thing in table.things}
    asked |= {Noun(thing.kind, thing.colour) for thing in table.things}
    shirts = {thing.colour for thing in table.things if thing.kind == "person"}
    # "red objects" would leave open whether a red shirt makes a person one.
    asked |= {Noun("", thing.colour) for thing in table.things if thing.colour not in shirts}
    asked.add(Noun())
    for noun in sorted(asked):
        found = table.all_of(noun)
        choices.setdefault(min(len(found), 4), []).append((noun, found))
    missing = absent(table, rng)
    if missing is not None:
        choices.setdefault(0, []).append((missing, []))
    keys = sorted(choices)
    weights = np.cumsum([COUNT_WEIGHTS[key] for key in keys])
    level = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
    noun, found = pick(rng, choices[keys[level]])
    words = pick(rng, COUNT_WORDINGS).format(noun.plural(rng))
    return _ask("count", words, str(len(found)), target_of(table, found))


def colour(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """The colour of a thing named without it."""
    found = colourless(table, rng) if len(table) else None
    if found is None:
        return None
    index, words, steps = found
    thing = table.things[index]
    wordings = SHIRT_WORDINGS if thing.kind == "person" else COLOUR_WORDINGS
    words = pick(rng, wordings).format(words)
    return _ask("colour", words, thing.colour, target_of(table, [index], steps=steps))


def exist(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """Is there such a thing? Half yes, half no; a no often shares kind or colour with a thing."""
    if rng.random() < 0.5:
        if not len(table):
            return None
        thing = pick(rng, table.things)
        noun = Noun(thing.kind, thing.colour if rng.random() < 0.6 else "")
    else:
        missing = absent(table, rng)
        if missing is None:
            return None
        noun = missing
    found = table.all_of(noun)
    words = pick(rng, EXIST_WORDINGS).format(article(noun.text(rng)))
    return _ask("exist", words, "yes" if found else "no", target_of(table, found))


def exist_refer(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """Is there what an expression of any kind describes? Half yes, half no."""
    kind, there = pick(rng, EXPRESSION_KINDS), rng.random() < 0.5
    found = EXPRESSIONS[kind](table, rng) if there and len(table) else None
    words = DENIED[kind](table, rng) if not there else found and found.words
    if words is None:
        return None
    said = freely(words, rng) if rng.random() < 0.1 else words
    asked = presence_question(said)
    target = target_of(table, [found.thing], steps=found.steps) if found else target_of(table, [])
    return _ask("exist_refer", asked, "yes" if there else "no", target)


def relation_yesno(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """Is one thing left of (right of, above, below) another? Half yes, half no."""
    if len(table) < 2:
        return None
    true = rng.random() < 0.5
    for _ in range(TRIES):
        one, other = int(rng.integers(len(table))), int(rng.integers(len(table)))
        relation = pick(rng, RELATIONS)
        if one == other or table.offset(relation, one, other) <= RELATION_MARGIN:
            continue
        names, marks = table.names(one), table.names(other)
        if not names or not marks:
            continue
        link = pick(rng, RELATION_WORDS[relation if true else OPPOSITE[relation]])
        words = pick(rng, RELATION_WORDINGS).format(
            pick(rng, names).text(rng), link, pick(rng, marks).text(rng)
        )
        answer = "yes" if true else "no"
        return _ask("relation_yesno", words, answer, target_of(table, [one, other]))
    return None


def what_relation(table: Tabletop, rng: np.random.Generator) -> Turn | None:
    """The thing next to another on one side, where one is clearly the nearest there."""
    if len(table) < 2:
        return None
    for _ in range(TRIES):
        mark, relation = int(rng.integers(len(table))), pick(rng, RELATIONS)
        marks = table.names(mark)
        index = _nearest(table, relation, mark) if marks else None
        if index is None:
            continue
        link = pick(rng, RELATION_WORDS[relation])
        words = pick(rng, WHAT_WORDINGS).format(link, pick(rng, marks).text(rng))
        answer = name_of(table.things[index], size=False).text()
        return _ask("what_relation", words, answer, target_of(table, [index, mark]))
    return None


def _nearest(table: Tabletop, relation: str, mark: int) -> int | None:
    """The thing on that side of the mark, the nearest by far, or None."""
    near = []
    for i in range(len(table)):
        ahead = table.offset(relation, i, mark) if i != mark else -1.0
        if ahead > -OTHERS_MARGIN:  # those barely on the other side may be meant too
            distance = math.hypot(table.x[i] - table.x[mark], table.y[i] - table.y[mark])
            near.append((distance, ahead, i))
    near.sort()
    if not near or (len(near) > 1 and near[1][0] < NEAREST_RATIO * near[0][0]):
        return None
    distance, ahead, index = near[0]
    # "Left of" something is not far above it: the side must be the main direction.
    return index if ahead > RELATION_MARGIN and ahead > 0.75 * distance else None
