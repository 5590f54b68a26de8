"""Teach the demonstration model a kind of thing that it was never shown, and measure what it cost.

    make tune-demo                              # runs/tune/tune.json
    python bench/tune_demo.py --pictures 160 --epochs 12 --scenes 200

Pictures of tables with plates (sphinx_ros/world/newcomer.py) are written with the questions that
the world asks about them, as the official conversations: about plates, and about the old kinds in
the same pictures, so that these are rehearsed. `sphinx-ros tune` learns them. Before and after:
plates on scenes that nobody has used, and the scores of `sphinx-ros eval world`. Needs the
simulated camera.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from sphinx_ros.commands.pictures import write_picture
from sphinx_ros.draw import draw
from sphinx_ros.evaluate.metrics import match
from sphinx_ros.evaluate.tabletop import BARS, evaluate
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.said import Thing, Writing, rounds_about
from sphinx_ros.teach.tuning import tune
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.newcomer import KIND, world_with_plates
from sphinx_ros.world.truth import Observation

LEARNT, UNSEEN = 2_000_000, 2_100_000
"""First seeds of the pictures that are learnt, and of those that are scored."""

SIZE = (512, 384)


def observations(first: int, count: int) -> list[Observation]:
    """So many tables with plates."""
    world = world_with_plates(*SIZE)
    with Progress(count, "rendering", "scene") as bar:
        made = []
        for seed in range(first, first + count):
            made.append(world.observe(seed))
            bar.advance()
    world.close()
    return made


def write_data(folder: Path, scenes: list[Observation]) -> Path:
    """Pictures, and conversations about them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, scene in enumerate(scenes):
        name = f"images/{number:04d}.png"
        write_picture(folder / name, scene.rgb)
        draw = np.random.default_rng([number, 5])
        plates = [Thing(KIND, one.box) for one in scene.objects if one.kind == KIND]
        said = rounds_about(plates, [KIND], SIZE, Writing(3), draw)
        said += [((turn.question, turn.answer),) for turn in turns(scene, draw)]
        for rounds in said:
            turns_said = [
                {"from": who, "value": what}
                for one in rounds
                for who, what in zip(("human", "gpt"), one, strict=True)
            ]
            rows.append({"image": name, "conversations": turns_said})
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def plates_found(sphinx: Sphinx, scenes: list[Observation]) -> float:
    """F1 at an overlap of half of all plates of the scenes."""
    total = np.zeros(3, int)
    for scene in scenes:
        found = [("", one.box) for one in sphinx.look(scene.rgb).detect(KIND)]
        true = [("", one.box) for one in scene.objects if one.kind == KIND]
        total += match(found, true)
    hits, false, missed = total.tolist()
    return 2 * hits / max(1, 2 * hits + false + missed)


def draw_both(path: Path, models: list[Sphinx], scenes: list[Observation]) -> None:
    """Plates before (above) and after (below), on the same scenes."""
    rows = []
    for sphinx in models:
        drawn = [draw(one.rgb, sphinx.look(one.rgb).detect(KIND).detections) for one in scenes]
        rows.append(np.hstack(drawn))
    write_picture(path, np.vstack(rows))


def worth(name: str, value: float) -> float:
    """A score as more is better: errors count less, what is to be in the middle its distance."""
    low, high = BARS[name]
    if high == 1.0:
        return value
    return -value if low == 0.0 else -abs(value - (low + high) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--scenes", type=int, default=200, help="unseen, new and old")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--towers", action="store_true")
    parser.add_argument("--old", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tune"))
    options = parser.parse_args()
    out = options.out
    path = write_data(out / "data", observations(LEARNT, options.pictures))
    unseen = observations(UNSEEN, options.scenes)
    plan = Plan(
        data=(str(path),), rank=options.rank, alpha=2.0 * options.rank, epochs=options.epochs,
        rate=options.rate, towers=options.towers, patience=0, ask=0, held_out=0.05,
    )  # fmt: skip
    began = time.monotonic()
    done = tune(plan, out / "run", resume=(out / "run" / "plan.json").exists())
    minutes = (time.monotonic() - began) / 60
    before, after = (Sphinx.from_pretrained(one) for one in ("demo", done["checkpoint"]))
    told = {
        "new.f1_before": plates_found(before, unseen),
        "new.f1_after": plates_found(after, unseen),
        "minutes": minutes,
        "pictures": options.pictures,
        "share": done["share"],
        "held_out": [done["before"], done["after"]],
    }
    if options.old:
        scores = [evaluate(one, options.scenes, seed=41) for one in ("demo", done["checkpoint"])]
        sides = {name: (scores[0][name], scores[1][name]) for name in BARS if name in scores[0]}
        loss = {name: worth(name, old) - worth(name, new) for name, (old, new) in sides.items()}
        told |= {"old": sides, "old.worst_loss": max(loss.values())}
    (out / "tune.json").write_text(json.dumps(told, indent=1) + "\n")
    draw_both(out / "plates.png", [before, after], unseen[:4])
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
