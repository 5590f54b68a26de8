"""The words before a bracket -> what the model calls the thing in it.

Three forms are labels as in the official demo or in SPHINX-X: ``<p>mug</p>[...]``, ``mug[...]``
and ``mug</p>[...]``, whose first tag was lost. Other words ("There is a white mug [...]", "a mug
at [...]") are kept apart: they are the model's own words, too, and go before what was asked for.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LOOK_BACK = 80
"""Characters before a bracket that may hold its label: labels are short, and time is bounded."""

MAX_WORDS = 6
"""Longer phrases are sentences and no names."""

_BREAK = re.compile(r"[\",.:;!?\n>\]\[]")
_LEAD_IN = re.compile(r"^(?:and\s+)?(?:there\s+(?:is|are)\s+\w+\s+)?(?:and\s+)?", re.IGNORECASE)
_AROUND = " \t\r\n:=,'\"*_-\u2013\u2014"

_BEFORE = re.compile(
    r"(?:(?:and|or|also|then|plus|with|sure|yes|here|there (?:is|are)|here (?:is|are)|"
    r"(?:i|we)(?: can)? (?:see|find|found)|"
    r"(?:bounding )?(?:box|boxes|region|coordinates) (?:of|for)|"
    r"a|an|the|one|two|three|four|five|six|seven|eight|nine|ten)\s+)+",
    re.IGNORECASE,
)
"""What leads to a name: "There are two mugs [...]"."""

_BETWEEN = frozenset("is are was were at in on with located found shown visible here".split())
"""Words between a name and its bracket: "the mug is located at [...]"."""

_NO_NAME = frozenset(
    "is are was were be has have had could it he she they them this that these those which "
    "who what where there here i you we something someone anything".split()
)
"""A phrase with one of them is a sentence."""

_OF_NOTHING = frozenset(
    "bounding box boxes coordinate coordinates region regions area location position point points "
    "object objects thing things item target answer image picture name label result results "
    "description sentence human person's keypoint keypoints key joints".split()
)
"""A phrase of nothing but these says what the bracket is, and not what is in it."""


class Tag(NamedTuple):
    """The last closed ``<p>..</p>``: the words in it, and the position behind it."""

    words: str
    end: int


def label_before(text: str, start: int, used: int, tag: Tag | None) -> tuple[str, str]:
    """The label of the bracket at ``start``, and other words of the model's for it; "" for none.

    Args:
        used: everything before this position belongs to earlier brackets.
        tag: the last closed tag behind ``used``.
    """
    if tag is not None:
        gap = text[tag.end : start]
        if not gap.strip():
            return tag.words, ""
        if len(gap) <= LOOK_BACK and _links_only(gap):
            return "", tag.words
        return "", ""
    before, whole = _behind(text, start, used)
    if before and (before[-1].isalnum() or before[-1] in "\"'"):
        return attached(before.rstrip("\"'")), ""
    return "", _words_before(before, whole)


def lost_tag(text: str, start: int, used: int) -> str:
    """The words before a ``</p>`` at ``start`` that no ``<p>`` opens."""
    return attached(_behind(text, start, used)[0])


def attached(before: str) -> str:
    """The end of a text that names a thing: "There are two text" -> "text"."""
    return _LEAD_IN.sub("", _BREAK.split(before)[-1].strip(" '"), count=1).strip()


def _behind(text: str, start: int, used: int) -> tuple[str, bool]:
    """The text before a position, and whether it is all since ``used``."""
    first = max(used, start - LOOK_BACK)
    return text[first:start], first == used


def _words_before(before: str, whole: bool) -> str:
    """ "There is a white mug at " -> "white mug"; "" for a sentence. whole: nothing was cut."""
    words = before.rstrip(_AROUND)
    while words and words.rpartition(" ")[2].lower() in _BETWEEN:
        words = words.rpartition(" ")[0].rstrip(_AROUND)
    parts = _BREAK.split(words)
    if len(parts) == 1 and not whole:
        return ""
    named = " ".join(parts[-1].strip(_AROUND).split())
    named = _BEFORE.sub("", named + " ", count=1).strip()
    each = set(named.lower().split())
    if len(named.split()) > MAX_WORDS or each & _NO_NAME or each <= _OF_NOTHING:
        return ""
    return named


def _links_only(gap: str) -> bool:
    return all(word.strip(_AROUND).lower() in _BETWEEN | {""} for word in gap.split())
