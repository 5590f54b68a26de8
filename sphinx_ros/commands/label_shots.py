"""A bag or a folder of pictures -> its pictures to be labelled, each with the name of its file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sphinx_ros.bags.bag_reader import Bag, Every, Shot
from sphinx_ros.bags.bag_topics import chosen_topics
from sphinx_ros.commands.pictures import SUFFIXES, read_picture
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.printable import file_name


class Named(NamedTuple):
    """A picture. name: of its file in the folder of labels. file: where it is a file already."""

    name: str
    shot: Shot
    file: Path | None


def shots_of(
    source: Path, topics: Sequence[str], every: float, stems: bool = False
) -> tuple[int, Iterator[Named]]:
    """How many pictures there are at most, and those that are to be labelled, in order.

    Args:
        source: a bag, or a folder of pictures. topics, every: of a bag, as
            :class:`sphinx_ros.bags.bag_job.Job` has them. stems: no two names may be the same
            but for their suffix.

    Raises:
        BadRequest: it is neither, a topic is not in the bag, or two pictures would be called the
            same.
    """
    if source.is_dir() and not (source / "metadata.yaml").exists():
        files = sorted(one for one in source.iterdir() if one.suffix.lower() in SUFFIXES)
        if not files:
            raise BadRequest(f"{source} holds no picture ({' '.join(SUFFIXES)}) and is no bag")
        if stems:
            check_stems(files)
        return len(files), map(_of_file, files)
    with Bag(source) as bag:
        chosen = [*chosen_topics(bag.pictures, topics).values()]
        total = sum(bag.pictures[topic] for topic in chosen)
    check_topics(chosen)
    return total, _of_bag(source, chosen, every)


def _of_file(file: Path) -> Named:
    # each is a topic of its own: what was answered about one is no guess for the next
    shot = Shot(file.name, 0, 0, 0, None, functools.partial(read_picture, str(file)))
    return Named(file.name, shot, file)


def _of_bag(source: Path, topics: Sequence[str], every: float) -> Iterator[Named]:
    taken = Every(every)
    with Bag(source) as bag:
        for shot in bag.shots(topics):
            if taken.takes(shot):
                yield Named(f"{_slug(shot.topic)}_{shot.number:06d}.png", shot, None)


def _slug(topic: str) -> str:
    return re.sub(r"\W+", "_", topic).strip("_")


def check_topics(topics: Sequence[str]) -> None:
    """Raises BadRequest: pictures of two topics would have the same names."""
    called: dict[str, str] = {}
    for topic in topics:
        other = called.setdefault(_slug(topic), topic)
        if other != topic:
            raise BadRequest(
                f"the pictures of {other} and {topic} would both be called {_slug(topic)}_...: "
                "label one at a time, as --topic, into folders of their own"
            )


def check_stems(files: Sequence[Path]) -> None:
    """Raises BadRequest: two pictures differ in their suffix alone."""
    stems: dict[str, Path] = {}
    for file in files:
        other = stems.setdefault(file.stem, file)
        if other != file:
            raise BadRequest(
                f"{file_name(other.name)} and {file_name(file.name)} would share the file "
                f"labels/{file_name(file.stem)}.txt of --format yolo: rename one of them"
            )
