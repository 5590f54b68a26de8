"""One bag and what is asked of it, as plain values, and what of that can't be done.

Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sphinx_ros.bags.bag_reader import Bag
from sphinx_ros.bags.bag_topics import (
    ANNOTATED,
    ANNOTATIONS,
    MIRROR,
    PREFIX,
    answer_topic,
    chosen_topics,
    topic_of,
)
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query, read_queries
from sphinx_ros.ros.camera_names import read_topic
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.tasks import Answers

CLASSES = {
    Answers.BOXES: "DetectionArray",
    Answers.PEOPLE: "PersonPoseArray",
    Answers.POINTS: "PointArray",
    Answers.WORDS: "Answer",
}
"""What a task answers with -> the class of its message."""


@dataclass(frozen=True)
class Job:
    """What is to be done with one bag, as plain values: it may be done in another process.

    Attributes:
        source: the bag. target: the MCAP file to make.
        lines: the queries. topics: as :func:`sphinx_ros.bags.bag_topics.chosen_topics` takes them.
        every: least seconds between pictures of a topic that are looked at.
        checkpoint, model: what ``Sphinx.from_pretrained`` takes. server, token: in place of them,
            the servers to ask, with commas between, and their bearer token.
        asking: keywords of :meth:`sphinx_ros.seen.Seen.answer`.
        prefix: of the topics that are written. threshold: of scores. annotated: whether pictures
            with the answers drawn in are written. only: leave out what the bag holds.
        resume: go on where an earlier run ended. shown: whether progress is told.
    """

    source: str
    target: str
    lines: tuple[str, ...]
    topics: tuple[str, ...] = ()
    every: float = 0.0
    checkpoint: str = "demo"
    model: dict[str, Any] = field(default_factory=dict)
    server: str = ""
    token: str | None = None
    asking: dict[str, Any] = field(default_factory=dict)
    prefix: str = PREFIX
    threshold: float = 0.0
    annotated: bool = False
    only: bool = False
    resume: bool = False
    shown: bool = True

    @property
    def queries(self) -> tuple[Query, ...]:
        """What is asked of each picture. Raises BadRequest."""
        return read_queries(self.lines)

    @property
    def part(self) -> Path:
        """The folder of what is not finished, beside the target."""
        return Path(self.target + ".part")


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        target: the file. pictures: of the topics that were chosen. looked: how many of them were
            looked at. statuses: how many answers have which outcome, by its name.
        bad: a sentence for each topic with pictures that could not be read. lacking: one for each
            whose pictures are fewer than the bag counts. left_out: topics that could not be taken
            over.
        before: whether the file was there already, from an earlier run; of that the statuses are
            known, where the file has them.
        error: what kept the job from being done, with `status`, its name; "" where it is done.
    """

    target: str
    pictures: int = 0
    looked: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    bad: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    before: bool = False
    error: str = ""
    status: str = Status.OK.name


def check(job: Job) -> None:
    """Raises BadRequest for all that can be known before a model is loaded."""
    target, name = Path(job.target), file_name(job.target)
    if target.suffix.lower() != ".mcap":
        raise BadRequest(f"'{name}' must end in .mcap: bags are written as MCAP files")
    if not target.parent.is_dir():
        raise BadRequest(f"'{name}': the folder {file_name(target.parent)} does not exist")
    read_topic(job.prefix)
    if not job.queries:
        raise BadRequest('nothing is asked: add --query "detect: mug", as often as you like')
    if target.exists() and not job.resume:
        raise BadRequest(f"'{name}' is there already: delete it, or name another file")
    with Bag(job.source) as bag:
        written = outputs_of(job, topics_of(job, bag))
        there = set() if job.only else {one.topic.lstrip("/") for one in bag.connections}
    if same := sorted(topic for topic in written if topic.lstrip("/") in there):
        raise BadRequest(
            f"the bag has a topic {same[0]} already: write the answers below another --prefix, or "
            "alone with --only"
        )


def outputs_of(job: Job, cameras: Iterable[str]) -> dict[str, str]:
    """Topic -> name of its messages' class, of all that is written, in a fixed order."""
    made = {}
    for camera in cameras:
        for query in job.queries:
            answers = query.task.row.answers
            made[answer_topic(query, camera, job.prefix)] = CLASSES[answers]
            if answers is Answers.BOXES:
                made[topic_of(MIRROR, camera, job.prefix)] = "Detection2DArray"
        made[topic_of(ANNOTATIONS, camera, job.prefix)] = "ImageAnnotations"
        if job.annotated:
            made[topic_of(ANNOTATED, camera, job.prefix)] = "CompressedImage"
    return made


def topics_of(job: Job, bag: Bag) -> dict[str, str]:
    """Camera -> topic."""
    return chosen_topics(bag.pictures, job.topics, job.prefix)
