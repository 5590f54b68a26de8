"""Guesses from the last picture: passes per answer on a still, a slow and a fast clip.

    python bench/drafts.py [--checkpoint demo] [--scenes 3] [--pictures 12] [--threads N]
                           [--json FILE]

The same standing queries are asked about each picture of a clip, as one batch, in four ways: free
(no language, no guess), grammar (the language of each task), draft (and the answers to the picture
before as guesses, ``look(rgb, after=last)``) and flow (and these moved by the optical flow inside
their boxes). A clip is the live tabletop with the noise of a camera; px says how far the corners
of the boxes move from picture to picture. Answers that differ are counted and shown: none may.
"phrase" is a replay of the same answers with guesses from within each: what followed the last two
tokens when they stood there before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import guesses
import numpy as np
import torch
from clips import BEGIN, CLIPS, clip, kind_of, standing
from identity import in_language

from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.queries import read_query
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress

WAYS = ("free", "grammar", "draft", "flow")


class Counts:
    """What one way of asking took. passes, answers: by kind of query."""

    def __init__(self) -> None:
        self.passes: dict[str, int] = defaultdict(int)
        self.answers: dict[str, int] = defaultdict(int)
        self.milliseconds: list[float] = []
        self.batch: list[int] = []
        self.unchanged = self.most_unchanged = 0


class Asked:
    """Asks one clip in all ways. sphinx: its habits are known already. lines: queries."""

    def __init__(self, sphinx: Sphinx, lines: Sequence[str], found: Mapping[str, Counts]):
        self.sphinx, self.lines, self.found = sphinx, lines, found
        self.pieces = sphinx.engine.habits.pieces
        self.last: dict[str, Any] = {}
        self.before: tuple[np.ndarray, list[str]] | None = None
        self.different: list[tuple[str, str, str, str]] = []
        self.mended = self.queries = 0
        self.flow_ms, self.phrase = [], np.zeros(4, int)

    def picture(self, rgb: np.ndarray) -> None:
        """Ask about the next picture; the first of a clip counts for nothing."""
        small, texts = guesses.grey(rgb), {}
        self.queries += len(self.lines)
        for way in WAYS:
            after = self._after(way, small)
            seen = self.sphinx.look(rgb, after=after)
            with Steps(self.sphinx.model) as steps:
                begun = time.perf_counter()
                results = seen.answer(self.lines, verify=False, free=way == "free")
                took = 1e3 * (time.perf_counter() - begun)
            self.last[way] = seen
            texts[way] = [result.raw_text for result in results]
            if self.before is not None:
                self._count(way, results, took, steps.number)
        for way in WAYS[1:]:
            self._compare(way, texts["free"], texts[way])
        if self.before is not None:
            self._replay()
        self.before = small, texts["grammar"]

    def _after(self, way: str, small: np.ndarray) -> Any:
        if self.before is None or way in ("free", "grammar"):
            return None
        if way == "draft":
            return self.last[way]
        begun = time.perf_counter()
        flow = guesses.flow_between(self.before[0], small)
        drafts = {
            key: guesses.moved(ids, self.pieces, flow)
            for key, ids in self.last[way].drafts.items()
        }
        self.flow_ms.append(1e3 * (time.perf_counter() - begun))
        return SimpleNamespace(drafts=drafts)

    def _count(self, way: str, results: Sequence[Any], took: float, steps: int) -> None:
        assert self.before is not None
        counts = self.found[way]
        counts.milliseconds.append(took)
        counts.batch.append(steps)
        for line, result, text in zip(self.lines, results, self.before[1], strict=True):
            number = 1 + len(result.poses) if line == "pose" else 1
            counts.passes[kind_of(line)] += result.cost.passes
            counts.answers[kind_of(line)] += number
            if result.raw_text == text and line != "pose":  # a pose is several answers
                counts.unchanged += 1
                counts.most_unchanged = max(counts.most_unchanged, result.cost.passes)

    def _compare(self, way: str, free: Sequence[str], got: Sequence[str]) -> None:
        for line, one, other in zip(self.lines, free, got, strict=True):
            if one == other:
                continue
            if in_language(self.sphinx, read_query(line), one):
                self.different.append((way, line, one, other))
            else:
                self.mended += 1

    def _replay(self) -> None:
        for (task, _), ids in self.last["grammar"].drafts.items():
            guide = self.sphinx.engine.habits.guide(task.row.language)
            plain, _, _ = guesses.replay(ids, guide, lambda written: [])
            passes, offered, right = guesses.replay(ids, guide, guesses.repeated)
            self.phrase += plain, passes, offered, right


class Steps:
    """Counts the passes of a network, each a step of all questions. A ``with`` block."""

    def __init__(self, network: Any):
        self.network, self.number = network, 0

    def __enter__(self) -> Steps:
        step = self.network.step

        def counted(*given: Any) -> torch.Tensor:
            self.number += 1
            return step(*given)

        self.network.step = counted
        return self

    def __exit__(self, *_: object) -> None:
        del self.network.step  # the class's own is there again


def table_of(found: Mapping[str, Mapping[str, Counts]]) -> dict[str, float]:
    """All figures by name: passes_still_draft, passes_still_draft_ground, ms_still_draft, ..."""
    out: dict[str, float] = {}
    for name, ways in found.items():
        for way, counts in ways.items():
            end = f"{name}_{way}"
            out[f"passes_{end}"] = sum(counts.passes.values()) / sum(counts.answers.values())
            for kind, number in counts.answers.items():
                out[f"passes_{end}_{kind}"] = counts.passes[kind] / number
            out[f"batch_passes_{end}"] = statistics.mean(counts.batch)
            out[f"ms_{end}"] = statistics.median(counts.milliseconds)
    for way in ("draft", "flow"):
        out[f"passes_unchanged_{way}"] = max(ways[way].most_unchanged for ways in found.values())
    out["unchanged_answers"] = sum(ways["draft"].unchanged for ways in found.values())
    return out


def show(out: Mapping[str, Any]) -> None:
    """The table people read."""
    columns = [(name, way) for name in CLIPS if f"px_{name}" in out for way in WAYS]
    kinds = [key[17:] for key in out if key.startswith("passes_still_free")]
    rows = {kind.strip("_") or "passes per answer": f"passes_{{}}{kind}" for kind in kinds}
    rows |= {"passes of a batch": "batch_passes_{}", "milliseconds of it": "ms_{}"}
    print(f"{'':20}" + "".join(f"{f'{name} {way}':>15}" for name, way in columns))
    for title, key in rows.items():
        values = (out[key.format(f"{name}_{way}")] for name, way in columns)
        print(f"{title:20}" + "".join(f"{value:15.2f}" for value in values))
    for key, value in out.items():
        if not key.startswith(("passes_s", "passes_f", "batch_passes", "ms_")):
            print(f"{key:28} {value:10.4g}" if isinstance(value, float) else f"{key:28} {value!s}")


def measure(
    sphinx: Sphinx, clips: Mapping[str, Sequence[np.ndarray]], lines: Sequence[str], into: Any
) -> list[Asked]:
    """Ask some clips. into: clip -> way -> :class:`Counts`, which are added to."""
    for _ in range(2):  # how the checkpoint writes numbers is learnt from two answers that agree
        sphinx.look(next(iter(clips.values()))[0]).answer(lines, verify=False)
    made = []
    for name, pictures in clips.items():
        asked = Asked(sphinx, lines, into[name])
        for rgb in pictures:
            asked.picture(rgb)
        made.append(asked)
    return made


def report(found: Mapping[str, Mapping[str, Counts]], asked: Sequence[Asked]) -> dict[str, Any]:
    """What is printed and written: the table, and what was seen on the way."""
    phrase = np.sum([one.phrase for one in asked], axis=0).tolist()
    names = "passes_without", "passes_with", "guesses", "right"
    return {
        **table_of(found),
        "queries": sum(one.queries for one in asked),
        "differences": sum(len(one.different) for one in asked),
        "not_in_the_language": sum(one.mended for one in asked),
        "flow_ms": statistics.median(ms for one in asked for ms in one.flow_ms),
        **{f"phrase_{name}": number for name, number in zip(names, phrase, strict=True)},
    }


def main() -> None:
    """Render, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--scenes", type=int, default=3, metavar="N")
    parser.add_argument("--pictures", type=int, default=12, metavar="N", help="of a clip")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    from sphinx_ros.world.live import LiveWorld

    sphinx = Sphinx.from_pretrained(options.checkpoint)
    found = {name: {way: Counts() for way in WAYS} for name in CLIPS}
    asked, far = [], defaultdict(list)
    with Progress(options.scenes, "asking", "scene") as bar:
        for seed in range(1, options.scenes + 1):
            world = LiveWorld(seed)
            lines = standing(world.observe(BEGIN), seed)
            clips = {}
            for name, step in CLIPS.items():
                clips[name], px = clip(world, step, options.pictures)
                far[name].append(px)
            world.close()
            asked += measure(sphinx, clips, lines, found)
            bar.advance(1)
    out = {f"px_{name}": statistics.mean(moves) for name, moves in far.items()}
    out |= report(found, asked)
    show(out)
    for way, line, one, other in [item for each in asked for item in each.different][:20]:
        print(f"{way} | {line}\n  free {one!r}\n  got  {other!r}")
    if options.json:
        write_text(Path(options.json), json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
