"""Answers about a bag -> lines of JSON on the disk, each there for good before the next is asked.

A process that is killed leaves whole lines and at most a part of one, which is cut off.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.printable import file_name

Json = dict[str, Any]
Key = tuple[str, int]
"""A picture: its topic, and which of the topic's messages it is."""

NOTE = "ended"
"""The key of a line that is no answer: a run ended at this picture."""


class Journal:
    """The answers of one job, open to read and to go on; used as a statement.

    Args:
        path: of the file. about: what the answers depend on; a journal is gone on with only where
            it says the same. resume: whether there may be answers already.

    Raises:
        BadRequest: another process writes it, it is of another job, or there are answers and
            nobody said to go on.
    """

    def __init__(self, path: Path, about: Json, resume: bool = False):
        self.path = path
        self._file: BinaryIO = open(path, "a+b")
        self._places: dict[Key, int] = {}
        self._noted: set[Key] = set()
        try:
            self._lock()
            self._begin(about, resume)
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadRequest(
                f"another process is writing {file_name(self.path.parent)}; wait for it"
            ) from error

    def _begin(self, about: Json, resume: bool) -> None:
        self._file.seek(0)
        first = self._file.readline()
        if not first.endswith(b"\n"):  # nothing, or killed within the first line
            self._file.truncate(0)
            self._append(about)
            return
        if not resume and not self._file.readline().endswith(b"\n"):  # it has no answer yet
            self._file.truncate(0)
            self._append(about)
            return
        if not resume:
            raise BadRequest(
                f"{file_name(self.path.parent)} holds answers of a run that did not end: go on "
                "with --resume, or delete it to begin anew"
            )
        try:
            old, end = dict(json.loads(first)), self._file.tell()
            while (line := self._file.readline()).endswith(b"\n"):
                entry = json.loads(line)
                key = entry["topic"], entry["number"]
                if NOTE in entry:
                    self._noted.add(key)
                else:
                    self._places[key] = end
                end = self._file.tell()
        except (ValueError, TypeError, KeyError):
            raise BadRequest(
                f"{file_name(self.path)} is damaged: delete it to begin anew"
            ) from None
        _check_same(old, json.loads(json.dumps(about)), self.path)
        self._file.truncate(end)

    def get(self, key: Key) -> Json | None:
        """What was written about a picture; None where nothing was."""
        if key not in self._places:
            return None
        self._file.seek(self._places[key])
        return json.loads(self._file.readline())

    def add(self, entry: Json) -> None:
        """Write the answers about one picture ("topic" and "number" tell which), for good.

        Raises:
            OSError: the disk is full.
        """
        self._places[entry["topic"], entry["number"]] = self._append(entry)

    def note(self, key: Key) -> None:
        """Write that a run ended at a picture, for the next one to know."""
        self._noted.add(key)
        self._append({"topic": key[0], "number": key[1], NOTE: True})

    def noted(self, key: Key) -> bool:
        """Whether a run ended at a picture."""
        return key in self._noted

    def _append(self, value: Json) -> int:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return place

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        except OSError:  # what did not fit on the disk was told already
            return


def _check_same(old: Json, new: Json, path: Path) -> None:
    """Raises BadRequest where a journal is of another job."""
    for name in {**new, **old}:
        if name not in old:
            raise BadRequest(
                f"{file_name(path.parent)} was begun by an older release, which did not note its "
                f"{name}: delete it to begin anew"
            )
        if old.get(name) != new.get(name):
            raise BadRequest(
                f"{file_name(path.parent)} was begun with {name} {quoted(old.get(name))}, and not "
                f"{quoted(new.get(name))}: give the same, or delete it to begin anew"
            )
