"""The number of English nouns, where it is sure. Knows no task.

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
    "knife": "knives",
    "shelf": "shelves",
    "leaf": "leaves",
    "loaf": "loaves",
    "wolf": "wolves",
    "scarf": "scarves",
    "half": "halves",
    "tomato": "tomatoes",
    "potato": "potatoes",
    "hero": "heroes",
    "cactus": "cacti",
    **{same: same for same in ("sheep", "fish", "deer", "aircraft", "furniture", "luggage")},
    **{one: one + "es" for one in ("bus", "lens", "gas", "virus", "walrus", "octopus", "cross")},
    **{one: one + "es" for one in ("canvas", "atlas", "iris", "crocus", "compass")},
}
"""Singular -> plural, beside the rules of spelling."""

KNOWN = """
    object thing item cube ball can cone mug bottle mannequin bicycle car motorcycle airplane
    train truck boat light hydrant sign meter bench bird cat dog horse cow elephant bear zebra
    giraffe backpack umbrella handbag tie suitcase frisbee ski snowboard kite bat glove
    skateboard surfboard racket glass cup fork spoon bowl banana apple sandwich orange broccoli
    carrot pizza donut cake chair couch plant bed table toilet laptop remote keyboard phone
    microwave oven toaster sink refrigerator book clock vase dryer toothbrush box face hand
    building painting ring string ceiling wing shed sled seed weed key door window wheel tool
    part pallet cart robot helmet shoe shirt bag battery brush
""".split()
"""Nouns whose plural the rules spell right; they are singular again where the plural is said."""

_APART = frozenset(
    """
    a an the one each every any some no this that these those all both my your his her its our
    their two three four five six seven eight nine ten about above across after against along
    among and around as at before behind below beneath beside besides between beyond but by down
    for from in inside into like near of off on onto or out outside over past per than through
    to toward towards under until up upon which who whose with within without is are has have being
    """.split()
)
"""Words that make a phrase of which the last word need not be the noun."""

_ARTICLE = re.compile(r"(?:the|a|an)\s", re.IGNORECASE)
_ALL = re.compile(r"all\s+(?:of\s+)?(?:the\s+)?(?=\S)", re.IGNORECASE)


def without_all(words: str) -> str:
    """ "all mugs", "all the mugs" -> "mugs": the wording says "all" by itself."""
    return _ALL.sub("", words, count=1) if _ALL.match(words) else words


def is_one(words: str) -> bool:
    """Whether one thing is asked for: an article stands in front."""
    return _ARTICLE.match(words) is not None


def plural(noun: str) -> str:
    """The plural of a plain English noun phrase: "red mug" -> "red mugs".

    What is or may be plural, and whatever is no plain noun phrase, stays as it is.
    """
    head, space, last = noun.rpartition(" ")
    if not _plain(head.lower().split(), last):
        return noun
    return head + space + _plural_word(last)


def singular(noun: str) -> str:
    """The singular of a plural whose singular is sure: "red mugs" -> "red mug"; else unchanged."""
    head, space, last = noun.rpartition(" ")
    return head + space + _SINGULAR.get(last, last)


def _plain(before: list[str], last: str) -> bool:
    """Whether the last word is the noun of the phrase, in English and spelt in lower case."""
    if not re.fullmatch(r"[a-z]+", last) or any(word in _APART for word in before):
        return False
    if any(_participle(word) for word in before[1:]):  # "mug painted blue", but "painted mug"
        return False
    return not before or not _participle(last)


def _participle(word: str) -> bool:
    """Whether a word may be one: "wearing", "painted"."""
    return word not in KNOWN and (
        (word.endswith("ing") and len(word) > 5) or (word.endswith("ed") and len(word) > 4)
    )


def _plural_word(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word in _SINGULAR or word in _APART or word.endswith(("men", "people")):
        return word
    if word.endswith(("ss", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("s"):  # plural already, or a word such as "scissors"
        return word
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        return word[:-1] + "ies"
    return word + "s"


_SINGULAR: dict[str, str] = {many: one for one, many in IRREGULAR.items()}
_SINGULAR.update({_plural_word(one): one for one in KNOWN})
