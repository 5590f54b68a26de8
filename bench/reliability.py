"""How far a score can be trusted: the score of a box against the share of right boxes.

    python bench/reliability.py [--checkpoint demo] [--scenes 550] [--seed 0] [--threads N]
                                [--plot FILE.png] [--json FILE]

Referring expressions about the scenes of ``sphinx-ros eval world``, a third of them about things
that are not there. A box is right where its IoU with the true one is 0.5 or more; a box of what is
not there is wrong, denied or not. The raw score is the mean of the digits' probabilities; the
calibrated one is what a user gets, by ``calibration.json`` beside the checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plots
import torch

from sphinx_ros.evaluate.asker import BatchAsker
from sphinx_ros.evaluate.tabletop import (
    HELD_OUT,
    PICTURE_SIZES,
    REFERRING,
    SEEDS_PER_RUN,
    ask_scenes,
)
from sphinx_ros.evaluate.trust import NINETY, RIGHT_IOU, auroc, calibration_error
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress

BINS = 10
"""Bins of the diagram, equally wide. Those of the calibration error have equally many boxes."""

BATCH = 12
"""Scenes that are asked about at a time."""


def interval(right: int, number: int) -> tuple[float, float]:
    """The 90 % interval of a share (Wilson's)."""
    if not number:
        return math.nan, math.nan
    share, z = right / number, NINETY**2 / number
    middle = (share + z / 2) / (1 + z)
    half = NINETY / (1 + z) * math.sqrt(share * (1 - share) / number + z / (4 * number))
    return middle - half, middle + half


def diagram(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows of referring expressions with scores -> bins and figures."""
    scored = [row for row in rows if not math.isnan(row.get("score", math.nan))]
    scores = np.array([row["score"] for row in scored], float)
    right = np.array([row["iou"] >= RIGHT_IOU for row in scored], bool)
    edges = np.linspace(0, 1, BINS + 1)
    number = np.clip(np.digitize(scores, edges) - 1, 0, BINS - 1)
    bins = []
    for at in range(BINS):
        own = number == at
        n, hits = int(own.sum()), int(right[own].sum())
        below, above = interval(hits, n)
        bins.append(
            {
                "low": float(edges[at]),
                "high": float(edges[at + 1]),
                "n": n,
                "score": float(scores[own].mean()) if n else math.nan,
                "share": hits / n if n else math.nan,
                "below": below,
                "above": above,
            }
        )
    return {
        "expressions": len(rows),
        "boxes": len(scored),
        "right": float(right.mean()) if len(right) else math.nan,
        "auroc": auroc(scores, right),
        "ece": calibration_error(scores, right),
        "bins": bins,
    }


def rows_of(sphinx: Sphinx, scenes: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Rows with the raw scores and, where the checkpoint has a calibration, with those by it."""
    from sphinx_ros.world.scenes import World

    calibration = sphinx.judge.calibration
    askers = {"raw": BatchAsker(sphinx.model, sphinx.tokenizer)}
    if calibration is not None:
        askers["calibrated"] = BatchAsker(sphinx.model, sphinx.tokenizer, calibration)
    worlds = [World(*size) for size in PICTURE_SIZES]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in askers}
    with Progress(scenes, "scenes", "scene") as bar:
        for start in range(0, scenes, BATCH):
            numbers = range(start, min(start + BATCH, scenes))
            first = HELD_OUT + seed * SEEDS_PER_RUN
            seen = [worlds[n % len(worlds)].observe(first + n) for n in numbers]
            for name, asker in askers.items():
                rows[name] += ask_scenes(asker, seen, sphinx.config.image_size, seed, REFERRING)
            bar.advance(len(numbers))
    return rows


def plain(value: Any) -> Any:
    """The same for JSON: NaN becomes null."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Ask, sort into bins, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--scenes", type=int, default=550, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sphinx = Sphinx.from_pretrained(options.checkpoint)
    rows = rows_of(sphinx, options.scenes, options.seed)
    found = {name: diagram(own) for name, own in rows.items()}
    for name, one in found.items():
        said = f"{one['boxes']} boxes for {one['expressions']} expressions"
        print(f"{name}: {said}, {one['right']:.3f} right")
        print(f"  AUROC {one['auroc']:.3f}, expected calibration error {one['ece']:.3f}")
        for part in one["bins"]:
            print(
                f"  {part['low']:.1f} to {part['high']:.1f} {part['n']:6} boxes, "
                f"score {part['score']:.3f}, right {part['share']:.3f}"
            )
    if options.json:
        about = {"checkpoint": options.checkpoint, "scenes": options.scenes, "seed": options.seed}
        write_text(Path(options.json), json.dumps(plain(about | found), indent=1) + "\n")
    if options.plot:
        curves = {
            f"{name} (AUROC {one['auroc']:.2f}, calibration error {one['ece']:.2f})": one["bins"]
            for name, one in sorted(found.items())
        }
        plots.reliability(curves, options.plot, "What a score is worth: boxes for a sentence")


if __name__ == "__main__":
    main()
