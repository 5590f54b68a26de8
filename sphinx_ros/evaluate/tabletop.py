"""Score a checkpoint on held-out scenes of the simulated tabletop, by several processes.

Held-out means other seeds than training draws, full-size pictures of three shapes, and only the
questions whose answers the scene determines. The model is asked through an asker only.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sphinx_ros.evaluate.metrics import score, score_point, score_refer, table
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.runtime.workers import Workers
from sphinx_ros.tasks import Task
from sphinx_ros.world.phrases import EXPRESSION_KINDS
from sphinx_ros.world.truth import Observation
from sphinx_ros.world.turn import Turn

if TYPE_CHECKING:
    from sphinx_ros.evaluate.asker import BatchAsker

PICTURE_SIZES = ((640, 480), (640, 360), (480, 640))
"""Width and height of the pictures, in turn."""

HELD_OUT = 1_000_000_000
"""First seed of held-out scenes; training draws seeds from 0 upwards."""

PER_SCENE = {
    "attribute": 0.6, "size": 0.6, "ordinal": 0.6, "relation": 0.6, "superlative": 0.6,
    "worded": 0.3, "no_attribute": 0.3, "no_size": 0.3, "no_ordinal": 0.3, "no_relation": 0.3,
    "no_superlative": 0.3,
    "detect": 1, "detect_none": 1, "detect_all": 0.34, "pose": 1, "describe": 1, "count": 1,
    "colour": 1, "exist": 1, "relation_yesno": 1, "what_relation": 0.5,
}  # fmt: skip
"""Questions per scene; expressions of one type are asked where the scene allows them."""

REFERRING = {
    kind: share
    for kind, share in PER_SCENE.items()
    if kind in EXPRESSION_KINDS or kind.startswith("no_") or kind == "worded"
}
"""Of these the referring expressions, a third of which fit nothing."""

SEEDS_PER_RUN = 10_000_000
BARS = {
    "refer.acc50": (0.90, 1.0),
    "refer.miou": (0.75, 1.0),
    "refer.auroc": (0.93, 1.0),
    "refer.ece": (0.0, 0.05),
    "refer.absent_acc": (0.96, 1.0),
    "refer.present_kept": (0.97, 1.0),
    "refer.coverage90": (0.86, 0.94),
    "point.inside": (0.95, 1.0),
    "detect.f1": (0.85, 1.0),
    "detect.none_acc": (0.95, 1.0),
    "pose.pck": (0.80, 1.0),
    "qa.acc": (0.95, 1.0),
}
"""What the demonstration model is asked to reach: the least and the most."""

_worker: dict[str, Any] = {}


def _start(checkpoint: str, threads: int, quantise: str | None, calibrated: bool = True) -> None:
    """Load the model once per process. calibrated: False leaves its scores raw."""
    import torch

    from sphinx_ros.answer.score_calibration import Calibration
    from sphinx_ros.checkpoint import load_checkpoint
    from sphinx_ros.checkpoint.hub import beside
    from sphinx_ros.evaluate.asker import BatchAsker

    torch.set_num_threads(threads)
    model, tokenizer, config = load_checkpoint(checkpoint, quantise=quantise)
    calibration = Calibration.first(beside(checkpoint)) if calibrated else None
    asker = BatchAsker(model, tokenizer, calibration)
    _worker.update(asker=asker, size=config.image_size, worlds={})


def _observe(index: int, seed: int, people_only: bool) -> Observation | None:
    """The index-th held-out scene, or None where it has nobody and people are wanted."""
    from sphinx_ros.world.scenes import World, compose

    size = PICTURE_SIZES[index % len(PICTURE_SIZES)]
    number = HELD_OUT + seed * SEEDS_PER_RUN + index
    if people_only and not any(t.kind == "person" for t in compose(number, *size).things):
        return None
    worlds = _worker["worlds"]
    if size not in worlds:
        worlds[size] = World(*size)
    return worlds[size].observe(number)


def ask_scenes(
    asker: BatchAsker,
    scenes: list[Observation],
    image_size: int,
    seed: int,
    per_scene: Mapping[str, float] = PER_SCENE,
    pointing: bool = False,
) -> list[dict]:
    """Rows (see :mod:`sphinx_ros.evaluate.metrics`) of some scenes, looked at all at once.

    image_size: of its model's config. seed: draws the questions. pointing: ask for a point on
    each thing that a referring expression describes as well.
    """
    import torch

    from sphinx_ros.image.pixels import preprocess
    from sphinx_ros.world.exercises import turns

    asked = [turns(s, np.random.default_rng([seed, s.seed]), per_scene) for s in scenes]
    kept = [i for i, turn in enumerate(asked) if turn]
    scenes, asked = [scenes[i] for i in kept], [asked[i] for i in kept]
    if not scenes:
        return []
    asker.look(torch.from_numpy(np.stack([preprocess(s.rgb, image_size) for s in scenes])))
    flat = [(number, turn) for number, own in enumerate(asked) for turn in own]
    refer = [(number, turn) for number, turn in flat if turn.task is Task.GROUND]
    other = [(number, turn) for number, turn in flat if turn.task is not Task.GROUND]
    boxes = asker.ground(_expressions(refer, scenes))
    there = [(number, turn) for number, turn in refer if turn.target["objects"] and pointing]
    points = asker.point(_expressions(there, scenes))
    texts = asker.ask([(number, turn.question, turn.task.row.language) for number, turn in other])
    rows = [
        score_refer(turn, found, scenes[number])
        for (number, turn), found in zip(refer, boxes, strict=True)
    ]
    rows += [
        score_point(turn, found, scenes[number])
        for (number, turn), found in zip(there, points, strict=True)
    ]
    return rows + [
        score(turn, text, scenes[number])
        for (number, turn), text in zip(other, texts, strict=True)
    ]


def _expressions(
    asked: list[tuple[int, Turn]], scenes: list[Observation]
) -> list[tuple[int, Letterbox, str]]:
    """Referring expressions as an asker takes them."""
    cameras = [scene.camera for scene in scenes]
    places = [Letterbox.of(camera.width, camera.height) for camera in cameras]
    return [(number, places[number], turn.target["said"]) for number, turn in asked]


def _score_batch(job: tuple[range, int, bool]) -> list[dict]:
    """Rows of the scenes with some indices: render and ask."""
    indices, seed, people_only = job
    scenes = [s for i in indices if (s := _observe(i, seed, people_only)) is not None]
    per_scene = {"pose": 1} if people_only else PER_SCENE
    return ask_scenes(_worker["asker"], scenes, _worker["size"], seed, per_scene, pointing=True)


def evaluate(
    checkpoint: str = "demo",
    scenes: int = 1000,
    seed: int = 0,
    *,
    batch: int = 24,
    processes: int | None = None,
    quantise: str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Scores by dotted name (see :func:`sphinx_ros.evaluate.metrics.table`).

    Every task is asked about on at least ``scenes`` scenes: further scenes with people are drawn
    until poses have as many.

    Raises:
        CheckpointError: the checkpoint can't be loaded.
        SphinxError: a process has ended, as when memory runs out.
    """
    from sphinx_ros.checkpoint import load_checkpoint

    load_checkpoint(checkpoint, quantise=quantise)  # a bad one is told here, by its own error
    processes = processes or os.cpu_count() or 1
    given, remedy = (str(checkpoint), 1, quantise), "use fewer --processes or a smaller --batch"
    with Workers(processes, _start, given, remedy) as workers:
        rows: list[dict] = []
        jobs = [(range(i, min(i + batch, scenes)), seed, False) for i in range(0, scenes, batch)]
        with Progress(scenes, "scenes", "scene", shown=progress) as bar:
            for job, part in zip(jobs, workers.map(_score_batch, jobs), strict=True):
                rows += part
                bar.advance(len(job[0]))
        with Progress(scenes, "people", "scene", with_people(rows), progress) as bar:
            start, wide = scenes, 2 * batch
            while (missing := scenes - with_people(rows)) > 0:
                # about three scenes in ten have people
                lots = max(1, min(2 * processes, math.ceil(missing / (0.3 * wide))))
                ends = range(start, start + lots * wide, wide)
                jobs = [(range(at, at + wide), seed, True) for at in ends]
                for part in workers.map(_score_batch, jobs):
                    rows += part
                    bar.reach(with_people(rows))
                start += lots * wide
    return table(rows)


def refer_rows(
    checkpoint: str,
    scenes: int,
    seed: int,
    *,
    batch: int = 24,
    processes: int | None = None,
    quantise: str | None = None,
) -> list[dict]:
    """Rows of referring expressions alone, with the raw scores: what a calibration is made of."""
    from sphinx_ros.checkpoint import load_checkpoint

    load_checkpoint(checkpoint, quantise=quantise)
    processes = processes or os.cpu_count() or 1
    given, remedy = (str(checkpoint), 1, quantise, False), "use fewer --processes"
    jobs = [(range(i, min(i + batch, scenes)), seed) for i in range(0, scenes, batch)]
    rows: list[dict] = []
    with (
        Workers(processes, _start, given, remedy) as workers,
        Progress(scenes, "scenes", "scene") as bar,
    ):
        for job, part in zip(jobs, workers.map(_refer_batch, jobs), strict=True):
            rows += part
            bar.advance(len(job[0]))
    return rows


def _refer_batch(job: tuple[range, int]) -> list[dict]:
    """Rows of the referring expressions about the scenes with some indices."""
    indices, seed = job
    scenes = [s for i in indices if (s := _observe(i, seed, False)) is not None]
    return ask_scenes(_worker["asker"], scenes, _worker["size"], seed, REFERRING)


def with_people(rows: list[dict]) -> int:
    """The number of scenes in which a pose was asked for."""
    return len({row["scene"] for row in rows if row["group"] == "pose"})


def report(scores: dict[str, float]) -> str:
    """The table people read."""
    lines = [f"{'score':26} {'value':>7} {'asked':>7} {'bar':>12}"]
    for name, value in scores.items():
        if name.endswith((".n", ".scenes")):
            continue
        count = scores.get(name.rsplit(".", 1)[0] + ".n", "")
        mark = ""
        if name in BARS:
            low, high = BARS[name]
            bar = (
                f"<= {high:.2f}" if not low else f">= {low:.2f}" if high == 1 else f"{low}-{high}"
            )
            mark = f"{bar:>12} {'reached' if low <= value <= high else 'MISSED'}"
        lines.append(f"{name:26} {value:7.3f} {count:>7} {mark}")
    return "\n".join(lines)


def write(scores: dict[str, float], path: str | Path, **about: Any) -> None:
    """Scores as JSON, with what was measured beside them; NaN becomes null."""
    plain = {k: (None if isinstance(v, float) and math.isnan(v) else v) for k, v in scores.items()}
    write_text(path, json.dumps(about | plain, indent=1) + "\n")
