"""What the engine saves: many questions on one look, forced text, guesses, against a plain loop.

    python bench/engine.py [--checkpoint demo] [--full-size] [--folder F] [--tokens 24]
                           [--questions 1 2 4 8 16 32] [--threads N] [--repeat 5]
                           [--plot FILE.png] [--json FILE]

Both sides are measured in one run: the loop of ``official_loop.py`` (encode, prefill and decode
anew for each question; N questions take N times as long) and the engine, on the same network,
weights and picture. A pass is compared with a plain call of the network. bandwidth_share is the
bytes of weights and cache that a pass reads, by its time, as a share of what a plain sum reads.

--full-size measures a network of SPHINX-Tiny-1k's size with random numbers as well, beside the
first; with 8 and 4 bits too. It takes 12 GB of memory, and half an hour on two cores. --folder is
where its checkpoint is, or is written to (6 GB); otherwise it is a temporary one. Random numbers
write no boxes: its answers have always --tokens tokens, and none of them is forced.

In the JSON the keys of the first network end in _demo; those of the full-size one have no ending.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import one_look
import plots
import torch

from sphinx_ros.model.kernels import slow_bfloat16
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.runtime.files import write_text


def scene(seed: int, count: int) -> tuple[np.ndarray, list[str]]:
    """A picture of the simulated tabletop, and different expressions for things in it, filled up
    with some for things that are not there.
    """
    from sphinx_ros.world.nouns import Tabletop
    from sphinx_ros.world.phrases import EXPRESSIONS
    from sphinx_ros.world.scenes import World
    from sphinx_ros.world.truth import COLOURS, KINDS

    observation, draw = World(640, 480).observe(seed), np.random.default_rng(seed)
    table, found = Tabletop(observation), {}
    for _ in range(4 * count):
        for make in EXPRESSIONS.values():
            told = make(table, draw)
            if told is not None:
                found["the " + told[1]] = True
    found |= {f"the {colour} {kind}": True for kind in KINDS for colour in COLOURS}
    return observation.rgb, list(found)[:count]


def measured(sphinx: Sphinx, options: argparse.Namespace, repeat: int) -> dict[str, float]:
    """All figures of one network."""
    counts = sorted(options.questions)
    rgb, asked = scene(7, max(counts))
    found = one_look.passes(sphinx, repeat)
    found |= one_look.many_questions(sphinx, rgb, asked, counts, options.tokens, repeat)
    return found | one_look.one_answer(sphinx, rgb, asked[0], options.tokens)


def full_size_figures(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The random network of true size: in bfloat16 all figures, in fewer bits those of a pass."""
    from sphinx_ros.checkpoint.released import RELEASED, VOCABULARY

    tiny = RELEASED["sphinx-tiny-1k"]
    if not (folder / "config.json").exists():
        full_size.write_checkpoint(folder, 0, tiny.decoder, tiny.variant, VOCABULARY)
    small = {}
    for kind in ("int8", "int4"):
        sphinx = Sphinx.from_pretrained(folder, device="cpu", dtype="bfloat16", quantise=kind)
        small[kind] = one_look.passes(sphinx, 3)
        del sphinx
        gc.collect()
    sphinx = Sphinx.from_pretrained(folder, device="cpu", dtype="bfloat16")
    found = measured(sphinx, options, repeat=1)
    found |= one_look.passes(sphinx, 3)
    for kind, figures in small.items():
        found |= {f"{kind}_{name}": value for name, value in figures.items()}
        found[f"{kind}_over_bf16"] = figures["pass_1_ms"] / found["pass_1_ms"]
    return found


def table(columns: dict[str, dict[str, float]]) -> str:
    """What people read: a row for each figure, a column for each network."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    lines = [" " * 26 + "".join(f"{title:>14}" for title in columns)]
    for name in names:
        cells = [figures.get(name) for figures in columns.values()]
        said = ["" if cell is None else f"{cell:.4g}" for cell in cells]
        lines.append(f"{name:26}" + "".join(f"{cell:>14}" for cell in said))
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--full-size", action="store_true", help="a random network beside it")
    parser.add_argument("--folder", type=Path, help="where the random network's checkpoint is")
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=24, help="most of an answer (default: 24)")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--quantise", default=None)
    parser.add_argument("--plot", metavar="FILE", help="cost against number of questions")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    options = parsed()
    if options.threads:
        torch.set_num_threads(options.threads)
    sphinx = Sphinx.from_pretrained(
        options.checkpoint, dtype=options.dtype, quantise=options.quantise
    )
    found = measured(sphinx, options, options.repeat)
    columns = {options.checkpoint: found}
    keys: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "cpu_has_bf16": not slow_bfloat16(torch.device("cpu")),
        **{f"{name}_demo": value for name, value in found.items()},
    }
    if options.full_size:
        temporary = None if options.folder else Path(tempfile.mkdtemp(prefix="sphinx_full_size_"))
        try:
            full = full_size_figures(options.folder or temporary / "checkpoint", options)
        finally:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)
        columns["full size"] = full
        keys |= full
    # random numbers write no boxes: what a box costs is the first network's
    keys |= {n: found[n] for n in ("passes_per_token_grammar", "passes_unchanged_draft")}
    print(table(columns))
    if options.plot:
        plots.cost(found, sorted(options.questions), options.plot, str(options.checkpoint))
    if options.json:
        write_text(Path(options.json), json.dumps(keys, indent=1) + "\n")


if __name__ == "__main__":
    main()
