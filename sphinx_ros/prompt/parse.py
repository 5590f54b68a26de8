"""What the model wrote -> boxes and points, as numbers in fractions of the padded square.

Reads everything the official demo reads (LLaMA2-Accessory, ``multi_turn_mm_box.py``) in reading
order, and forms it loses: integers ("0", "1"), ".5", percent, negative numbers, flat joint lists.
``parse`` is total: any text gives a result in linear time, and what looks like coordinates and
can't be read is kept in ``unread``. Knows no picture; :mod:`sphinx_ros.prompt.results` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sphinx_ros.prompt.denials import is_denial
from sphinx_ros.prompt.labels import Tag, label_before, lost_tag
from sphinx_ros.types import COCO_KEYPOINTS

Span = tuple[int, int]

JOINTS = len(COCO_KEYPOINTS)
"""SPHINX-X (arXiv 2402.05935) writes a person as a flat list of two numbers for each joint."""

LOWEST, HIGHEST = -1.0, 2.0
"""Numbers outside can't be fractions of the square."""

_TOKEN = re.compile(r"<p>|</p>|\[[\[\s]*(?P<inside>[^\[\]]*)(?P<end>\]?)|\]")
NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?=\.?\d)(?P<whole>\d*)(?:\.(?P<decimals>\d*))?(?P<percent>%?)"
)
"""A number in a bracket and its parts."""
_ROUND = re.compile(r"\([-+\d.,;\s%]*\)")
_NUMERIC = "0123456789.,;+-% \t\n\r"


@dataclass(frozen=True)
class Item:
    """One bracket: what the model calls it, and its boxes and points as written.

    Attributes:
        label: its label, "" if it has none.
        boxes, points: (x1, y1, x2, y2) and (x, y), in fractions of the padded square, corners in
            the order written.
        span: the bracket's characters. box_spans, point_spans: those of each one.
        words: the model's words before a bracket that has no label, "" if there are none.
    """

    label: str
    boxes: tuple[tuple[float, float, float, float], ...]
    points: tuple[tuple[float, float], ...]
    span: Span
    box_spans: tuple[Span, ...] = ()
    point_spans: tuple[Span, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Parsed:
    """All brackets of a text in reading order, and the parts that could not be read."""

    items: tuple[Item, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def n_boxes(self) -> int:
        """Number of boxes."""
        return sum(len(item.boxes) for item in self.items)

    @property
    def n_points(self) -> int:
        """Number of points."""
        return sum(len(item.points) for item in self.items)


def parse(text: str) -> Parsed:
    """Any text -> its boxes and points. Never raises, linear in the length of the text."""
    reader = _Reader(text)
    for token in _TOKEN.finditer(text):
        kind = token.group()
        if kind == "<p>":
            reader.opened = token.end()
        elif kind == "</p>":
            reader.close_tag(*token.span())
        elif kind == "]":
            reader.close_outer(*token.span())
        else:
            reader.bracket(token)
    for match in _ROUND.finditer(text):  # "(0.1,0.2,0.3,0.4)": not a form the model was taught
        if "." in match.group() and "," in match.group():
            reader.unread.append((match.start(), match.group()))
    unread = sorted(reader.unread, key=lambda part: part[0])
    return Parsed(tuple(reader.items), tuple(part for _, part in unread))


class _Reader:
    """What was read so far of a text whose tags and brackets come in order.

    opened: position behind the last "<p>" that is still open. tag: the last closed one that no
    bracket has used. used: everything before this position belongs to earlier brackets.
    """

    def __init__(self, text: str):
        self.text = text
        self.items: list[Item] = []
        self.unread: list[tuple[int, str]] = []
        self.opened: int | None = None
        self.tag: Tag | None = None
        self.used = 0

    def close_tag(self, start: int, end: int) -> None:
        if self.opened is None:
            words = lost_tag(self.text, start, self.used)
        else:
            words = " ".join(self.text[self.opened : start].split())
        self.tag, self.opened = Tag(words, end), None

    def close_outer(self, start: int, end: int) -> None:
        """A "]" of an outer bracket, or one whose "[" is missing."""
        lost = self.text[self.used : start]
        tail = lost[len(lost.rstrip(_NUMERIC)) :].strip()
        if NUMBER.search(tail):
            self.unread.append((start, tail + "]"))
        self.used = end

    def bracket(self, token: re.Match) -> None:
        """A bracket with what is in it: an item, or parts that can't be read."""
        start, end = token.span()
        if token.group("end"):
            label, words = label_before(self.text, start, self.used, self.tag)
            item, bad = _read(token, label, words)
            if item:
                self.items.append(item)
                self.opened = None  # a label holds no box
            self.unread += [(start, part) for part in bad]
        else:  # cut off
            self.unread.append((start, token.group().rstrip()))
        self.tag, self.used = None, end


def _read(bracket: re.Match, label: str, words: str) -> tuple[Item | None, list[str]]:
    """A closed bracket -> its item (None if nothing can be read) and its unreadable parts."""
    boxes, box_spans, points, point_spans, bad = [], [], [], [], []
    at = bracket.start("inside")
    for part in bracket.group("inside").split(";"):
        span = (at, at + len(part))
        at += len(part) + 1
        if not part.strip():
            continue
        values = _numbers(part)
        if len(values) == 4:
            x0, y0, x1, y1 = values
            boxes.append((x0, y0, x1, y1))
            box_spans.append(span)
        elif len(values) in (2, 2 * JOINTS):
            pairs = list(zip(values[::2], values[1::2], strict=True))
            points += pairs
            point_spans += _pair_spans(bracket.string, span, len(pairs))
        else:
            bad.append(f"[{part.strip()}]")
    if not boxes and not points:
        return None, bad or [bracket.group().strip()]
    spans = (bracket.span(), tuple(box_spans), tuple(point_spans))
    return Item(label, tuple(boxes), tuple(points), *spans, words), bad


def _pair_spans(text: str, span: Span, pairs: int) -> list[Span]:
    """The characters of each pair of numbers in a part."""
    if pairs == 1:
        return [span]
    found = [match.span() for match in NUMBER.finditer(text, *span)]
    return [(a[0], b[1]) for a, b in zip(found[::2], found[1::2], strict=True)]


def _numbers(part: str) -> list[float]:
    """ "0.1, 0.2 0.3" -> the numbers; [] if anything else is in between or one is no fraction."""
    fields = part.split(",")
    if not fields[-1].strip():
        fields.pop()  # a comma at the end
    values: list[float] = []
    for field in fields:
        words = field.split()
        if not words:
            return []  # a number is missing between two commas
        for word in words:
            if not NUMBER.fullmatch(word):
                return []
            value = float(word[:-1]) / 100 if word[-1] == "%" else float(word)
            if not LOWEST <= value <= HIGHEST:
                return []
            values.append(value)
    return values


def denies(text: str) -> bool:
    """Does the model say that there is no such thing ("There is no mug in the image.")?

    A text with boxes, points or anything that looks like them denies nothing, whatever its words.
    """
    parsed = parse(text)
    if parsed.items or any(NUMBER.search(part) for part in parsed.unread):
        return False
    return is_denial(text)
