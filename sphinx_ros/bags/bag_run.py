"""A job about a bag -> the bag with the answers, whole or not there.

First pictures -> the model -> OUT.part/journal.jsonl, which takes as long as it takes and survives
kill -9. Then bag and journal -> OUT.part/NAME/NAME.mcap -> OUT in seconds, by one rename.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sphinx_ros.bags.bag_answers import Answering, looked_at, outcomes_of, picture_of
from sphinx_ros.bags.bag_job import Done, Job, outputs_of, topics_of
from sphinx_ros.bags.bag_journal import Journal
from sphinx_ros.bags.bag_reader import Bag, Numbered, Shot
from sphinx_ros.bags.bag_summary import KEY, summary_line, summary_of
from sphinx_ros.bags.bag_topics import ANNOTATED, ANNOTATIONS, MIRROR, answer_topic, topic_of
from sphinx_ros.bags.bag_writer import BagWriter
from sphinx_ros.errors import Status
from sphinx_ros.remote.address import SERVED
from sphinx_ros.ros.annotated import annotate
from sphinx_ros.ros.annotations import image_annotations
from sphinx_ros.ros.answer_messages import AnswerMessages
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.tasks import Answers

FORMAT = 1
"""Of the journal; another one is not gone on with."""


def do(job: Job, load: Callable[[], Any]) -> Done:
    """Ask, then write. load: gives the model; called only where there is something to ask, or
    where it is on a server, which has to say what it has.

    Raises:
        BadRequest: bag, target or an unfinished run can't be used. OSError: the disk is full; what
            was answered stays, and ``resume`` goes on with it.
    """
    target = Path(job.target)
    if job.resume and target.exists() and not job.part.exists():
        return Done(job.target, statuses=summary_of(target), before=True)
    with Bag(job.source) as bag:
        cameras = topics_of(job, bag)
        job.part.mkdir(exist_ok=True)
        about = _about(job, bag, cameras) | _identity(job, load)
        with Journal(job.part / "journal.jsonl", about, job.resume) as journal:
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


def _identity(job: Job, load: Callable[[], Any]) -> dict[str, str]:
    """What tells the model from others of its name; of one on a server what that calls it."""
    if job.server:
        return {SERVED: load().name}
    from sphinx_ros.checkpoint.identity import identity  # a server needs no torch here

    files = {name: job.model.get(name) for name in ("variant", "tokenizer")}
    return identity(job.checkpoint, **files)


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
                journal.add(asking.journaled(shot, journal))
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
        done = replace(out.done(writer), lacking=bag.lacking(numbered.counts))
        writer.note(KEY, summary_line(done.statuses))
    writer.put(target)
    return done


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
