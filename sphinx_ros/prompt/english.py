"""The number of English nouns and the capitals of phrases, where it is sure. Knows no task.

What is asked for goes into "Detect all ... shown in the image." as a plural. A rule of spelling
can't know every word, so it changes the last word of a plain noun phrase alone ("red mug"), and
leaves phrases, other scripts, names and words that may be plural already as they were asked.
"""

from __future__ import annotations

import re

IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "cactus": "cacti",
    "quiz": "quizzes",
    **{
        one: one[:-1] + "ves" for one in ("shelf", "leaf", "loaf", "wolf", "scarf", "half", "calf")
    },
    **{one: one[:-1] + "ves" for one in ("elf", "thief")},
    **{one: one[:-2] + "ves" for one in ("knife", "wife", "life")},
    **{one: one + "es" for one in ("tomato", "potato", "hero", "echo", "mosquito", "volcano")},
    **{one: one + "es" for one in ("bus", "lens", "gas", "virus", "walrus", "octopus", "canvas")},
    **{one: one + "es" for one in ("atlas", "iris", "crocus", "campus", "circus")},
    **{one: one + "s" for one in ("stomach", "monarch")},
}
"""Singular -> plural, beside the rules of spelling."""

AS_ONE = frozenset(
    """
    sheep fish deer moose bison shrimp salmon squid aircraft spacecraft hovercraft furniture
    luggage baggage equipment clothing food water grass moss sand snow ice rice bread money cash
    hair jewelry jewellery cutlery silverware trash garbage rubbish dust dirt smoke traffic
    broccoli spaghetti graffiti software hardware lighting wiring piping
    """.split()
)
"""Words of which both numbers are spelt alike, or that have no plural."""

AS_MANY = frozenset(
    """
    cattle police folk dice data media bacteria fungi criteria larvae antennae alumni
    """.split()
)
"""Plurals that do not end in s."""

ENDINGS = (
    "person man woman child foot tooth goose knife shelf leaf loaf wolf scarf tomato potato hero "
    "bus lens"
).split()
"""Irregular words that end longer ones, too: "bookshelf", "policeman", "minibus"."""

GLUE = frozenset(
    """
    the a an this that these those my your find locate show point please where who which whose is
    in on of to from with at by next behind beside between under over above below near left right
    first second third fourth fifth last nearest farthest lowest highest largest smallest biggest
    topmost leftmost rightmost
    """.split()
)
"""Words that are no part of a name, so that their capitals say nothing."""

REGULAR_ALL_THE_SAME = frozenset("human german roman ottoman caiman shaman mongoose".split())
"""Words that only look like one of the endings."""

KNOWN = """
    object thing item cube ball can cone mug bottle mannequin bicycle car motorcycle airplane
    train truck boat light hydrant sign meter bench bird cat dog horse cow elephant bear zebra
    giraffe backpack umbrella handbag tie suitcase frisbee ski snowboard kite bat glove
    skateboard surfboard racket glass cup fork spoon bowl banana apple sandwich orange
    carrot pizza donut cake chair couch plant bed table toilet laptop remote keyboard phone
    microwave oven toaster sink refrigerator book clock vase dryer toothbrush box face hand
    building painting drawing ring earring string spring railing swing ceiling wing shed sled
    seed weed moped key door window wheel tool part pallet cart robot helmet shoe shirt bag
    battery brush screwdriver hammer wrench drill cable plug socket button switch camera screen
    monitor lamp pen pencil eraser ruler marker notebook paper plate pan pot lid jar basket bin
    crate cross compass
""".split()
"""Nouns whose plural the rules spell right; they are singular again where the plural is said."""

_EVERYTHING = {
    **dict.fromkeys(("all", "all of them", "everything", "anything", "something"), "objects"),
    **dict.fromkeys(("everyone", "everybody", "anyone", "anybody", "someone"), "people"),
}

_APART = frozenset(
    """
    a an the one each every any some no this that these those all both my your his her its our
    their two three four five six seven eight nine ten about above across after against along
    among and around as at before behind below beneath beside besides between beyond but by down
    for from in inside into like near of off on onto or out outside over past per than through
    to toward towards under until up upon which who whose with within without is are has have being
    something anything everything someone anyone everyone
    """.split()
)
"""Words that make a phrase of which the last word need not be the noun."""

_ALL = re.compile(
    r"^(?:(?:all|any|some)(?: of)?(?: the)?|each|every|an?) (?!(?:of|in|on)\b)", re.IGNORECASE
)
_THE = re.compile("^the ", re.IGNORECASE)
_STOPS = " .,;:!?"


def small_letters(phrase: str) -> str:
    """A phrase without capitals that say nothing; names such as "Eiffel tower" keep theirs.

    "THE RED MUG", "The Mug Left Of The Can" -> all small; "The Coca Cola can" -> "the Coca ...".
    The models learnt expressions in small letters, and find less by others.
    """
    words = phrase.split()
    shouted = phrase.isupper() and len(words) > 1
    titled = all(w[:1].isupper() for w in words) and any(w.lower() in GLUE for w in words[1:])
    if shouted or titled:
        return phrase.lower()
    if words and words[0].lower() in GLUE and words[0] == words[0].capitalize():
        return phrase.replace(words[0], words[0].lower(), 1)
    return phrase


def asked_kind(words: str) -> str:
    """What is asked for, without words that say "all": "all the mugs", "a mug" -> "mugs", "mug".

    The wording says "all" by itself, and a thing of a kind is found among all of them. A noun that
    is sure is spelt in lower case, as the models know it: "Red Mug" -> "red mug".
    """
    bare = _without_all(words)
    last = bare.rpartition(" ")[2].lower()
    sure = last in _PLURAL or last in _SINGULAR
    capitals = bare in (bare.title(), bare.upper(), bare.capitalize())
    return bare.lower() if sure and capitals and bare.replace(" ", "").isalpha() else bare


def is_one(words: str) -> bool:
    """Whether one certain thing is asked for: "the" stands in front."""
    return _THE.match(words) is not None


def plural(noun: str) -> str:
    """The plural of a plain English noun phrase: "red mug" -> "red mugs".

    What is or may be plural, and whatever is no plain noun phrase, stays as it is.
    """
    head, space, last = noun.rpartition(" ")
    if not _is_plain(head.lower().split(), last):
        return noun
    return head + space + _plural_word(last)


def singular(noun: str) -> str:
    """One of what is asked for, where that is sure: "all red mugs" -> "red mug"; else as asked."""
    noun = _without_all(noun)
    if noun.rpartition(" ")[2].lower() in _SINGULAR:
        noun = asked_kind(noun)
    head, space, last = noun.rpartition(" ")
    if not _is_plain(head.lower().split(), last):
        return noun
    return head + space + _SINGULAR.get(last, last)


def _without_all(words: str) -> str:
    words = " ".join(words.split())
    words = _EVERYTHING.get(words.lower(), words.rstrip(_STOPS) or words)
    bare = _ALL.sub("", words)
    if _THE.match(bare) and bare.rpartition(" ")[2].lower() in _SINGULAR:  # "the mugs"
        bare = _THE.sub("", bare)
    return bare


def _is_plain(before: list[str], last: str) -> bool:
    """Whether the last word is the noun of the phrase, in English and spelt in lower case."""
    if not re.fullmatch(r"[a-z]{2,}", last) or any(word in _APART for word in before):
        return False
    # "mug painted blue" and "person wearing red", but "painted mug"
    return not _is_participle(last) and not any(_is_participle(word) for word in before[1:])


def _is_participle(word: str) -> bool:
    """Whether a word may be one: "wearing", "painted"."""
    return word not in KNOWN and (
        (word.endswith("ing") and len(word) > 5) or (word.endswith("ed") and len(word) > 4)
    )


def _plural_word(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word in _SINGULAR or word in _APART or word in AS_ONE or word in AS_MANY:
        return word
    if word.endswith(("men", "people", "fish", "children", "feet", "teeth")):
        return word
    if word not in REGULAR_ALL_THE_SAME:
        for ending in ENDINGS:
            if word.endswith(ending):
                return word.removesuffix(ending) + IRREGULAR[ending]
    if word.endswith(("ss", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("s"):  # plural already, or a word such as "scissors"
        return word
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


_SINGULAR: dict[str, str] = {many: one for one, many in IRREGULAR.items()}
_SINGULAR.update({_plural_word(one): one for one in KNOWN})
_PLURAL: dict[str, str] = {one: many for many, one in _SINGULAR.items()}
