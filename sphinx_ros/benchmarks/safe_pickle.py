"""A pickle of plain values -> these values; one that would do anything else is refused by name.

RefCOCO's files are pickles, most of them written by Python 2. A pickle is a program, so this
reader knows lists, dicts, tuples, texts, bytes, whole and real numbers, True, False and None, and
nothing that has to be looked up by its name, called or built.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from sphinx_ros.errors import BadRequest, quoted

MOST_BYTES = 1 << 30
"""Of a pickle: the largest of the published ones has some 60 MB."""

FORBIDDEN = {
    "GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "BUILD", "EXT1",
    "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER",
}  # fmt: skip
"""Steps of a pickle that look something up, call it, or give it a state."""


def read_plain(path: str | Path) -> Any:
    """The values of a pickle file of any protocol. Texts of Python 2 are read as Latin-1.

    Raises:
        BadRequest: no pickle, one that is too large, or one that would run code: what it wants is
            named, and nothing of it was run.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRequest(f"{path} has more than {MOST_BYTES >> 20} MiB; it is no refs file")
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}") from None
    _check(data, path)
    try:
        return _Plain(io.BytesIO(data), path).load()
    except BadRequest:
        raise
    except RecursionError:
        raise BadRequest(f"{path} is nested too deeply for a data set") from None
    except Exception as error:  # what a damaged pickle raises is anything
        raise BadRequest(f"{path} is no whole pickle: {type(error).__name__}: {error}") from None


def _check(data: bytes, path: Path) -> None:
    """Walk through the steps of a pickle without doing them."""
    words: list[object] = []
    try:
        for step, argument, at in pickletools.genops(data):
            if step.name in FORBIDDEN:
                wanted = argument if argument is not None else " ".join(map(str, words[-2:]))
                raise BadRequest(
                    f"{path} is no plain data: at byte {at} it wants {quoted(wanted)} "
                    f"({step.name}). A pickle like this can run any code, so it was not opened; "
                    "get the data set from its own source"
                )
            if isinstance(argument, str):
                words.append(argument)
                del words[:-2]
    except BadRequest:
        raise
    except Exception as error:
        raise BadRequest(f"{path} is no pickle: {type(error).__name__}: {error}") from None


class _Plain(pickle.Unpickler):
    """An unpickler that finds no class and no function, should the walk ever miss a step."""

    def __init__(self, file: io.BytesIO, path: Path):
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse: a pickle names what it would run here."""
        raise BadRequest(f"{self._path} is no plain data: it wants {quoted(f'{module}.{name}')}")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuse: nothing outside the pickle is read."""
        raise BadRequest(f"{self._path} is no plain data: it wants {quoted(pid)}")
