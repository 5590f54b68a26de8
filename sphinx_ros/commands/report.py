"""Results -> lines for people and one JSON object for programs. Knows no model and no picture."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from sphinx_ros.commands.arguments import WORST_FIRST
from sphinx_ros.errors import SphinxError, Status, shortened
from sphinx_ros.prompt.plain import plain
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.types import Answer, Box, Detection, Keypoint, Points, Pose, Results

SCHEMA = """--json prints one object per picture, one per line:
  image         the file, or "camera N"
  time          seconds from the video's start; only where a video was given
  width height  pixels; null where the picture could not be read
  task text     what was asked ("text" is a box for describe and pose, empty for caption and
                read_text)
  status        OK NOT_FOUND BAD_IMAGE BAD_REQUEST TIMEOUT PARSE_FAILED OUT_OF_MEMORY ...
  answer        the model's sentence for describe, caption and ask; null for the other verbs
  results       list of {label, box: [x0, y0, x1, y1], score, score_source, sigma: px, of each
                side, presence: that there is such a thing}; from pose with keypoints: 17 of
                {name, x, y, score, visibility} in COCO order; a point in an answer has point:
                [x, y] instead of box; from point with point and point_source: MODEL, or BOX
                where it is the middle of the box, which is there as well. Pixels of the picture
                as viewers show it, origin upper left
  score         of the whole answer for describe, caption and ask; null for the other verbs
  raw_text      the model's own words, partial where it was stopped
  unread        parts of raw_text that look like a box or point and could not be read
  milliseconds  looking and answering, without loading the model
  tokens        tokens the model wrote
  message       what went wrong and what to do, only where status is neither OK nor NOT_FOUND
Scores are 0..1, null where unknown: CALIBRATED is the probability that a box is right,
TOKEN_PROBABILITY the mean probability of its coordinate tokens."""

QUOTED = 160  # characters of the model's own words in a message


@dataclass(frozen=True)
class Report:
    """One question on one picture. found: detections, poses or an answer; None after an error."""

    image: str
    task: str
    text: str
    size: tuple[int, int] | None = None  # width, height
    found: Results | Answer | None = None
    error: SphinxError | None = None
    look_ms: float = 0.0
    box: Box | None = None  # that was asked about
    time: float | None = None  # of a video's frame, seconds

    @property
    def place(self) -> str:
        """The picture as people read it: "clip.mp4 1.50 s"."""
        return self.image if self.time is None else f"{self.image} {self.time:.2f} s"

    @property
    def status(self) -> Status:
        """The named outcome."""
        return self.error.status if self.error else self.answered.status

    @property
    def answered(self) -> Results | Answer:
        """What was found; only where there is no error."""
        assert self.found is not None
        return self.found

    @property
    def detections(self) -> tuple[Detection, ...]:
        """All boxes."""
        return self.found.detections if self.found is not None else ()

    @property
    def poses(self) -> tuple[Pose, ...]:
        """All people."""
        return self.found.poses if self.found is not None else ()

    @property
    def points(self) -> tuple[Keypoint, ...]:
        """All points, those of people aside."""
        return getattr(self.found, "keypoints", ())

    def message(self) -> str:
        """One sentence for people; empty where the model answered."""
        if self.error:
            written = f' (so far: "{self.error.partial_text}")' if self.error.partial_text else ""
            return one_line(f"{self.error}{written}")
        if self.status is Status.PARSE_FAILED:
            said = shortened(one_line(self.answered.raw_text), QUOTED)
            return f'the model\'s words hold no readable result: "{said}"'
        return ""

    def as_json(self, ascii_only: bool = False) -> str:
        """One line, see :data:`SCHEMA`. ascii_only: for an output that is not UTF-8."""
        return json.dumps(self.as_dict(), ensure_ascii=ascii_only, allow_nan=False)

    def as_dict(self) -> dict[str, Any]:
        """The object of :data:`SCHEMA`."""
        width, height = self.size or (None, None)
        answer = self.found if isinstance(self.found, Answer) else None
        content = {
            "image": self.image,
            **({} if self.time is None else {"time": round(self.time, 3)}),
            "width": width,
            "height": height,
            "task": self.task,
            "text": self.text,
            "status": self.status.name,
            "answer": None if answer is None else answer.text,
            "results": self._results(),
            "score": None if answer is None else known(answer.score, 4),
            "raw_text": self.error.partial_text if self.error else self.answered.raw_text,
            "unread": [] if self.error else list(self.answered.unread),
            "milliseconds": None
            if self.error
            else known(self.look_ms + self.answered.milliseconds),
            "tokens": None if self.error else self.answered.tokens,
        }
        if self.message():
            content["message"] = self.message()
        return content

    def _results(self) -> list[dict]:
        if isinstance(self.found, Points):
            source = {"point_source": self.found.source.name}
            boxes = [*map(detection, self.detections)] or [{} for _ in self.points]
            pairs = zip(boxes, map(point, self.points), strict=True)
            return [box | spot | source for box, spot in pairs]
        return [
            *map(detection, self.detections),
            *map(pose, self.poses),
            *map(point, self.points),
        ]

    def as_lines(self) -> list[str]:
        """One line per result: picture, status, label, box in pixels, score."""
        head = f"{self.place}: {self.status.name}"
        if self.message():
            return [f"{head} {self.message()}"]
        if isinstance(self.found, Points):
            lines = [
                f"{head} {one_line(k.name)} point {k.x:.1f},{k.y:.1f}{score_words(k.score)}"
                for k in self.points
            ]
        else:
            lines = [
                f"{head} {one_line(d.label)} {box_words(d.box)}{score_words(d.score)}"
                for d in self.detections
            ]
        for person in self.poses:
            joints = [k for k in person.keypoints if math.isfinite(k.x)]
            where = f" {box_words(person.box)}" if person.box else ""
            places = ", ".join(f"{k.name} {k.x:.0f},{k.y:.0f}" for k in joints)
            lines.append(f"{head} person{where}{score_words(person.score)} joints {places}")
        if isinstance(self.found, Answer):
            lines.insert(
                0, f"{head} {one_line(plain(self.found.text))}{score_words(self.found.score)}"
            )
        elif not lines:
            lines.append(f"{head} {one_line(self.answered.raw_text)}")
        return lines + [f"{self.place}: unread {one_line(part)}" for part in self.answered.unread]


def detection(item: Detection) -> dict:
    """JSON of a box."""
    return {
        "label": item.label,
        "box": [known(value) for value in item.box],
        "score": known(item.score, 4),
        "score_source": item.score_source.name,
        "sigma": [known(value) for value in item.sigma],
        "presence": known(item.presence, 4),
    }


def pose(item: Pose) -> dict:
    """JSON of a person."""
    joints = [
        {
            "name": k.name,
            "x": known(k.x),
            "y": known(k.y),
            "score": known(k.score, 4),
            "visibility": k.visibility.name,
        }
        for k in item.keypoints
    ]
    box = None if item.box is None else [known(value) for value in item.box]
    return {"label": "person", "box": box, "score": known(item.score, 4), "keypoints": joints}


def point(item: Keypoint) -> dict:
    """JSON of a point."""
    place = [known(item.x), known(item.y)]
    return {"label": item.name, "point": place, "score": known(item.score, 4)}


def known(value: float, digits: int = 2) -> float | None:
    """Rounded; None for NaN, which JSON does not have."""
    return round(value, digits) if math.isfinite(value) else None


def box_words(box: Box) -> str:
    """A box as `describe` and `pose` read it."""
    return "box " + ",".join(f"{value:.1f}" for value in box)


def score_words(score: float) -> str:
    """ " score 0.93"; nothing where unknown."""
    return "" if math.isnan(score) else f" score {score:.2f}"


@dataclass
class Tally:
    """Outcomes of all pictures -> the exit code; the worst one counts."""

    seen: set[Status] = field(default_factory=set)

    def add(self, status: Status) -> None:
        """Count one outcome."""
        self.seen.add(status)

    def exit_code(self) -> int:
        """0 at least one answer, 1 not found anywhere; else that of the worst outcome."""
        codes = {status.exit_code for status in self.seen}
        return next(code for code in WORST_FIRST if code in codes)
