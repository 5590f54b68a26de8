"""Figures -> the plots in ``docs/``. matplotlib is in the extra ``bench``.

    python bench/plots.py ENGINE.json cost.png [--ending _demo] [--title "..."]

draws what questions on one frame cost from the JSON of ``engine.py``; without an ending the
network of full size. ``reliability.py`` draws its own.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

BLUE, ORANGE, GREY = "#1f6fb4", "#d9731a", "#8a8a8a"
SIZE = (6.4, 4.2)
"""Inches of a plot; at :data:`DOTS` to the inch it is as wide as a page of text."""

DOTS, COLOURS = 120, 64
FEW = 5
"""Boxes of a bin below which its share is not drawn."""


def cost(found: Mapping[str, float], counts: Sequence[int], path: str | Path, title: str) -> None:
    """Seconds against the number of questions on a new frame, by the plain loop and the engine.

    found: official_s, engine_N_s and speedup_N_questions, as ``engine.py`` finds them.
    """
    figure, axes = _axes()
    from matplotlib.ticker import LogLocator

    plain = [n * found["official_s"] for n in counts]
    engine = [found[f"engine_{n}_s"] for n in counts]
    axes.plot(counts, plain, "o-", color=GREY, label="each encoded, prefilled, decoded anew")
    axes.plot(counts, engine, "o-", color=BLUE, label="one look, one batch")
    axes.fill_between(counts, engine, plain, color=BLUE, alpha=0.07)
    for n, low in zip(counts, engine, strict=True):
        said = f"{found[f'speedup_{n}_questions']:.1f}×"
        axes.annotate(
            said, (n, low), xytext=(0, -15), textcoords="offset points", ha="center", color=BLUE
        )
    axes.set(xscale="log", yscale="log", title=title)
    axes.set(xlabel="questions on one frame", ylabel="seconds until all are answered")
    axes.set_ylim(min(engine) / 2, max(plain) * 1.6)
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def reliability(
    curves: Mapping[str, Sequence[Mapping[str, float]]], path: str | Path, title: str
) -> None:
    """Share of right boxes against their score, with its 90 % interval; the number of boxes below.

    curves: by name, bins of ``low``, ``high``, ``score`` (mean), ``share``, ``below``, ``above``
    (the share's interval) and ``n``.
    """
    figure, (axes, counts) = _axes(rows=2)
    axes.plot((0, 1), (0, 1), "--", color=GREY, linewidth=1, label="as it should be")
    for (name, bins), colour in zip(curves.items(), (BLUE, ORANGE), strict=False):
        kept = [one for one in bins if one["n"] >= FEW]
        x, y = [one["score"] for one in kept], [one["share"] for one in kept]
        ends = [
            [max(one["share"] - one["below"], 0) for one in kept],
            [max(one["above"] - one["share"], 0) for one in kept],
        ]
        thin = {"elinewidth": 1, "capsize": 2, "markersize": 4}
        axes.errorbar(x, y, ends, fmt="o-", color=colour, label=name, **thin)
        edges = [one["low"] for one in bins] + [bins[-1]["high"]]
        counts.stairs([one["n"] for one in bins], edges, color=colour, fill=True, alpha=0.25)
        counts.stairs([one["n"] for one in bins], edges, color=colour)
    axes.set(ylabel="share of right boxes", ylim=(-0.03, 1.03), title=title)
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, loc="lower right")
    counts.set(xlabel="score of the box", ylabel="boxes", xlim=(0, 1))
    figure.align_ylabels()
    _save(figure, path)


def _axes(rows: int = 1) -> tuple[Any, Any]:
    """A figure and its axes: one, or a high and a low one that share their x axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if rows == 1:
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    else:
        figure, axes = plt.subplots(
            2, 1, figsize=(SIZE[0], 5.6), sharex=True, height_ratios=(3, 1), layout="constrained"
        )
    for one in [axes] if rows == 1 else axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(True, color="#e4e4e4", linewidth=0.8)
        one.set_axisbelow(True)
        one.title.set_fontsize(10)
    return figure, axes


def _save(figure: Any, path: str | Path) -> None:
    """Write it with few colours: a file of a repository should be small."""
    import matplotlib.pyplot as plt

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DOTS)
    plt.close(figure)
    few = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> None:
    """The plot of a JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", type=Path, metavar="ENGINE.json")
    parser.add_argument("plot", type=Path, metavar="FILE.png")
    parser.add_argument("--ending", default="", help="of the network's keys, such as _demo")
    parser.add_argument("--title", default="What questions on one frame cost")
    options = parser.parse_args()
    found = json.loads(options.figures.read_text(encoding="utf-8"))
    ending = options.ending
    own = {key.removesuffix(ending): found[key] for key in found if key.endswith(ending)}
    counts = sorted(int(key[7:-2]) for key in own if re.fullmatch(r"engine_\d+_s", key))
    cost(own, counts, options.plot, options.title)


if __name__ == "__main__":
    main()
