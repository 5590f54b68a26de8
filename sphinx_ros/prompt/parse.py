"""What the model wrote -> boxes and points, as numbers in fractions of the padded square.

Reads everything the official demo reads (LLaMA2-Accessory, ``multi_turn_mm_box.py``) in reading
order, and forms it loses: integers ("0", "1"), ".5", percent, negative numbers, flat joint lists.
``parse`` is total: any text gives a result in linear time, and what looks like coordinates and
can't be read is kept in ``unread``. Knows no picture; :mod:`sphinx_ros.prompt.results` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Span = tuple[int, int]

JOINTS_IN_A_LIST = 17  # SPHINX-X writes a person as a flat list of 2 x 17 numbers

_TOKEN = re.compile(r"<p>|</p>|\[[\[\s]*(?P<inside>[^\[\]]*)(?P<end>\]?)|\]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)%?")
_ROUND = re.compile(r"\([-+\d.,;\s%]*\)")
_NUMERIC = "0123456789.,;+-% \t\n\r"
_LEAD_IN = re.compile(r"^(?:and\s+)?(?:there\s+(?:is|are)\s+\w+\s+)?(?:and\s+)?", re.IGNORECASE)
_NONE = re.compile(
    r"\b(?:there\s+(?:is|are)\s+(?:no|not\s+any)|none\b|nothing\b|not\s+(?:visible|present|found))",
    re.IGNORECASE,
)
LOWEST, HIGHEST = -1.0, 2.0  # numbers outside can't be fractions of the square
LOOK_BACK = 80  # characters before a bracket that may hold its label


@dataclass(frozen=True)
class Item:
    """One bracket: its label ("" if it has none), and its boxes and points as written.

    boxes: (x1, y1, x2, y2), points: (x, y), in fractions of the padded square, corners in the
    order written. span: the bracket's characters. box_spans, point_spans: those of each one.
    """

    label: str
    boxes: tuple[tuple[float, float, float, float], ...]
    points: tuple[tuple[float, float], ...]
    span: Span
    box_spans: tuple[Span, ...] = ()
    point_spans: tuple[Span, ...] = ()


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
    items: list[Item] = []
    unread: list[tuple[int, str]] = []
    label_start = label_span = None  # after the last "<p>"; of the last closed <p>..</p>
    done = 0  # everything before is used up
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        kind = token.group()
        if kind == "<p>":
            label_start = end
        elif kind == "</p>":
            label_span = None if label_start is None else (label_start, start, end)
            label_start = None
        elif kind == "]":  # of an outer bracket, or its "[" is missing
            lost = text[done:start]
            tail = lost[len(lost.rstrip(_NUMERIC)) :].strip()
            if _NUMBER.search(tail):
                unread.append((start, tail + "]"))
            done = end
        else:
            label = _label(text, label_span, start, done)
            if not token.group("end"):
                unread.append((start, text[start:end].rstrip()))
            else:
                item, bad = _read(token, label)
                if item:
                    items.append(item)
                unread += [(start, part) for part in bad]
            label_span, done = None, end
    for match in _ROUND.finditer(text):  # "(0.1,0.2,0.3,0.4)": not a form the model was taught
        if "." in match.group() and "," in match.group():
            unread.append((match.start(), match.group()))
    return Parsed(tuple(items), tuple(part for _, part in sorted(unread, key=lambda u: u[0])))


def _label(text: str, tagged: tuple[int, int, int] | None, start: int, done: int) -> str:
    """The words in <p>..</p> right before a bracket, or the words the bracket is attached to."""
    if tagged is not None and not text[tagged[2] : start].strip():
        return " ".join(text[tagged[0] : tagged[1]].split())
    before = text[max(done, start - LOOK_BACK) : start]
    if tagged is not None or not before or not (before[-1].isalnum() or before[-1] in "\"'"):
        return ""
    phrase = re.split(r"[\",.:;!?\n>\]\[]", before.rstrip("\"'"))[-1].strip(" '")
    return _LEAD_IN.sub("", phrase, count=1)


def _read(bracket: re.Match, label: str) -> tuple[Item | None, list[str]]:
    """A closed bracket -> its item (None if nothing can be read) and its unreadable parts."""
    boxes, box_spans, points, point_spans, bad = [], [], [], [], []
    at = bracket.start("inside")
    parts = bracket.group("inside").split(";")
    for part in parts:
        span = (at, at + len(part))
        at += len(part) + 1
        if not part.strip():
            continue
        values = _numbers(part)
        if len(values) == 4:
            boxes.append(tuple(values))
            box_spans.append(span)
        elif len(values) in (2, 2 * JOINTS_IN_A_LIST):
            pairs = list(zip(values[::2], values[1::2], strict=True))
            points += pairs
            point_spans += _pair_spans(bracket.string, span, len(pairs))
        else:
            bad.append(f"[{part.strip()}]")
    if not boxes and not points:
        return None, bad or [bracket.group().strip()]
    item = Item(
        label, tuple(boxes), tuple(points), bracket.span(), tuple(box_spans), tuple(point_spans)
    )
    return item, bad


def _pair_spans(text: str, span: Span, pairs: int) -> list[Span]:
    """The characters of each pair of numbers in a part."""
    if pairs == 1:
        return [span]
    found = [match.span() for match in _NUMBER.finditer(text, *span)]
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
            if not _NUMBER.fullmatch(word):
                return []
            value = float(word[:-1]) / 100 if word[-1] == "%" else float(word)
            if not LOWEST <= value <= HIGHEST:
                return []
            values.append(value)
    return values


def denies(text: str) -> bool:
    """Does the model say that there is no such thing ("There is no mug in the image.")?"""
    return _NONE.search(text) is not None
