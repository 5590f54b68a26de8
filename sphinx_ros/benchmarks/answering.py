"""Samples -> answers as plain values: pictures are looked at together, questions share their look.

The same samples in the same order get the same answers, whatever was asked before them: what the
engine learns of a checkpoint's habits is forgotten between two jobs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.together import answer_together
from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.benchmarks.true_boxes import SLACK
from sphinx_ros.engine.style import Habits
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.image import jpeg, png
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.image.formats import decode_file
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.checks import written_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Detection, Pose

TOGETHER = 64
"""Questions about one picture in a batch at most: each has its room in the picture's cache."""

AT_ONCE = 256
"""Questions of a batch at most, about all its pictures."""

Line = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What answers depend on beside the samples.

    Attributes:
        load: keyword arguments of :meth:`Sphinx.from_pretrained`, "checkpoint" among them.
        verify: ask as well whether an expression's thing is there. free: let everything be
            written where numbers alone could be. raw: raw scores, without a calibration.
        coordinates: see :class:`sphinx_ros.seen.Seen`. apart: look anew for each question.
        questions: that are asked at once at most, about all pictures of a batch.
        threads: of the processor; 0 leaves it to torch.
    """

    load: Mapping[str, Any] = field(default_factory=dict)
    verify: bool = False
    free: bool = False
    raw: bool = False
    coordinates: str = ""
    apart: bool = False
    questions: int = AT_ONCE
    threads: int = 0


class Answerer:
    """One loaded checkpoint that answers samples."""

    def __init__(self, settings: Settings, sphinx: Sphinx | None = None):
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.settings = settings
        self.sphinx = sphinx or Sphinx.from_pretrained(**settings.load)
        judge = self.sphinx.judge
        self._judge = Judge(judge.yes_no) if settings.raw else judge

    def answers(self, samples: Sequence[Sample]) -> list[tuple[Line, Line]]:
        """(answer, times) of each sample, in order.

        Raises:
            SphinxError: out of memory. Whatever else ends a question is in its answer.
        """
        engine = self.sphinx.engine
        engine.habits = Habits(engine.habits.pieces)
        if self.settings.apart:
            return [pair for one in samples for pair in self._together([one])]
        return self._together(samples)

    def _together(self, samples: Sequence[Sample]) -> list[tuple[Line, Line]]:
        pictures = {sample.picture.key: sample.picture for sample in samples}
        looked = self._look(pictures, upright=any(one.dataset == "mine" for one in samples))
        made: dict[int, tuple[Line, Line]] = {}
        asked: list[tuple[int, Subject, float]] = []
        for number, sample in enumerate(samples):
            seen = looked[sample.picture.key]
            said = seen if isinstance(seen, str) else _unlike(sample, seen[0].place)
            if said:
                made[number] = _line(sample) | {"refused": said}, {}
            elif not isinstance(seen, str):
                asked.append((number, *seen))
        for options, part in self._batches(samples, asked):
            pairs = [(subject, self._query(samples[n])) for n, subject, _ in part]
            begun = time.perf_counter()
            results = answer_together(pairs, refuse=False, **options)
            spent = 1e3 * (time.perf_counter() - begun) / len(part)
            for (number, subject, look_ms), result in zip(part, results, strict=True):
                _raise_for_memory(result)
                answer = _line(samples[number]) | answer_line(result, subject.place)
                made[number] = answer, {"milliseconds": round(spent, 3), "look": round(look_ms, 3)}
        return [made[number] for number in range(len(samples))]

    def _look(
        self, pictures: Mapping[str, Picture], upright: bool
    ) -> dict[str, tuple[Subject, float] | str]:
        """Picture -> what questions are about and the look's milliseconds, or why not."""
        found: dict[str, tuple[Subject, float] | str] = {}
        shown: dict[str, tuple[np.ndarray, Letterbox]] = {}
        for key, picture in pictures.items():
            try:
                rgb = _decoded(picture.read(), upright)
                height, width = rgb.shape[:2]
                pixels = preprocess(rgb, self.sphinx.config.image_size)
                shown[key] = pixels, Letterbox.of(width, height)
            except SphinxError as error:
                found[key] = f"{picture.name}: {error}"
        if shown:
            engine = self.sphinx.engine
            frames = engine.look_all(torch.from_numpy(np.stack([p for p, _ in shown.values()])))
            decimals = self.sphinx.config.coordinate_decimals
            for (key, (_, place)), frame in zip(shown.items(), frames, strict=True):
                subject = Subject(engine, frame, place, decimals, self._judge)
                found[key] = subject, frame.encode_ms + frame.prefill_ms
        return found

    def _batches(
        self, samples: Sequence[Sample], asked: Sequence[tuple[int, Subject, float]]
    ) -> Iterator[tuple[dict[str, Any], list[tuple[int, Subject, float]]]]:
        """Options and the questions that can be asked together with them."""
        kinds: dict[tuple[tuple[str, Any], ...], list[tuple[int, Subject, float]]] = {}
        for one in asked:
            kinds.setdefault(tuple(self._options(samples[one[0]]).items()), []).append(one)
        for options, questions in kinds.items():
            part: list[tuple[int, Subject, float]] = []
            about: dict[int, int] = {}
            for one in questions:
                if len(part) == self.settings.questions or about.get(id(one[1]), 0) == TOGETHER:
                    yield dict(options), part
                    part, about = [], {}
                part.append(one)
                about[id(one[1])] = about.get(id(one[1]), 0) + 1
            if part:
                yield dict(options), part

    def _options(self, sample: Sample) -> dict[str, Any]:
        """Keyword arguments of :func:`answer_together`."""
        bench = benchmark(sample.dataset)
        tokens = Task.GROUND.row.max_new_tokens if bench.name == "mine" else bench.tokens
        if sample.family in (Family.DETECT, Family.POSE):
            tokens = Task.DETECT.row.max_new_tokens
        return {
            "short": False,
            "verify": self.settings.verify and sample.family is Family.BOXES,
            "coordinates": self.settings.coordinates,
            # a sentence of D3 may describe several things, so a single box must not end it
            "free": self.settings.free or bench.name == "d3",
            "begun": bench.begun,
            "max_new_tokens": tokens,
        }

    def _query(self, sample: Sample) -> Query:
        if sample.family is Family.BOXES or sample.dataset == "d3":
            return Query(Task.GROUND, sample.text)
        if sample.family is Family.DETECT:
            return Query(Task.DETECT, sample.text)
        if sample.family is Family.POSE:
            return Query(Task.POSE)
        return Query(Task.ASK, benchmark(sample.dataset).prompt(sample))


def _decoded(data: bytes, upright: bool) -> np.ndarray:
    """[H, W, 3] uint8 RGB. upright: turned as its EXIF says; the boxes of data sets are not."""
    if upright or not data.startswith((jpeg.START, png.START)):
        return decode_file(data)
    return decode_compressed(data)


def _line(sample: Sample) -> Line:
    return {"dataset": sample.dataset, "split": sample.split, "id": sample.id}


def _unlike(sample: Sample, place: Letterbox) -> str:
    """Why what is true can't be of this picture, as it is taken here, or ""."""
    here = f"{sample.picture.name}, which has {place.width}x{place.height} pixels"
    told = sample.more.get("size")
    if told is not None and tuple(told) != (place.width, place.height):
        as_it_is = "shown" if sample.dataset == "mine" else "stored"
        return f"the data says {told[0]}x{told[1]} pixels of {here} as it is {as_it_is}"
    for box in sample.boxes:
        low, wide, high = min(box[:2]), box[2] - place.width, box[3] - place.height
        if low < -SLACK or wide > SLACK or high > SLACK:
            return f"the box {written_box(box)} reaches beyond {here}"
    return ""


def _raise_for_memory(result: Any) -> None:
    if isinstance(result, SphinxError) and result.status is Status.OUT_OF_MEMORY:
        raise SphinxError(f"{result}; use a smaller --batch", status=result.status)


def answer_line(result: Any, place: Letterbox) -> Line:
    """A result, or the error in its place, as plain values; unknown numbers are None."""
    size = [place.width, place.height]
    if isinstance(result, Exception):
        status = result.status if isinstance(result, SphinxError) else Status.INTERNAL
        text = getattr(result, "partial_text", "")
        said = str(result) if isinstance(result, SphinxError) else repr(result)
        return {"text": text, "status": status.name, "size": size, "boxes": [], "scores": [],
                "error": said}  # fmt: skip
    # free text may hold boxes, which nobody asked for; they are read as the answer's
    boxes = [*result.detections, *getattr(result, "denied", ())]
    kept = len(result.detections)
    line: Line = {"text": result.raw_text.strip(), "status": result.status.name, "size": size}
    if isinstance(result, Answer):
        return line | {"boxes": [], "scores": [], "score": _number(result.score)}
    if result.poses:
        line["poses"] = [_pose(one) for one in result.poses]
    line |= {
        "labels": [one.label for one in boxes],
        "boxes": [_rounded(one.box) for one in boxes[:kept]],
        "scores": [_number(one.score) for one in boxes],
    }
    if kept < len(boxes):
        line["denied"] = [_rounded(one.box) for one in boxes[kept:]]
    return line | _beside(boxes)


def _beside(boxes: Sequence[Detection]) -> Line:
    """What else is known of boxes."""
    found: Line = {}
    if any(not math.isnan(sum(one.sigma)) for one in boxes):
        found["sigma"] = [_rounded(one.sigma) for one in boxes]
        found["expected"] = [_rounded(one.expected) for one in boxes]
    if boxes and not math.isnan(boxes[0].presence):
        found["presence"] = _number(boxes[0].presence)
    return found


def _pose(pose: Pose) -> Line:
    """score: the pose's own, else the mean of those of its joints."""
    known = [one.score for one in pose.keypoints if not math.isnan(one.score)]
    score = sum(known) / len(known) if math.isnan(pose.score) and known else pose.score
    joints = [_rounded((one.x, one.y)) for one in pose.keypoints]
    return {"joints": joints, "score": _number(score)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _rounded(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 4) for value in values]
