"""Labels -> words that rviz can draw, and where they fit into a picture.

rviz draws a text around its middle, in a font that has ASCII letters only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from sphinx_ros.types import Box

LETTER = 0.42
"""Width of a letter as a share of the height of the font: 0.37 on average in rviz, of words."""

PITCH = 1.1
"""Distance between two rows of words as a share of the height of the font."""

_SPELT = str.maketrans(
    {
        "\u00df": "ss", "\u00e6": "ae", "\u00c6": "AE", "\u0153": "oe", "\u0152": "OE",
        "\u00f8": "o", "\u00d8": "O", "\u0142": "l", "\u0141": "L", "\u0111": "d", "\u0110": "D",
        "\u00f0": "d", "\u00d0": "D", "\u00fe": "th", "\u00de": "Th", "\u0131": "i",
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-",
        "\u2212": "-", "\u00d7": "x", "\u00ab": '"', "\u00bb": '"',
    }
)  # fmt: skip
"""Letters and signs that Unicode does not take apart."""


def in_ascii(words: str) -> str:
    """Words in ASCII letters: "\u00c9t\u00e9" -> "Ete"; "?" for letters of other scripts."""
    apart = unicodedata.normalize("NFKD", words.translate(_SPELT))
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    plain = bare.encode("ascii", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def cut(words: str, letters: int) -> str:
    """The words, or as many of their letters as fit with an ellipsis."""
    return words if len(words) <= letters else words[: max(letters - 3, 0)] + "..."


@dataclass
class Plates:
    """Places for words in a picture of width x height pixels, each on free ground if there is any.

    letter_height: of the font, px. taken: (x0, y0, x1, y1) of the words placed before.
    """

    width: float
    height: float
    letter_height: float
    taken: list[Box] = field(default_factory=list)

    def fit(self, words: str) -> str:
        """The words, cut to the width of the picture."""
        return cut(words, max(int(self.width / (LETTER * self.letter_height)), 4))

    def place(self, rows: Sequence[str], box: Box) -> list[tuple[float, float]]:
        """The middle of each row of words for a box, all within the picture.

        They stand above the box, else in it or below.
        """
        pitch = PITCH * self.letter_height
        wide = LETTER * self.letter_height * max(map(len, rows), default=0)
        high = self.letter_height + pitch * (len(rows) - 1)
        x = self._within((box[0] + box[2]) / 2, wide, self.width)
        middles = [box[1] - high / 2, box[1] + high / 2, box[3] - high / 2, box[3] + high / 2]
        middles += [box[1] + (row + 0.5) * high for row in range(1, 12)]
        middles = [y for y in middles if high / 2 <= y <= self.height - high / 2]
        y = next((y for y in middles if self._free(x, y, wide, high)), None)
        if y is None:  # no free ground near the box: on top of others, but within the picture
            y = self._within(box[1] + high / 2, high, self.height)
        self.taken.append((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2))
        first = y - high / 2 + self.letter_height / 2
        return [(x, first + pitch * row) for row in range(len(rows))]

    def _free(self, x: float, y: float, wide: float, high: float) -> bool:
        x0, y0, x1, y1 = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
        return not any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in self.taken)

    @staticmethod
    def _within(middle: float, size: float, limit: float) -> float:
        return limit / 2 if size >= limit else min(max(middle, size / 2), limit - size / 2)
