"""Any text -> one line that every terminal, log and picture can show. Knows nobody."""

from __future__ import annotations

import os
from pathlib import Path


def one_line(text: object) -> str:
    """A text without line breaks; what can't be seen, half a character too, is an escape."""
    return _visible(" ".join(str(text).split()))


def file_name(path: str | Path) -> str:
    """A path as text; bytes that are no UTF-8, which Linux allows in names, are escapes."""
    return _visible(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
