"""Results, events and errors <-> JSON that goes over HTTP, without a loss. Knows no model.

NaN is null there, which JSON has in its place; enumerations are written by their names. Boxes and
points are in pixels of the picture as it was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sphinx_ros.errors import (
    BadImage,
    BadRequest,
    Cancelled,
    SphinxError,
    Status,
    TimedOut,
)
from sphinx_ros.events import Event, Finished, Found, Piece
from sphinx_ros.tasks import Answers, Task
from sphinx_ros.types import (
    Answer,
    Cost,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
    ScoreSource,
    Visibility,
)

Json = dict[str, Any]

ERRORS: dict[Status, type[SphinxError]] = {
    Status.BAD_IMAGE: BadImage,
    Status.BAD_REQUEST: BadRequest,
    Status.CANCELLED: Cancelled,
    Status.TIMEOUT: TimedOut,
}
"""What is raised for a status; :class:`SphinxError` for the others."""


# Results


def answer_to_json(task: Task, result: Results | Answer | Exception) -> Json:
    """What became of a query: every key is there for every task."""
    if isinstance(result, Exception):
        return _ended(task, result)
    said: Json = {
        "task": task.value,
        "status": result.status.name,
        "message": "",
        "text": result.text if isinstance(result, Answer) else None,
        "detections": [detection_to_json(one) for one in result.detections],
        "poses": [pose_to_json(one) for one in result.poses],
        "points": [keypoint_to_json(one) for one in getattr(result, "keypoints", ())],
        "point_source": result.source.name if isinstance(result, Points) else None,
        "denied": [detection_to_json(one) for one in getattr(result, "denied", ())],
        "score": known(result.score) if isinstance(result, Answer) else None,
        "raw_text": result.raw_text,
        "unread": list(result.unread),
        "milliseconds": known(result.milliseconds),
        "tokens": result.tokens,
        "cost": {name: known(value) for name, value in asdict(result.cost).items()},
    }
    return said


def _ended(task: Task, error: Exception) -> Json:
    status = error.status if isinstance(error, SphinxError) else Status.INTERNAL
    said = str(error) if isinstance(error, SphinxError) else f"{type(error).__name__}: {error}"
    empty = answer_to_json(task, Results(raw_text=getattr(error, "partial_text", "")))
    return {**empty, "status": status.name, "message": said}


def answer_from_json(said: Mapping[str, Any]) -> Results | Answer | SphinxError:
    """The result or the error that :func:`answer_to_json` was given.

    Raises:
        KeyError, TypeError, ValueError: it is none of ours.
    """
    status, kind = Status[said["status"]], Task(said["task"]).row.answers
    if said["message"] and not status.answered and status is not Status.PARSE_FAILED:
        return error_of(status, said["message"], said["raw_text"])
    cost = said["cost"]
    known = [one.name for one in fields(Cost) if one.name in cost]  # of older servers fewer
    cost = Cost(**{name: _number(cost[name]) for name in known})
    detections = tuple(detection_from_json(one) for one in said["detections"])
    points = tuple(keypoint_from_json(one) for one in said["points"])
    common: Json = {
        "raw_text": said["raw_text"],
        "unread": tuple(said["unread"]),
        "status": status,
        "milliseconds": _number(said["milliseconds"]),
        "tokens": said["tokens"],
        "cost": cost,
    }
    if kind is Answers.WORDS:
        score = _number(said["score"])
        return Answer(said["text"], detections, points, score=score, **common)
    common["denied"] = tuple(detection_from_json(one) for one in said["denied"])
    if kind is Answers.POINTS:
        source = PointSource[said["point_source"]]
        return Points(points, source=source, boxes=detections, **common)
    if kind is Answers.PEOPLE:
        return Results(tuple(pose_from_json(one) for one in said["poses"]), **common)
    return Results(detections, **common)


def error_of(status: Status, message: str, partial_text: str = "") -> SphinxError:
    """The error of a status, of the class that raises it here."""
    kind = ERRORS.get(status, SphinxError)
    return kind(message, status=status, partial_text=partial_text)


# Events


def event_to_json(event: Event, task: Task) -> Json:
    """One event of a stream. task: of its query."""
    if isinstance(event, Piece):
        return {"type": "piece", "number": event.number, "text": event.text}
    if isinstance(event, Finished):
        answer = answer_to_json(task, event.result)
        return {"type": "finished", "number": event.number, "answer": answer}
    kind, write, _ = next(row for row in ITEMS if isinstance(event.item, row[0]))
    return {"type": "found", "number": event.number, _name(kind): write(event.item)}


def event_from_json(said: Mapping[str, Any]) -> Event | None:
    """The event that :func:`event_to_json` was given; None for an event of another type."""
    number = said.get("number", 0)
    if said["type"] == "piece":
        return Piece(said["text"], number)
    if said["type"] == "finished":
        return Finished(answer_from_json(said["answer"]), number)
    if said["type"] == "found":
        return next(
            Found(read(said[_name(kind)]), number)
            for kind, _, read in ITEMS
            if _name(kind) in said
        )
    return None


# Items


def detection_to_json(item: Detection) -> Json:
    """A box."""
    return {
        "label": item.label,
        "box": _numbers(item.box),
        "score": known(item.score),
        "score_source": item.score_source.name,
        "sigma": _numbers(item.sigma),
        "expected": _numbers(item.expected),
        "presence": known(item.presence),
    }


def detection_from_json(said: Mapping[str, Any]) -> Detection:
    """The box of :func:`detection_to_json`."""
    return Detection(
        said["label"],
        _side(said["box"]),
        _number(said["score"]),
        ScoreSource[said["score_source"]],
        _side(said["sigma"]),
        _side(said["expected"]),
        _number(said["presence"]),
    )


def keypoint_to_json(item: Keypoint) -> Json:
    """A joint or a point; x and y are null where it is not seen."""
    return {
        "name": item.name,
        "x": known(item.x),
        "y": known(item.y),
        "score": known(item.score),
        "visibility": item.visibility.name,
    }


def keypoint_from_json(said: Mapping[str, Any]) -> Keypoint:
    """The joint of :func:`keypoint_to_json`."""
    x, y, score = (_number(said[name]) for name in ("x", "y", "score"))
    return Keypoint(said["name"], x, y, score, Visibility[said["visibility"]])


def pose_to_json(item: Pose) -> Json:
    """A person: 17 joints in COCO order."""
    return {
        "label": "person",
        "box": None if item.box is None else _numbers(item.box),
        "score": known(item.score),
        "score_source": item.score_source.name,
        "keypoints": [keypoint_to_json(one) for one in item.keypoints],
    }


def pose_from_json(said: Mapping[str, Any]) -> Pose:
    """The person of :func:`pose_to_json`."""
    joints = tuple(keypoint_from_json(one) for one in said["keypoints"])
    box = None if said["box"] is None else _side(said["box"])
    return Pose(joints, box, _number(said["score"]), ScoreSource[said["score_source"]])


ITEMS: tuple[tuple[type, Callable[[Any], Json], Callable[[Any], Any]], ...] = (
    (Detection, detection_to_json, detection_from_json),
    (Pose, pose_to_json, pose_from_json),
    (Keypoint, keypoint_to_json, keypoint_from_json),
)
"""Items of an answer: what they are, to JSON, and back."""


def _name(kind: type) -> str:
    return kind.__name__.lower()


def known(value: float) -> float | None:
    """A number; None for NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(values: Sequence[float]) -> list[float | None]:
    return [known(float(value)) for value in values]


def _number(value: Any) -> Any:
    """A number out of JSON, as it was."""
    return math.nan if value is None else value


def _side(values: Sequence[Any]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(_number, values)
    return x0, y0, x1, y1
