r"""Words -> letters on a picture, in whatever script a font of this machine has.

Pillow draws them: OpenCV's own letters are ASCII only. A character that no font has is written as
its code, such as ``\u6f22``. Knows no model.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sphinx_ros.runtime.printable import one_line

_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "FreeSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "unifont.ttf",
)
"""Fonts of usual systems, the preferred ones first; Pillow looks for them where fonts are kept."""

SIZES = 4
"""Sizes of letters whose fonts are kept: a node may run for weeks, with pictures of any size."""

CHARACTERS = 4096
"""Characters that are known to be in a font, or not. An alphabet of thousands fits in."""

_ANY_SIZE = 24
"""Size at which a font is asked whether it has a character: all its sizes have the same ones."""

_NOWHERE = "\U0010ffff"
"""A character that no font has: its picture is that of a missing character."""


def length(words: str, size: int) -> float:
    """Width in pixels of a line in letters of a size (pixels from top to bottom, about)."""
    return sum(font.getlength(part) for font, part in _runs(one_line(words), size))


def height(size: int) -> tuple[int, int]:
    """Pixels that letters of a size reach above and below the line they stand on."""
    ascent, descent = _fonts(size)[0].getmetrics()
    return ascent, descent


def cut(words: str, width: float, size: int) -> str:
    """The words, or as many of them with three dots as fit into a width in pixels."""
    words = one_line(words)
    if length(words, size) <= width:
        return words
    fitting = range(len(words))
    kept = bisect_right(fitting, width, key=lambda n: length(words[: n + 1] + "...", size))
    return words[:kept] + "..."


def write(
    picture: np.ndarray, words: str, x: int, y: int, size: int, colour: tuple[int, int, int]
) -> None:
    """Letters into a picture [H, W, 3] uint8, in place; what lies outside is cut off.

    x: where they begin. y: the line they stand on.
    """
    words = one_line(words)
    above, below = height(size)
    wide = max(1, min(round(length(words, size)) + 2, picture.shape[1] - x))
    ink = Image.new("L", (wide, above + below), 0)
    pen, at = ImageDraw.Draw(ink), 0.0
    for font, part in _runs(words, size):
        pen.text((round(at), above), part, fill=255, font=font, anchor="ls")
        at += font.getlength(part)
    top, left = max(0, y - above), max(0, x)
    share = np.asarray(ink, np.float32)[top - (y - above) :, left - x :, None] / 255
    place = picture[top : top + share.shape[0], left : left + share.shape[1]]
    share = share[: place.shape[0], : place.shape[1]]
    place[:] = np.rint(place * (1 - share) + np.array(colour, np.float32) * share)


def _runs(words: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """The words in pieces, each with a font that has its characters."""
    runs: list[tuple[ImageFont.FreeTypeFont, str]] = []
    for character in words:
        number, fonts = _font_with(character), _fonts(size)
        font = fonts[number or 0]
        if number is None:
            character = _code(character)
        if runs and runs[-1][0] is font:
            runs[-1] = (font, runs[-1][1] + character)
        else:
            runs.append((font, character))
    return runs


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()


@lru_cache(SIZES)
def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ...]:
    """All fonts there are; the last one comes with Pillow."""
    found = []
    for name in (_matplotlib_font(), *_FILES):
        try:
            found += [ImageFont.truetype(name, size)] if name else []
        except OSError:  # not on this machine
            continue
    try:
        return (*found, cast(ImageFont.FreeTypeFont, ImageFont.load_default(size)))
    except TypeError:  # Pillow before 10.1 brings none of any size
        if not found:
            raise
        return tuple(found)


def _matplotlib_font() -> str:
    """DejaVu Sans, which matplotlib brings with it; nothing is imported."""
    there = importlib.util.find_spec("matplotlib")
    if there is None or there.origin is None:
        return ""
    return str(Path(there.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@lru_cache(CHARACTERS)
def _font_with(character: str) -> int | None:
    """Which of the fonts has a character, the first that does; None where none has it."""
    fonts = _fonts(_ANY_SIZE)
    return next((n for n, font in enumerate(fonts) if _has(font, character)), None)


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether a font has a character: else its picture is that of a missing one."""
    if character == " ":
        return True
    mask, missing = font.getmask(character), font.getmask(_NOWHERE)
    return mask.size != missing.size or bytes(mask) != bytes(missing)
