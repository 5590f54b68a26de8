"""Answers and ground truth -> rows, rows -> a table. Knows no model and no renderer.

A row is one question: its group (refer, point, detect, pose, qa, describe), kind, size class, and
counts or values. Tables are sums over rows, so rows from many processes simply join.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sphinx_ros.evaluate.trust import refer_row, trust
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import Parsed, denies, parse
from sphinx_ros.prompt.results import to_detections, to_poses
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, Detection, Points, Pose, Results, iou
from sphinx_ros.world.truth import Observation, SceneObject
from sphinx_ros.world.turn import Turn

SIZE_CLASSES = ((0.09, "small"), (0.17, "medium"), (np.inf, "large"))
"""Upper limits of a box's longer side as a share of the picture's longer side."""

Labelled = tuple[str, Sequence[float]]
"""A label and its box (x0, y0, x1, y1)."""

FOUND_IOU = 0.5
"""A box is found by one that overlaps it this much (intersection over union), as usual."""

QA_KINDS = ("count", "colour", "exist", "relation_yesno", "what_relation")
PCK_SHARE = 0.1
"""A joint is right within this share of the person's box (its longer side)."""


def size_class(box: Sequence[float], width: int, height: int) -> str:
    """Small, medium or large in the picture."""
    share = max(box[2] - box[0], box[3] - box[1]) / max(width, height)
    return next(name for limit, name in SIZE_CLASSES if share < limit)


def matched(found: Sequence[Labelled], true: Sequence[Labelled]) -> list[float]:
    """Overlap of each pair of boxes that belong together, as :func:`paired`."""
    return [overlap for overlap, _, _ in paired(found, true)]


def paired(found: Sequence[Labelled], true: Sequence[Labelled]) -> list[tuple[float, int, int]]:
    """(overlap, number of the found, number of the true) of boxes that belong together.

    Best pairs first, each box in one pair at most; labels are equal, and the overlap is at least
    :data:`FOUND_IOU`.
    """
    pairs = sorted(
        (
            (iou(f[1], t[1]), i, j)
            for i, f in enumerate(found)
            for j, t in enumerate(true)
            if f[0] == t[0]
        ),
        reverse=True,
    )
    used_f, used_t, kept = set(), set(), []
    for overlap, i, j in pairs:
        if overlap >= FOUND_IOU and i not in used_f and j not in used_t:
            used_f.add(i)
            used_t.add(j)
            kept.append((overlap, i, j))
    return kept


def match(found: Sequence[Labelled], true: Sequence[Labelled]) -> tuple[int, int, int]:
    """(hits, false, missed) of labelled boxes, paired as by :func:`matched`."""
    number = len(matched(found, true))
    return number, len(found) - number, len(true) - number


def score(turn: Turn, text: str, observation: Observation) -> dict:
    """One row for one question and the model's answer."""
    camera = observation.camera
    place = Letterbox.of(camera.width, camera.height)
    parsed = parse(text)
    row = {"kind": turn.kind, "size": "", "scene": observation.seed}
    if turn.task is Task.GROUND:
        found, _, _ = to_detections(parsed, place)
        return score_refer(turn, Results(found), observation)
    if turn.task is Task.DETECT:
        found, _, _ = to_detections(parsed, place)
        true = list(zip(turn.target["labels"], turn.target["boxes"], strict=True))
        hits, false, missed = match([(d.label, d.box) for d in found], true)
        right = not found and denies(text)
        return row | {
            "group": "detect",
            "hits": hits,
            "false": false,
            "missed": missed,
            "none_right": right,
        }
    if turn.task is Task.POSE:
        thing = observation.objects[turn.target["person"]]
        return row | {"group": "pose"} | score_pose(parsed, place, thing)
    right = text.strip().lower() in [a.lower() for a in turn.target.get("answers", ())]
    group = "qa" if turn.kind in QA_KINDS else turn.kind
    return row | {"group": group, "right": right}


def score_refer(turn: Turn, found: Results[Detection], observation: Observation) -> dict:
    """One row for a referring expression, whether it fits something or not."""
    camera, boxes = observation.camera, turn.target["boxes"]
    true = boxes[0] if boxes else None
    size = "" if true is None else size_class(true, camera.width, camera.height)
    row = {"group": "refer", "kind": turn.kind, "size": size, "scene": observation.seed}
    place = Letterbox.of(camera.width, camera.height)
    return row | refer_row(found, true, place)


def score_point(turn: Turn, found: Points, observation: Observation) -> dict:
    """One row for a point on what a referring expression describes.

    given: whether there is a point. inside: whether the first lies on a pixel of the thing.
    """
    (index,), (box,) = turn.target["objects"], turn.target["boxes"]
    height, width = observation.segmentation.shape
    inside = False
    if found:
        x, y = min(int(found[0].x), width - 1), min(int(found[0].y), height - 1)
        inside = bool(observation.segmentation[y, x] == index + 1)
    row = {"group": "point", "kind": turn.kind, "size": size_class(box, width, height)}
    return row | {"scene": observation.seed, "given": len(found) > 0, "inside": inside}


def score_pose(parsed: Parsed, place: Letterbox, thing: SceneObject) -> dict:
    """Per joint of a person: labelled, labelled visible, and found within PCK_SHARE of the box."""
    assert thing.keypoints is not None
    places, shown = thing.keypoints[:, :2], thing.keypoints[:, 2]
    poses, _ = to_poses(parsed, place, thing.box)
    near = near_joints(poses[0] if poses else None, places, thing.box)
    return {
        "known": (shown > 0).tolist(),
        "visible": (shown == 2).tolist(),
        "near": near.tolist(),
    }


def near_joints(pose: Pose | None, places: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """[17] bool: which joints are within PCK_SHARE of the box's longer side; none without a pose.

    places: [17, 2], where they are, in pixels. box: of the person, x0, y0, x1, y1 in pixels.
    """
    if pose is None:
        return np.zeros(len(COCO_KEYPOINTS), bool)
    return near_places(np.array([(joint.x, joint.y) for joint in pose.keypoints]), places, box)


def near_places(read: np.ndarray, places: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The same of joints that were read, [17, 2] in pixels, NaN where one is not known."""
    limit = PCK_SHARE * max(box[2] - box[0], box[3] - box[1])
    return np.linalg.norm(read - places, axis=1) <= limit  # false for NaN


def mean(values: Iterable[float]) -> float:
    """Mean, NaN of nothing."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def f1(rows: list[dict]) -> float:
    """F1 of summed hits, false and missed boxes."""
    hits, false, missed = (sum(r[k] for r in rows) for k in ("hits", "false", "missed"))
    return 2 * hits / (2 * hits + false + missed) if hits + false + missed else float("nan")


def table(rows: list[dict]) -> dict[str, float]:
    """All scores by dotted name; a count of questions beside each as ``<name>.n``."""
    out: dict[str, float] = {}

    def put(name: str, chosen: list[dict], values: dict[str, float]) -> None:
        """Take up scores under a name, and how many questions they are of."""
        out.update({f"{name}.{k}": v for k, v in values.items()})
        out[f"{name}.n"] = len(chosen)

    asked = [r for r in rows if r["group"] == "refer"]
    # words of other kinds than the model card's have rows of their own, so that the others can be
    # compared with those of earlier checkpoints
    usual = [r for r in asked if r["kind"] != "worded"]
    refer = [r for r in usual if r["there"]]

    def boxes(chosen: list[dict]) -> dict[str, float]:
        """Scores of single boxes."""
        return {
            "acc50": mean(r["iou"] >= FOUND_IOU for r in chosen),
            "miou": mean(r["iou"] for r in chosen),
        }

    put("refer", refer, boxes(refer) | trust(usual))
    out["refer.absent.n"] = len(usual) - len(refer)
    for kind in dict.fromkeys(sorted(r["kind"] for r in asked)):
        chosen = [r for r in asked if r["kind"] == kind]
        name = "kept" if chosen[0]["there"] else "denied"
        put(f"refer.{kind}", chosen, {name: mean(r["kept"] == r["there"] for r in chosen)})
    for key in ("kind", "size"):
        for value in dict.fromkeys(sorted(r[key] for r in asked if r["there"])):
            chosen = [r for r in (asked if key == "kind" else refer) if r[key] == value]
            put(f"refer.{value}" if key == "kind" else f"refer.{value}_box", chosen, boxes(chosen))
    pointed = [r for r in rows if r["group"] == "point"]
    chosen = [r for r in pointed if r["kind"] != "worded"]
    put("point", chosen, _inside(chosen))
    for kind in dict.fromkeys(sorted(r["kind"] for r in pointed)):
        chosen = [r for r in pointed if r["kind"] == kind]
        put(f"point.{kind}", chosen, _inside(chosen))
    detect = [r for r in rows if r["group"] == "detect"]
    none = [r for r in detect if r["kind"] == "detect_none"]
    put("detect", detect, {"f1": f1(detect), "none_acc": mean(r["none_right"] for r in none)})
    for kind in ("detect", "detect_all"):
        chosen = [r for r in detect if r["kind"] == kind]
        name = {"detect": "detect.of_kind", "detect_all": "detect.everything"}[kind]
        put(name, chosen, {"f1": f1(chosen)})
    pose = [r for r in rows if r["group"] == "pose"]
    put("pose", pose, pck(pose))
    for group in ("qa", "describe"):
        chosen = [r for r in rows if r["group"] == group]
        put(group, chosen, {"acc": mean(r["right"] for r in chosen)})
        if group == "qa":
            for kind in QA_KINDS:
                part = [r for r in chosen if r["kind"] == kind]
                put(f"qa.{kind}", part, {"acc": mean(r["right"] for r in part)})
    for group in ("refer", "point", "detect", "pose", "qa", "describe"):
        out[f"{group}.scenes"] = len({r["scene"] for r in rows if r["group"] == group})
    return out


def _inside(rows: list[dict]) -> dict[str, float]:
    """inside: share of all points that lie on their thing, one that is missing does not.

    given_inside: of the points that there are.
    """
    given = [r for r in rows if r["given"]]
    return {
        "inside": mean(r["inside"] for r in rows),
        "given_inside": mean(r["inside"] for r in given),
    }


def pck(rows: list[dict]) -> dict[str, float]:
    """PCK over all labelled joints, over the visible ones, and by joint."""
    if not rows:
        return {"pck": float("nan"), "pck_visible": float("nan")}
    known, visible, near = (np.array([r[k] for r in rows]) for k in ("known", "visible", "near"))
    out = {"pck": float(near[known].mean()), "pck_visible": float(near[visible].mean())}
    for part in ("nose", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        index = [i for i, name in enumerate(COCO_KEYPOINTS) if part in name]
        hit = near[:, index][known[:, index]]
        out[f"{part}.pck"] = float(hit.mean()) if hit.size else float("nan")
    return out
