"""Labels -> words that rviz can draw, and where they fit into a picture.

rviz draws a text around its middle, in a font that has ASCII letters only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from sphinx_ros.image.plates import Ground
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


class Plates:
    """Places for words in a picture of width x height pixels, on free ground if there is any.

    letter_height: of the font, px.
    """

    def __init__(self, width: float, height: float, letter_height: float):
        self.width, self.letter_height = width, letter_height
        self._ground = Ground(width, height)

    def fit(self, words: str) -> str:
        """The words, cut to the width of the picture."""
        return cut(words, max(int(self.width / (LETTER * self.letter_height)), 4))

    def place(self, rows: Sequence[str], box: Box) -> list[tuple[float, float]]:
        """The middle of each row of words for a box, all within the picture."""
        pitch = PITCH * self.letter_height
        wide = LETTER * self.letter_height * max(map(len, rows), default=0)
        high = self.letter_height + pitch * (len(rows) - 1)
        left = (box[0] + box[2]) / 2 - wide / 2
        left, top = self._ground.place(left, wide, high, box)
        first = top + self.letter_height / 2
        return [(left + wide / 2, first + pitch * row) for row in range(len(rows))]
