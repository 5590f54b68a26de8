"""Names of docks in rows -> Qt's saved state of a main window, in which rviz keeps where they are.

Without a state the pictures of rviz's displays open ten pixels high. The format is that of
``QMainWindow::saveState`` (version 0 of Qt 5), which rviz writes as hexadecimal digits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

AREA = (996, 899)
"""Width and height in pixels of the docks left of the 3D view, in a window of 1390x990."""

VIEW = 388
"""Width of the 3D view."""

TOP, GAP, LEAST, MOST = 62, 6, 22, 0xFFFFFF
"""Where the docks begin, pixels between two, and the least and greatest size of one."""

_MAIN, _DOCKS, _TOOLBARS, _SEQUENCE, _WIDGET = 0xFF, 0xFD, 0xFC, 0xFC, 0xFB
_LEFT, _HORIZONTAL, _VERTICAL, _SHOWN = 0, 1, 2, 1
_CORNERS = (4, 4, 8, 8)  # the side areas reach into no corner, as Qt has it by default
_TOOLS = "Tools"
"""rviz's toolbar."""


def dock_state(rows: Sequence[Sequence[str]]) -> str:
    """Hexadecimal digits of a window whose docks on the left stand in rows.

    rows: names of docks, which are those of rviz's displays, from top to bottom.
    """
    width, height = AREA
    made = struct.pack(">IIB", _MAIN, 0, _DOCKS) + struct.pack(">II", 1, _LEFT)
    made += struct.pack(">II", width, height)
    made += struct.pack(">BBI", _SEQUENCE, _VERTICAL, len(rows))
    for row, (place, size) in zip(rows, _shares(TOP, height, len(rows)), strict=True):
        if len(row) == 1:
            made += _dock(row[0], place, size)
            continue
        made += struct.pack(">BIIII", _SEQUENCE, place, size, LEAST, MOST)
        made += struct.pack(">BBI", _SEQUENCE, _HORIZONTAL, len(row))
        for name, (left, wide) in zip(row, _shares(0, width, len(row)), strict=True):
            made += _dock(name, left, wide)
    made += struct.pack(">II4I", VIEW, height, *_CORNERS)
    made += struct.pack(">BIIII", _TOOLBARS, 1, 2, 1, len(_TOOLS) * 2) + _TOOLS.encode("utf-16-be")
    return (made + struct.pack(">BIIII", _SHOWN, 0, 0xFFFFFFFF, 0, 0)).hex()


def _dock(name: str, place: int, size: int) -> bytes:
    letters = name.encode("utf-16-be")
    made = struct.pack(">BI", _WIDGET, len(letters)) + letters
    return made + struct.pack(">BIIII", _SHOWN, place, size, LEAST, MOST)


def _shares(begin: int, whole: int, number: int) -> list[tuple[int, int]]:
    """(place, size) of docks that share a length, the first ones a pixel larger if need be."""
    size, left = divmod(whole - GAP * (number - 1), number)
    sizes = [size + (index < left) for index in range(number)]
    return [(begin + sum(sizes[:i]) + GAP * i, one) for i, one in enumerate(sizes)]
