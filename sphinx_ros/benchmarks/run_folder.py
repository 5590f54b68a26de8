"""A folder of one run: what was asked with what, every answer, the scores, and how far it came.

    about.json      arguments and versions; what the answers depend on has a short name, ``config``
    answers.jsonl   one object a question, in the order of the plan; nothing is ever changed in it.
                    ``asked`` is a short name of the question's words and picture
    times.jsonl     milliseconds of each, which no two runs share
    results.json    scores by their dotted names
    table.md        the same for people
    worst.jpg       the worst answers

A run that was killed at any moment goes on at the end of its last whole job.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.samples import Sample
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.runtime.files import write_text

ABOUT, ANSWERS, TIMES = "about.json", "answers.jsonl", "times.jsonl"
RESULTS, TABLE, WORST = "results.json", "table.md", "worst.jpg"

DEPENDS = "answers_depend_on"
"""In about.json: name -> value of all that the answers depend on beside the questions."""

NAMES = ("dataset", "split", "id")
"""Of a line, which tell together what it answers."""

ANEW = "give --out another folder"

Line = dict[str, Any]


def config_name(values: Mapping[str, Any]) -> str:
    """12 hexadecimal digits that tell settings apart."""
    return _digits(values)


def _digits(values: Any) -> str:
    said = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def asked_names(samples: Iterable[Sample]) -> dict[tuple[str, str, str], str]:
    """(data set, split, id) -> 12 hexadecimal digits that tell what is asked from other questions.

    That are the words and the picture: its name, its folder's, where it is in a table, and how
    many bytes it has. The truth is not in it: answers do not depend on it.
    """
    bytes_of: dict[Path, int] = {}
    found = {}
    for one in samples:
        path, more = one.picture.path, one.more.get("prompt")
        if path not in bytes_of:
            bytes_of[path] = path.stat().st_size if path.is_file() else 0
        place = (path.parent.name, path.name, one.picture.at, one.picture.size or bytes_of[path])
        words = (one.family.value, one.text, one.choices, one.hint, more)
        found[one.dataset, one.split, one.id] = _digits([*words, *place])
    return found


def plan(samples: Sequence[Sample], batch: int, most: int = 1024) -> list[list[Sample]]:
    """Jobs of ``batch`` pictures each, with all questions about them; the same for the same input.

    most: questions of a job, where a picture has many; at least one picture is in each.
    """
    pictures: dict[str, list[Sample]] = {}
    for sample in samples:
        pictures.setdefault(sample.picture.key, []).append(sample)
    jobs: list[list[Sample]] = []
    held = 0
    for own in pictures.values():
        if not jobs or held == batch or len(jobs[-1]) + len(own) > most:
            jobs.append([])
            held = 0
        jobs[-1] += own
        held += 1
    return jobs


class RunFolder:
    """The files of a run. Use :meth:`begin` first.

    path: of the folder. config: name of the settings, which every answer carries.
    """

    def __init__(self, path: str | Path, config: str):
        self.path, self.config = Path(path), config
        self._asked: dict[tuple[str, str, str], str] = {}

    def begin(
        self, about: Mapping[str, Any], jobs: Sequence[Sequence[Sample]], resume: bool
    ) -> int:
        """Make the folder, or go on in it; the number of jobs that are done.

        Raises:
            BadRequest: it has answers and ``resume`` is False; or it is the run of other settings,
                another checkpoint, other data or another order, which is told by its name.
        """
        wanted = [sample for job in jobs for sample in job]
        self._asked = asked_names(wanted)
        told = json.dumps(dict(about), indent=1, sort_keys=True, default=str) + "\n"
        self.path.mkdir(parents=True, exist_ok=True)
        answers = self.path / ANSWERS
        if not answers.exists():
            write_text(self.path / ABOUT, told)
            return 0
        if not resume:
            raise BadRequest(
                f"{self.path} has answers already: --resume goes on with them, or give --out "
                "another folder"
            )
        known = _whole_lines(answers)
        if known:
            self._check_settings(json.loads(told))
        for number, line in enumerate(known):
            self._check_line(number, line, wanted[number] if number < len(wanted) else None)
        done = min(len(known), len(_whole_lines(self.path / TIMES)))
        kept, finished = 0, 0
        for job in jobs:
            if kept + len(job) > done:
                break
            kept, finished = kept + len(job), finished + 1
        for name in (ANSWERS, TIMES):
            _cut(self.path / name, kept)
        write_text(self.path / ABOUT, told)
        return finished

    def _check_settings(self, about: Mapping[str, Any]) -> None:
        """Raises BadRequest: about.json tells of other ones. Where it is lost, the lines tell."""
        try:
            before = json.loads((self.path / ABOUT).read_text(encoding="utf-8"))[DEPENDS]
        except (OSError, ValueError, TypeError, LookupError):
            return
        now = about.get(DEPENDS, {})
        for name in {**now, **before} if isinstance(before, dict) else ():
            if name not in before:
                raise BadRequest(
                    f"{self.path} was begun by an older release, which did not note its {name}: "
                    f"{ANEW}"
                )
            if before[name] != now.get(name):
                raise BadRequest(
                    f"{self.path} was begun with {name} {quoted(before[name], 300)}, and not "
                    f"{quoted(now.get(name), 300)}: give the same, or {ANEW}"
                )

    def _check_line(self, number: int, line: Line, sample: Sample | None) -> None:
        """Raises BadRequest: the answer is none to this question."""
        key = tuple(line.get(name) for name in NAMES)
        wrong = ""
        if sample is None or key != (sample.dataset, sample.split, sample.id):
            said = "nothing" if sample is None else sample.name
            wrong = f"answers {' '.join(map(str, key))}, and the data has {said} there"
        elif line.get("asked") != self._asked[key]:
            wrong = f"{sample.name} had other words or another picture when it was asked"
        elif line.get("config") != self.config:
            wrong = f"{sample.name} was asked with other settings (see {ABOUT})"
        if wrong:
            raise BadRequest(f"{self.path / ANSWERS}, line {number + 1}: {wrong}: {ANEW}")

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """A block that asks and writes; who ends it is told how to go on.

        Raises:
            BadRequest: a file can't be written, as on a full disk.
        """
        said = "what was answered is kept: go on with --resume"
        try:
            yield
        except KeyboardInterrupt:
            print(f"sphinx-ros: {said}", file=sys.stderr)
            raise
        except OSError as error:  # of a full disk the system names no file
            where = self.path if error.filename is None else error.filename
            raise BadRequest(f"{where}: {error.strerror or error}; {said}") from None

    def append(self, lines: Sequence[tuple[Line, Line]]) -> None:
        """Put the answers of a job and their times behind the others, each file at once."""
        for name, at in ((TIMES, 1), (ANSWERS, 0)):
            text = "".join(self._text(pair, at) for pair in lines)
            with open(
                self.path / name, "ab"
            ) as file:  # buffered: all is written, or it is an error
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())

    def _text(self, pair: tuple[Line, Line], at: int) -> str:
        names = {name: pair[0][name] for name in NAMES}
        told = {"config": self.config, "asked": self._asked[tuple(names.values())]}
        line = names | told | pair[at]
        return json.dumps(line, ensure_ascii=False) + "\n"

    def answers(self) -> list[Line]:
        """All answers, in order."""
        return _whole_lines(self.path / ANSWERS)


def _whole_lines(path: Path) -> list[Line]:
    """The objects of the lines that are complete; what a killed process left behind is not."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            value = json.loads(line)
        except ValueError:
            break
        if not isinstance(value, dict):
            break
        found.append(value)
    return found


def _cut(path: Path, lines: int) -> None:
    """Let a file end behind so many lines."""
    if not path.exists():
        path.touch()
    size = sum(len(line) + 1 for line in path.read_bytes().split(b"\n")[:lines])
    os.truncate(path, size)
