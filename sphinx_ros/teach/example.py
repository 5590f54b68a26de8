"""One thing to be learnt: a picture and what is asked and answered about it. And rows that can't.

A row that can't be used never ends the reading of the others: it is kept with its place, what was
expected, and what to do. Knows no tensor.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.teach.picture_files import Pictures
from sphinx_ros.teach.shown import Shown, Views

Rounds = tuple[tuple[str, str], ...]
"""A conversation: (what is asked, what is answered) of each round."""


@dataclass(frozen=True)
class Example:
    """A conversation about a picture.

    Attributes:
        shown: the picture, as it is shown. rounds: (what is asked, what is answered) in the words
            and numbers that the checkpoint reads and writes; a later round knows the earlier ones.
            where: file and row, for people. known: the answers' probabilities are to stay those
            of the checkpoint that is taught.
    """

    shown: Shown
    rounds: Rounds
    where: str
    known: bool = False

    @property
    def image(self) -> Path:
        """The picture's file."""
        return self.shown.image


@dataclass(frozen=True)
class BadRow:
    """A row that can't be used. where: file and row; why: what was expected, and what to do."""

    where: str
    why: str


def reasons(left_out: Mapping[str, int]) -> str:
    """How many pictures were left out, and why, in words."""
    return ", ".join(f"{count} {why}" for why, count in left_out.items())


@dataclass
class Data:
    """What a folder or file of data holds.

    Attributes:
        examples: in the order of the data. bad: rows that can't be used. formats: how many
            examples are from which format. files: the pictures met so far. views: in which ways
            pictures whose labels are boxes and joints are shown. known: what is read now is known.
            left_out: how many pictures nothing is taught about, by what is wrong with their boxes.
    """

    examples: list[Example] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    files: Pictures = field(default_factory=Pictures)
    views: Views = field(default_factory=Views)
    known: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    _said: dict[tuple[Shown, Rounds], str] = field(default_factory=dict)

    @contextmanager
    def row(self, where: str) -> Iterator[None]:
        """A block that reads one row: what it raises as a named error is kept, and reading goes
        on with the next row.
        """
        try:
            yield
        except SphinxError as error:
            self.bad.append(BadRow(where, one_line(error)))

    def add(self, format: str, shown: Shown, several: Sequence[Rounds], where: str) -> None:
        """Conversations of one row about a picture as it is shown.

        Raises:
            BadImage: the picture can't be read. BadRequest: earlier rows say all of it.
        """
        shown = shown._replace(image=self.files.of(shown.image)[0])
        keys = {one: (shown, one) for one in several}
        new = [one for one, key in keys.items() if key not in self._said]
        if several and not new:
            raise BadRequest(
                f"it says of its picture what {self._said[keys[several[0]]]} says: learnt once; "
                "remove one of the two"
            )
        for one in new:
            self._said[keys[one]] = where
            self.examples.append(Example(shown, one, where, self.known))
            self.formats[format] += 1

    @property
    def pictures(self) -> dict[Shown, list[Example]]:
        """The examples of each picture, in the order of the data."""
        found: dict[Shown, list[Example]] = {}
        for one in self.examples:
            found.setdefault(one.shown, []).append(one)
        return found

    @property
    def images(self) -> list[Path]:
        """The files of pictures, in the order of the data."""
        return list(dict.fromkeys(one.image for one in self.examples))

    def write_bad(self, path: Path) -> None:
        """The rows that can't be used, a JSON object a line."""
        lines = (json.dumps({"where": one.where, "why": one.why}) for one in self.bad)
        write_text(path, "".join(f"{line}\n" for line in lines))
