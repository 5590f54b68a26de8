"""How many looks `skip_still` saves on a scene at rest, and what it misses on one that moves.

    python bench/still.py [--checkpoint demo] [--pictures 120] [--json FILE]

Still clips are one picture of the recorded clip with the noise of several cameras. Moving ones are
the recorded clip itself, with and without noise; the live tabletop slowed down, with the noise and
the compression of a camera; and the same where the camera rests and one small thing moves.
"changed": of the reused pictures that were looked at as well, how many got other words, as noise
alone brings about; "moved" counts those whose answers differ by more than that (another text,
another number of boxes, a corner by more than 1 % of the picture's longer side).

Keys: still_saved (the least part of looks saved, of all still clips but the strongest noise),
moving_missed (the sum of "moved" on moving clips), ms_1080p (median of one comparison, after
decoding).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sphinx_ros import Sphinx
from sphinx_ros.image.still import Still
from sphinx_ros.runtime.files import write_text
from sphinx_ros.world.clip import read_clip

if TYPE_CHECKING:
    from sphinx_ros.world.truth import Observation

QUERIES = ("detect: objects", "ground: the person", "ask: how many objects are there?")

CAMERAS = {  # standard deviation at black, variance per level, quality of JPEG, part of flicker
    "no noise": (0, 0, 0, 0),
    "noise 1": (1, 0, 0, 0),
    "noise 4": (4, 0, 0, 0),
    "shot noise": (1, 0.1, 0, 0),
    "flicker 2 %": (1, 0.05, 0, 0.02),
    "JPEG 95": (1, 0.02, 95, 0),
    "JPEG 85": (2, 0.02, 85, 0),
    "JPEG 75, flicker 1 %": (2, 0.02, 75, 0.01),
    "JPEG 50, noise 2": (2, 0.02, 50, 0),
}
STRONGEST = "JPEG 50, noise 2"
"""Beyond what a camera should send; in the table for honesty."""

SLOW = (0.01, 1e-3, 1e-4, 1e-5, 1e-6)
"""Seconds of the tabletop's time between two pictures; a camera takes them 0.1 s apart."""


def seen_by(camera: tuple, light: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """What a camera makes of a picture [H, W, 3]."""
    read, shot, quality, flicker = camera
    light = light * (1 + flicker * draw.uniform(-1, 1))
    levels = light + np.sqrt(read**2 + shot * light) * draw.normal(size=light.shape)
    rgb = levels.round().clip(0, 255).astype(np.uint8)
    if quality:
        _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        rgb = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return rgb


def differ(one: list, other: list, side: int) -> bool:
    """Whether answers differ by more than looks at the same scene do."""
    for a, b in zip(one, other, strict=True):
        if getattr(a, "text", "") != getattr(b, "text", "") or a.status != b.status:
            return True
        boxes = [np.array([item.box for item in x.detections]).reshape(-1, 4) for x in (a, b)]
        if boxes[0].shape != boxes[1].shape:
            return True
        if boxes[0].size and np.abs(boxes[0] - boxes[1]).max() > 0.01 * side:
            return True
    return False


def measure(sphinx: Sphinx, pictures: Iterator[np.ndarray], every: int) -> dict:
    """Looks and reuses of a clip. every: of so many reused pictures one is looked at as well."""
    still, reasons, times = Still(sphinx.config.image_size), Counter(), []
    pending, answers = None, None
    row = {"pictures": 0, "compared": 0, "changed": 0, "moved": 0}
    for rgb in pictures:
        begun = time.thread_time()
        why = still.reason(rgb, 0.0)
        times.append(1e3 * (time.thread_time() - begun))
        row["pictures"] += 1
        reasons[why or "reused"] += 1
        if why:
            still.looked()
            pending, answers = rgb, None  # asked only if a later picture gets its answers
        elif reasons["reused"] % every == 0:
            if answers is None:
                answers = sphinx.look(pending).answer(QUERIES)
            now = sphinx.look(rgb).answer(QUERIES)
            row["compared"] += 1
            row["changed"] += [a.raw_text for a in now] != [a.raw_text for a in answers]
            row["moved"] += differ(now, answers, max(rgb.shape))
    row["reasons"] = dict(reasons)
    row["saved"] = reasons["reused"] / row["pictures"]
    row["ms"] = statistics.median(times[2:])
    return row


def rows(sphinx: Sphinx, count: int) -> Iterator[tuple[str, dict]]:
    """(name, row) of every clip, as they are measured."""
    draw = np.random.default_rng(0)
    clip = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)[:, :, ::-1] for _, jpeg, _ in read_clip()
    ]
    base = clip[0].astype(np.float32)
    for name, camera in CAMERAS.items():
        shown = (seen_by(camera, base, draw) for _ in range(count))
        yield f"still: {name}", measure(sphinx, shown, max(1, count // 12))
    yield "moving: recorded", measure(sphinx, iter(clip), 1)
    for name in ("noise 4", "JPEG 75, flicker 1 %"):
        shown = (seen_by(CAMERAS[name], rgb.astype(np.float32), draw) for rgb in clip)
        yield f"moving: recorded, {name}", measure(sphinx, shown, 1)
    try:
        from sphinx_ros.world.live import LiveWorld

        world = LiveWorld()
    except Exception as error:
        print(f"no slow clips: {error}")
        return
    for what, observe in (("all", world.observe), ("one thing", lambda t: one_moves(world, t))):
        for name in ("noise 1", "JPEG 85"):
            for step in SLOW:
                shown = (
                    seen_by(CAMERAS[name], observe(2 + i * step).rgb.astype(np.float32), draw)
                    for i in range(count // 3)
                )
                label = f"moving: {what}, {0.1 / step:.0f} times slower, {name}"
                yield label, measure(sphinx, shown, 1)
    world.close()


def one_moves(world: Any, t: float) -> Observation:
    """The tabletop at t seconds, of which all but one small thing rests as at 2 seconds."""
    from sphinx_ros.world.stage import measure as measure_stage

    rest, now, later = (world.stage(at) for at in (2.0, t, 2.5))
    ways = [
        np.hypot(*np.subtract(a.centre, b.centre)[:2])
        for a, b in zip(rest.things, later.things, strict=True)
    ]
    mover = 1 + int(np.argmax(ways[1:]))  # the first is the mannequin
    things = [now.things[i] if i == mover else thing for i, thing in enumerate(rest.things)]
    return measure_stage(replace(rest, things=things), world.canvas, False, world.seed)[0]


def comparison_1080p() -> float:
    """Median milliseconds of the processor for one comparison at 1920 x 1080, a square of 512."""
    draw, still, times = np.random.default_rng(0), Still(512), []
    light = cv2.resize(draw.integers(0, 256, (27, 48, 3)).astype(np.float32), (1920, 1080))
    pictures = [seen_by(CAMERAS["noise 1"], light, draw) for _ in range(4)]
    for number in range(24):
        begun = time.thread_time()
        if still.reason(pictures[number % 4], 0.0):
            still.looked()
        times.append(1e3 * (time.thread_time() - begun))
    return statistics.median(times[4:])


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="demo", help="name or folder (default: demo)")
    parser.add_argument("--pictures", type=int, default=120, help="of a still clip (default: 120)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    sphinx = Sphinx.from_pretrained(options.checkpoint)
    cv2.setNumThreads(1)
    print(
        f"{'':44} {'pictures':>8} {'saved':>7} {'compared':>8} {'changed':>7} {'moved':>6} "
        f"{'ms':>6}"
    )
    made = {}
    for name, row in rows(sphinx, options.pictures):
        made[name] = row
        shown = f"{row['pictures']:8} {row['saved']:7.1%} {row['compared']:8} {row['changed']:7}"
        print(f"{name:44} {shown} {row['moved']:6} {row['ms']:6.1f}", flush=True)
    still = {name: row for name, row in made.items() if name.startswith("still")}
    figures = {
        "still_saved": min(r["saved"] for n, r in still.items() if STRONGEST not in n),
        "moving_missed": sum(row["moved"] for name, row in made.items() if name not in still),
        "ms_1080p": comparison_1080p(),
    }
    print("  ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    if options.json:
        write_text(options.json, json.dumps(figures | {"rows": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
