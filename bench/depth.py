"""Simulated scenes with depth -> how far positions are off, with true boxes and the model's.

    python bench/depth.py [--scenes 200] [--checkpoint demo] [--json FILE]    # one minute
    python bench/depth.py --checkpoint ""                                     # true boxes alone

Boxes: the position against the centre of the thing, and its visible surface against it for
comparison. Points: the surface at a joint's pixel against the joint, which is inside the body, of
joints that nothing hides. The model grounds one unambiguous expression in each scene, where a box
counts if its IoU with the true one is 0.5 or more, and gives the pose of whoever is alone.

Keys, at 1 m: box_error_m_median and point_error_m_median (true boxes and pixels),
model_box_error_m_median and model_point_error_m_median.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sphinx_ros.image.depth import DepthPicture
from sphinx_ros.ros.locating import Scene
from sphinx_ros.ros.positions import XYZ
from sphinx_ros.types import Keypoint, iou
from sphinx_ros.world.camera_facts import calibration
from sphinx_ros.world.nouns import Tabletop
from sphinx_ros.world.regions import ground
from sphinx_ros.world.render import Canvas
from sphinx_ros.world.scenes import compose
from sphinx_ros.world.stage import Stage, measure, unfit, without
from sphinx_ros.world.truth import Observation, SceneObject

SEEDS = 700_000
"""First seed: the training and the evaluation scenes lie below."""

SIZE = 640, 480
BANDS = (0.0, 0.4, 0.6, 0.8, 1.2, 3.0)
"""Edges of the rows by distance, metres; the row of 0.8 to 1.2 is "at 1 m"."""

AT_ONE = (0.8, 1.2)

SEEN = 2
"""COCO's mark of a joint that nothing hides."""


def scene_of(seed: int, canvas: Canvas) -> tuple[Observation, Stage] | None:
    """What a seed shows, and the things in it with their joints in space; None where nothing."""
    stage = compose(seed, *SIZE)
    while stage.things:
        seen, kept = measure(stage, canvas, True, seed)
        bad = set(range(len(stage.things))) - set(kept)
        pairs = zip(kept, seen.objects, strict=True)
        bad |= {i for i, item in pairs if unfit(stage.things[i], item, stage.view)}
        if not bad:
            return seen, stage
        stage = without(stage, bad)
    return None


def asked(seen: Observation) -> Scene:
    """The scene as the node has it, through the bytes of a depth message."""
    assert seen.depth is not None
    depth = DepthPicture(seen.depth.astype("<f4").tobytes(), *SIZE, "32FC1")
    return Scene(depth, SimpleNamespace(**calibration(seen.camera)), SIZE, "camera")


def off(found: tuple[float, ...], true: Any) -> float:
    """Metres between two points; infinite where none was found."""
    distance = float(np.linalg.norm(np.subtract(found, true)))
    return distance if np.isfinite(distance) else float("inf")


def rows_of(seen: Observation, stage: Stage, sphinx: Any) -> list[dict]:
    """One row for each true box, each joint that is seen and each box and joint of the model."""
    scene, rows = asked(seen), []
    for thing, item in zip(stage.things, seen.objects, strict=True):
        place = scene.place(item.box)
        rows.append(row("box", item, place.position, item.position))
        rows.append(row("surface", item, place.surface, item.position))
        if item.keypoints is not None and thing.joints is not None:
            joints = stage.view.to_optical(thing.joints)
            pixels = [(float(x), float(y)) for x, y, _ in item.keypoints]
            rows += joint_rows("joint", scene, item, pixels, joints)
            if sphinx is not None and sum(one.kind == "person" for one in seen.objects) == 1:
                for person in sphinx.look(seen.rgb).pose()[:1]:
                    pixels = [(one.x, one.y) for one in person.keypoints]
                    rows += joint_rows("model joint", scene, item, pixels, joints)
    return rows if sphinx is None else rows + model_boxes(seen, scene, sphinx)


def row(what: str, item: SceneObject, found: XYZ, true: Any) -> dict:
    """One error, with the distance of what is to be found."""
    return {"what": what, "kind": item.kind, "away": float(true[2]), "error": off(found, true)}


def joint_rows(
    what: str, scene: Scene, item: SceneObject, pixels: list, joints: np.ndarray
) -> list[dict]:
    """Joints at pixels against the true ones, of those that are seen and were given."""
    assert item.keypoints is not None
    made = []
    for (x, y), (_, _, v), joint in zip(pixels, item.keypoints, joints, strict=True):
        if int(v) == SEEN and np.isfinite(x + y):
            made.append(row(what, item, scene.joint(Keypoint("", x, y)), joint))
    return made


def model_boxes(seen: Observation, scene: Scene, sphinx: Any) -> list[dict]:
    """The row of what the model grounds, if it found it."""
    turn = ground("attribute")(Tabletop(seen), np.random.default_rng(seen.seed))
    if turn is None:
        return []
    item = seen.objects[turn.target["objects"][0]]
    found = sphinx.look(seen.rgb).ground(turn.target["said"])
    if not len(found) or iou(found[0].box, item.box) < 0.5:
        return []
    return [row("model box", item, scene.place(found[0].box).position, item.position)]


def table(rows: list[dict]) -> tuple[list[str], dict[str, Any]]:
    """Lines for people, numbers for programs."""
    lines, made = [f"{'':24} {'n':>5} {'median':>7} {'p90':>7}   cm"], {}
    for what in dict.fromkeys(one["what"] for one in rows):
        of = [one for one in rows if one["what"] == what]
        groups = {what: of}
        for low, high in itertools.pairwise(BANDS):
            groups[f"{what} {low:g} to {high:g} m"] = [r for r in of if low <= r["away"] < high]
        if what == "box":
            for kind in sorted({one["kind"] for one in of}):
                groups[f"{what} {kind}"] = [one for one in of if one["kind"] == kind]
        for name, group in groups.items():
            if group:
                errors = np.array([row["error"] for row in group])
                middle, high = np.percentile(errors, [50, 90])
                lines.append(f"{name:24} {len(group):5} {100 * middle:7.2f} {100 * high:7.2f}")
                made[name] = {"n": len(group), "median_m": middle, "p90_m": high}
    return lines, made


def at_one(rows: list[dict], what: str) -> float:
    """Median error of a kind of row at 1 m."""
    low, high = AT_ONE
    errors = [r["error"] for r in rows if r["what"] == what and low <= r["away"] < high]
    return float(np.median(errors)) if errors else float("nan")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--checkpoint", default="demo", help='"": true boxes alone')
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sphinx = None
    if given.checkpoint:
        from sphinx_ros import Sphinx

        sphinx = Sphinx.from_pretrained(given.checkpoint)
    canvas, rows = Canvas(*SIZE), []
    for seed in range(SEEDS, SEEDS + given.scenes):
        made = scene_of(seed, canvas)
        if made is not None:
            rows += rows_of(*made, sphinx)
    canvas.close()
    lines, numbers = table(rows)
    print("\n".join(lines))
    keys = {
        "box_error_m_median": at_one(rows, "box"),
        "point_error_m_median": at_one(rows, "joint"),
        "model_box_error_m_median": at_one(rows, "model box"),
        "model_point_error_m_median": at_one(rows, "model joint"),
    }
    print("at 1 m: " + ", ".join(f"{key} {value:.4f}" for key, value in keys.items()))
    if given.json:
        given.json.write_text(json.dumps({**keys, "rows": numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
