"""What the model wrote -> the words of it that people read.

A caption comes as "<p>large blue mug</p>[0.270,0.512,0.401,0.688] on a table": tags around names,
and brackets that :mod:`sphinx_ros.prompt.parse` turns into boxes and points.
"""

from __future__ import annotations

import re

_BRACKET = re.compile(r"\[[-+\d.,;%\s\[]*\]*")
_NUMBER = re.compile(r"\d[\d.]*")
_TAG = re.compile(r"(?<=\w)<p>|</p>(?=\w)|(</?p>)")
_SPACES = re.compile(r"[ \t]{2,}")
_BEFORE_STOP = re.compile(r"(?<=\S) (?=[.,;:!?)])")


def plain(text: str) -> str:
    """The text without tags and coordinates: "<p>mug</p>[0.1,0.2,0.3,0.4]." -> "mug."

    A text that holds neither comes back as it is, and so does one that is nothing else. Brackets
    around words, or around one number, stay. It takes time linear in the length of the text.
    """
    bare = _TAG.sub(lambda tag: "" if tag[1] else " ", _BRACKET.sub(_without, text))
    if bare == text:
        return text
    return _BEFORE_STOP.sub("", _SPACES.sub(" ", bare)).strip() or text


def _without(bracket: re.Match[str]) -> str:
    """A space for a bracket of coordinates, also for one that the end of the text cuts off."""
    written = bracket.group()
    numbers = len(_NUMBER.findall(written))
    cut_off = bracket.end() == len(bracket.string) and not written.endswith("]")
    coordinates = numbers > 1 if written.endswith("]") else cut_off
    return " " if coordinates else written
