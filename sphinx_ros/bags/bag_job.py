"""One bag and what is asked of it -> the bag with the answers, whole or not there.

First pictures -> the model -> OUT.part/journal.jsonl, which takes as long as it takes and survives
kill -9. Then bag and journal -> OUT.part/NAME/NAME.mcap -> OUT in seconds, by one rename.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sphinx_ros.bags.bag_answers import Answering, looked_at, outcomes_of, picture_of
from sphinx_ros.bags.bag_journal import Journal
from sphinx_ros.bags.bag_reader import Bag, Numbered, Shot
from sphinx_ros.bags.bag_topics import (
    ANNOTATED,
    ANNOTATIONS,
    MIRROR,
    PREFIX,
    answer_topic,
    chosen_topics,
    topic_of,
)
from sphinx_ros.bags.bag_writer import BagWriter
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query, read_queries
from sphinx_ros.ros.annotated import annotate
from sphinx_ros.ros.annotations import image_annotations
from sphinx_ros.ros.answer_messages import AnswerMessages
from sphinx_ros.ros.camera_names import read_topic
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.tasks import Answers

FORMAT = 1
"""Of the journal; another one is not gone on with."""

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
        before: whether the file was there already, from an earlier run.
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


def do(job: Job, load: Callable[[], Any]) -> Done:
    """Ask, then write. load: gives the model; called only where there is something to ask.

    Raises:
        BadRequest: bag, target or an unfinished run can't be used. OSError: the disk is full; what
            was answered stays, and ``resume`` goes on with it.
    """
    target = Path(job.target)
    if job.resume and target.exists() and not job.part.exists():
        return Done(job.target, before=True)
    with Bag(job.source) as bag:
        cameras = topics_of(job, bag)
        job.part.mkdir(exist_ok=True)
        with Journal(job.part / "journal.jsonl", _about(job, bag, cameras), job.resume) as journal:
            _ask(job, bag, cameras, journal, load)
            done = _write(job, bag, cameras, journal)
    shutil.rmtree(job.part)
    return done


def _about(job: Job, bag: Bag, cameras: dict[str, str]) -> dict[str, Any]:
    """What the answers of a journal depend on."""
    return {
        "format": FORMAT,
        "bag": [bag.path.name, bag.start, bag.message_count],
        "queries": [query.line() for query in job.queries],
        "topics": sorted(cameras.values()),
        "every": job.every,
        "checkpoint": job.server or job.checkpoint,
        "model": {name: str(value) for name, value in sorted(job.model.items())},
        "asking": dict(sorted(job.asking.items())),
    }


def _ask(
    job: Job, bag: Bag, cameras: dict[str, str], journal: Journal, load: Callable[[], Any]
) -> None:
    """Fill the journal."""
    topics = list(cameras.values())
    total = sum(bag.pictures[topic] for topic in topics)
    asking: Answering | None = None
    latest: dict[str, dict] = {}  # of each topic, what was asked about before
    what = file_name(bag.path.name)
    with Progress(total, what, "picture", shown=job.shown) as progress:
        for shot, wanted in looked_at(bag.shots(topics), job.every):
            key = (shot.topic, shot.number)
            if wanted and (entry := journal.get(key)) is not None:
                if "drafts" in entry:
                    latest.pop(shot.topic, None)
                    latest[shot.topic] = entry  # the last one of all stands last
            elif wanted:
                if asking is None:
                    asking = Answering(load(), job.queries, job.asking)
                    for before in latest.values():
                        asking.remember(before)
                journal.add(asking.entry(shot))
            progress.advance()


def _write(job: Job, bag: Bag, cameras: dict[str, str], journal: Journal) -> Done:
    """The MCAP file, out of the bag and the journal."""
    target = Path(job.target)
    shutil.rmtree(job.part / target.stem, ignore_errors=True)  # of a run that was killed
    with BagWriter(job.part, target.stem) as writer:
        if not job.only:
            writer.take_over(bag.connections)
        out = _Out(job, writer, {topic: camera for camera, topic in cameras.items()})
        for topic, kind in outputs_of(job, cameras).items():
            writer.announce(topic, getattr(writer.kinds, kind))
        topics = list(cameras.values())
        numbered = Numbered(topics)
        for connection, log, raw in bag.messages(topics if job.only else None):
            if not job.only:
                writer.copy(connection, log, raw)
            if (shot := numbered.shot(connection, log, raw)) is not None:
                out.add(shot, journal)
    writer.put(target)
    return replace(out.done(writer), lacking=bag.lacking(numbered.counts))


class _Out:
    """What is written about pictures, and what is counted of them. cameras: by topic."""

    def __init__(self, job: Job, writer: BagWriter, cameras: dict[str, str]):
        self._job, self._writer, self._cameras = job, writer, cameras
        self._messages, self._queries = AnswerMessages(writer.kinds), job.queries
        self._pictures = self._looked = 0
        self._statuses: Counter[str] = Counter()
        self._bad: dict[str, list[str]] = {}  # topic -> what each bad picture of it is told

    def add(self, shot: Shot, journal: Journal) -> None:
        """Write what is known about a picture, at its time."""
        self._pictures += 1
        entry = journal.get((shot.topic, shot.number))
        if entry is None:
            return
        self._looked += 1
        camera, prefix, kinds = self._cameras[shot.topic], self._job.prefix, self._writer.kinds
        seconds, nanoseconds, frame = shot.header or (0, 0, "")
        header = kinds.Header(stamp=kinds.Time(sec=seconds, nanosec=nanoseconds), frame_id=frame)
        outcomes = outcomes_of(entry, shot, self._queries, camera, header, self._job.threshold)
        self._count(shot, outcomes)
        if shot.header is None:
            return  # nothing that could say which picture it is about
        for outcome in outcomes:
            query = outcome.query
            topic = answer_topic(query, camera, prefix)
            self._writer.write(topic, shot.log, self._messages.answer_to(outcome))
            if query.task.row.answers is Answers.BOXES and outcome.status.answered:
                mirror = self._messages.mirror_message(outcome)
                self._writer.write(topic_of(MIRROR, camera, prefix), shot.log, mirror)
        made = image_annotations(outcomes, header, kinds)
        self._writer.write(topic_of(ANNOTATIONS, camera, prefix), shot.log, made)
        if self._job.annotated and (rgb := picture_of(shot)) is not None:
            drawn = self._messages.compressed_message(annotate(rgb, outcomes), header)
            self._writer.write(topic_of(ANNOTATED, camera, prefix), shot.log, drawn)

    def _count(self, shot: Shot, outcomes: Sequence[Any]) -> None:
        self._statuses.update(outcome.status.name for outcome in outcomes)
        if outcomes[0].status is Status.BAD_IMAGE:
            said = f"number {shot.number}: {one_line(outcomes[0].text)}"
            self._bad.setdefault(shot.topic, []).append(said)

    def done(self, writer: BagWriter) -> Done:
        """What became of the job."""
        bad = tuple(
            f"{len(said)} of the pictures on {topic} can't be read, the first is {said[0]}"
            for topic, said in self._bad.items()
        )
        return Done(
            self._job.target,
            self._pictures,
            self._looked,
            dict(self._statuses),
            bad=bad,
            left_out=tuple(writer.left_out),
        )
