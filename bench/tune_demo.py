"""Teach the demonstration model a kind of thing that it was never shown, and measure what it cost.

    make tune-demo                              # runs/tune/tune.json, plates.png
    python bench/tune_demo.py --pictures 100 --epochs 4 --scenes 50

The way is a user's (docs/teaching.md): tables with plates (sphinx_ros/world/newcomer.py) are
recorded by the simulated camera as a bag; `sphinx-ros label` makes a folder of it, in which the
model finds no plate; a person's corrections, here the truth of the world in a file as CVAT
exports it, are put in; `sphinx-ros tune` learns the folder. Before and after: plates on scenes
that nobody has used, and the scores of `sphinx-ros eval world`. Needs the simulated camera.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.commands.cli import main as sphinx_ros
from sphinx_ros.commands.label_shots import shots_of
from sphinx_ros.commands.pictures import write_picture
from sphinx_ros.draw import draw
from sphinx_ros.evaluate.metrics import match
from sphinx_ros.evaluate.tabletop import BARS, evaluate
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.world.clip import read_truth
from sphinx_ros.world.exercises import TRAINING_MIX, turns
from sphinx_ros.world.newcomer import KIND, SHARE, room_for_plates, world_with_plates
from sphinx_ros.world.record import stamp_of, write_clip
from sphinx_ros.world.scenes import compose
from sphinx_ros.world.truth import Observation

LEARNT, UNSEEN = 2_000_000, 2_100_000
"""First seeds of the pictures that are learnt, and of those that are scored."""

LEARNING = ("rank", "projection-rank", "rate", "epochs", "batch", "tokens", "crops", "held-out")
LEARNING += ("remember-weight", "remember-views", "strength")
"""Options that are those of `sphinx-ros tune`."""

REHEARSED = TRAINING_MIX | {"exist_refer": 5.0, "exist": 1.5, "worded": 2.5, "detection": 4.0}
"""Questions drawn of a picture. Whether a thing is there is answered by one word, which counts
little beside boxes, and scores depend on it. Free words and detection are lost first: the one is
rare in training, and the other near to what is learnt."""

SIZE, RATE = (512, 384), 1.0
"""Of the pictures, and how many the bag has a second."""


def observations(
    first: int, count: int, share: float = SHARE, least: int = 0
) -> Iterator[Observation]:
    """So many tables with plates. share: of the wide things that are plates. least: number of
    these; tables with fewer are left out.
    """
    world = world_with_plates(*SIZE, share)
    full = (n for n in itertools.count(first) if room_for_plates(compose(n, *SIZE)) >= least)
    with Progress(count, "rendering", "scene") as bar:
        for seed in itertools.islice(full, count):
            yield world.observe(seed)
            bar.advance()
    world.close()


def record_bag(path: Path, scenes: list[Observation]) -> Path:
    """The bag that is learnt from, and the truth beside it."""
    frames = ((stamp_of(i, RATE), scene) for i, scene in enumerate(scenes))
    about = {"width": SIZE[0], "height": SIZE[1], "seed": LEARNT, "rate": RATE}
    return write_clip(path, frames, about, quality=90)


def label_bag(bag: Path, folder: Path) -> Path:
    """The folder of `sphinx-ros label`, corrected by the truth of the world."""
    words = ["label", str(bag), "--query", f"detect: {KIND}", "--out", str(folder)]
    if sphinx_ros(words) not in (0, 1):  # 1: the model found no plate
        raise SystemExit("the bag could not be labelled")
    export = folder.with_suffix(".json")
    export.write_text(json.dumps(corrections(bag)))
    # the truth knows every picture: one without plates has none
    if sphinx_ros(["label", str(folder), "--corrections", str(export), "--empty-is-none"]):
        raise SystemExit("the corrections could not be read")
    return folder


def corrections(bag: Path) -> dict[str, Any]:
    """The plates, as a person would draw them in CVAT: its "COCO 1.0"."""
    frames = {frame["stamp"]: frame["objects"] for frame in read_truth(bag)["frames"]}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, shot, _) in enumerate(shots_of(bag, [], 0.0)[1], 1):
        image = {"id": number, "width": SIZE[0], "height": SIZE[1], "file_name": name}
        images.append(image | {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0})
        for thing in (one for one in frames[shot.stamp] if one["kind"] == KIND):
            x, y, x1, y1 = thing["box"]
            wide, high = x1 - x, y1 - y
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "segmentation": [], "iscrowd": 0,
                "category_id": 1, "area": wide * high, "bbox": [x, y, wide, high],
                "attributes": {"occluded": thing["visible"] < 1, "rotation": 0.0},
            })  # fmt: skip
    categories = [{"id": 1, "name": KIND, "supercategory": ""}]
    return {"images": images, "annotations": annotations, "categories": categories}


def rehearsal(path: Path, bag: Path, scenes: list[Observation], number: int) -> Path:
    """Questions of all tasks about the old kinds in the same pictures, as conversations: what is
    not asked while plates are learnt is forgotten. Learnt is how the model answered them before.
    """
    rows = []
    for scene, (name, _, _) in zip(scenes, shots_of(bag, [], 0.0)[1], strict=True):
        draw = np.random.default_rng([scene.seed, 5])
        asked = [
            one for one in turns(scene, draw, REHEARSED) if KIND not in one.question + one.answer
        ]
        for at in draw.permutation(len(asked))[:number]:
            said = (("human", asked[at].question), ("gpt", asked[at].answer))
            rounds = [{"from": who, "value": what} for who, what in said]
            rows.append({"image": f"lab/images/{name}", "conversations": rounds})
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


def table(told: dict[str, Any]) -> str:
    """Before and after, for people."""
    rows = [("plates, F1", told["new.f1_before"], told["new.f1_after"])]
    rows += [(name, *sides) for name, sides in told.get("old", {}).items()]
    lines = [f"{'':22} {'before':>7} {'after':>7} {'change':>7}"]
    lines += [f"{name:22} {a:7.3f} {b:7.3f} {b - a:+7.3f}" for name, a, b in rows]
    return "\n".join(lines)


def learn(options: argparse.Namespace, new: Path, old: Path) -> dict[str, Any]:
    """What `sphinx-ros tune` says of its run, with "minutes" of the clock."""
    run = options.out / "run"
    words = ["tune", str(new), "--remember", str(old), "--out", str(run), "--mirror"]
    words += ["--ask", "0", "--patience", "0"]
    for name in LEARNING:
        words += [f"--{name}", str(getattr(options, name.replace("-", "_")))]
    began = time.monotonic()
    if sphinx_ros(words + (["--towers"] if options.towers else [])):
        raise SystemExit("the folder could not be learnt")
    minutes = (time.monotonic() - began) / 60
    return json.loads((run / "results.json").read_text()) | {"minutes": minutes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.45, help="of wide things: plates, learnt")
    parser.add_argument("--least", type=int, default=4, help="wide things on a table, learnt")
    parser.add_argument("--crops", type=int, default=2, help="of each picture")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=400, help="unseen, with plates")
    parser.add_argument("--old-scenes", type=int, default=1200, help="unseen, for the old bars")
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--projection-rank", type=int, default=32)
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--tokens", type=int, default=240)
    parser.add_argument("--rehearse", type=int, default=8, help="old questions a picture")
    parser.add_argument("--held-out", type=float, default=0)
    parser.add_argument("--remember-weight", type=float, default=3)
    parser.add_argument("--remember-views", type=int, default=2)
    parser.add_argument("--strength", type=float, default=0.9)
    parser.add_argument("--towers", action="store_true")
    parser.add_argument("--old", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tune"))
    options = parser.parse_args()
    out = options.out
    for old in ("lab", "run"):  # of an earlier run of this demonstration
        shutil.rmtree(out / old, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    scenes = list(observations(LEARNT, options.pictures, options.share, options.least))
    bag = record_bag(out / "plates.mcap", scenes)
    old_questions = rehearsal(out / "old.json", bag, scenes, options.rehearse)
    done = learn(options, label_bag(bag, out / "lab"), old_questions)
    unseen = list(observations(UNSEEN, options.scenes))
    before, after = (Sphinx.from_pretrained(one) for one in ("demo", done["checkpoint"]))
    told = {
        "new.f1_before": plates_found(before, unseen),
        "new.f1_after": plates_found(after, unseen),
        "minutes": done["minutes"],
        "pictures": options.pictures,
        "share": done["share"],
        "held_out": [done["before"], done["after"]],
    }
    if options.old:
        scores = [
            evaluate(one, options.old_scenes, seed=41) for one in ("demo", done["checkpoint"])
        ]
        sides = {name: (scores[0][name], scores[1][name]) for name in BARS if name in scores[0]}
        loss = {name: worth(name, old) - worth(name, new) for name, (old, new) in sides.items()}
        told |= {"old": sides, "old.worst_loss": max(loss.values())}
    (out / "tune.json").write_text(json.dumps(told, indent=1) + "\n")
    draw_both(out / "plates.png", [before, after], unseen[:4])
    print(table(told))
    print(json.dumps({name: value for name, value in told.items() if name != "old"}))


if __name__ == "__main__":
    main()
