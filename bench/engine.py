"""What the engine saves: many questions on one look, forced text, guesses, against a plain loop.

    python bench/engine.py [--checkpoint demo] [--questions 1 2 4 8 16 32] [--tokens 24]
                           [--threads N] [--repeat 5] [--plot FILE.png] [--json FILE]

One run measures both sides: the loop of ``official_loop.py`` (encode, prefill and decode anew for
each question; N questions take N times as long) and the engine, on the same network, weights and
picture. A pass is compared with today's plain call of the network. bandwidth_share is the bytes of
weights and cache that a pass reads, by its time, as a share of what a plain sum reads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import official_loop
import torch

from sphinx_ros.engine.choosing import ANY, choose_best
from sphinx_ros.model.cache import Span
from sphinx_ros.model.kernels import slow_bfloat16
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.wording import question
from sphinx_ros.runtime.files import write_text
from sphinx_ros.tasks import Task


def median(action: Callable[[], Any], repeat: int) -> float:
    """Seconds of an action, the median."""
    action()
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


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


def fresh(sphinx: Sphinx) -> Sphinx:
    """The same network with an engine that remembers nothing."""
    return Sphinx(sphinx.model, sphinx.tokenizer, calibration=sphinx.judge.calibration)


@torch.inference_mode()
def passes(sphinx: Sphinx, repeat: int) -> dict[str, float]:
    """One pass of 1 and of 8 tokens behind a prefix, and today's plain call of the network."""
    network, filled = sphinx.model, 200
    network.prepare()
    cache = network.new_cache(1, filled + 64)
    token = torch.tensor([[5]])
    network(torch.randint(3, 99, (1, filled)), cache=cache)

    def plain() -> None:
        logits = network(token, cache=cache, start=filled, last_only=True)[:, -1]
        logits.argmax(-1).tolist(), logits.softmax(-1).max(-1).values.tolist()

    def packed(rows: int) -> Callable[[], Any]:
        visible = torch.zeros(rows, filled + rows, dtype=torch.bool)
        visible[:, :filled] = True
        visible[:, filled:].fill_diagonal_(True)
        span = Span(cache, torch.arange(filled, filled + rows), visible)
        ids, places = torch.full((rows,), 5), torch.full((rows,), filled)
        wanted = torch.arange(rows)
        return lambda: choose_best(network.step(ids, places, [span], wanted), [ANY] * rows)

    times = repeat * 20 if sphinx.config.dim < 512 else repeat
    out = {"plain_pass_ms": 1e3 * median(plain, times)}
    for rows in (1, 8):
        out[f"pass_{rows}_ms"] = 1e3 * median(packed(rows), times)
    weights = [p for n, p in network.named_parameters() if n.startswith(("layers", "output"))]
    read = sum(p.nbytes for p in weights) + cache.nbytes * filled // cache.length
    plain_sum = torch.ones(1 << 27, dtype=torch.float32)
    bandwidth = plain_sum.nbytes / median(lambda: plain_sum.sum(), 5)
    out["bandwidth_share"] = read / (out["pass_1_ms"] / 1e3) / bandwidth
    return out


def answers(
    sphinx: Sphinx,
    rgb: np.ndarray,
    asked: list[str],
    counts: list[int],
    tokens: int,
    repeat: int,
) -> dict:
    """Questions on one frame, by the plain loop and by the engine; free, forced and guessed."""
    texts = [question(Task.GROUND, words) for words in asked]
    plain = [official_loop.ask(sphinx, rgb, text, tokens) for text in texts[: 2 * repeat]]
    official = statistics.median(one.seconds for one in plain)
    out: dict[str, Any] = {
        "official_s": official,
        "official_first_s": statistics.median(one.first_s for one in plain),
        "official_token_s": statistics.median(one.token_s for one in plain),
    }

    def look_and_ask(count: int, engine: Sphinx) -> Any:
        engine.engine.frames.clear()
        lines = [f"ground: {words}" for words in asked[:count]]
        return engine.look(rgb).answer(lines, max_new_tokens=tokens, verify=False)

    engine = fresh(sphinx)
    for count in counts:
        seconds = median(lambda count=count: look_and_ask(count, engine), repeat)
        out[f"engine_{count}_s"] = seconds
        out[f"speedup_{count}_questions"] = count * official / seconds
    seen = engine.look(rgb)
    free = seen.ground(asked[0], max_new_tokens=tokens, verify=False, free=True)
    forced = seen.ground(asked[0], max_new_tokens=tokens, verify=False)
    again = engine.look(rgb, after=seen).ground(asked[0], max_new_tokens=tokens, verify=False)
    assert free.raw_text == forced.raw_text == again.raw_text
    written = free.cost.tokens + 1  # and the end
    out |= {
        "tokens_of_a_box": written,
        "passes_free": free.cost.passes,
        "passes_grammar": forced.cost.passes,
        "passes_per_token_grammar": forced.cost.passes / written,
        "passes_unchanged_draft": again.cost.passes,
        "token_s": free.cost.decode_ms / 1e3 / max(free.cost.passes - 1, 1),
        "first_box_s": out[f"engine_{counts[0]}_s"],
        "boxes_per_s_1": 1 / (forced.cost.prefill_ms + forced.cost.decode_ms) * 1e3,
        "frame_bytes": seen._frame.nbytes,
    }
    eight = [f"ground: {words}" for words in asked[:8]]
    seconds = median(lambda: seen.answer(eight, max_new_tokens=tokens, verify=False), repeat)
    out["boxes_per_s_8"] = len(eight) / seconds
    return out


def plot(found: dict[str, Any], counts: list[int], path: str) -> None:
    """Cost against number of questions."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    axes.plot(counts, [n * found["official_s"] for n in counts], "o-", label="official loop")
    axes.plot(counts, [found[f"engine_{n}_s"] for n in counts], "o-", label="engine")
    axes.set(xscale="log", yscale="log", xlabel="questions on one frame", ylabel="seconds")
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.legend()
    axes.grid(True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--questions", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=24, help="most of an answer (default: 24)")
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--quantise", default=None)
    parser.add_argument("--plot", metavar="FILE", help="cost against number of questions")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sphinx = Sphinx.from_pretrained(
        options.checkpoint, dtype=options.dtype, quantise=options.quantise
    )
    found: dict[str, Any] = {
        "checkpoint": str(options.checkpoint),
        "threads": torch.get_num_threads(),
        "cpu_has_bf16": not slow_bfloat16(torch.device("cpu")),
    }
    found |= passes(sphinx, options.repeat)
    counts = sorted(options.questions)
    rgb, asked = scene(7, max(counts))
    found |= answers(sphinx, rgb, asked, counts, options.tokens, options.repeat)
    found["batch8_step_over_1"] = found["pass_8_ms"] / found["pass_1_ms"]
    found["pass_speedup"] = found["plain_pass_ms"] / found["pass_1_ms"]
    if options.checkpoint == "demo":
        found["pass_speedup_demo"] = found["pass_speedup"]
        found["batch8_step_over_1_demo"] = found["batch8_step_over_1"]
    for name, value in found.items():
        print(
            f"{name:26} {value:12.4g}" if isinstance(value, float) else f"{name:26} {value!s:>12}"
        )
    if options.plot:
        plot(found, counts, options.plot)
    if options.json:
        write_text(Path(options.json), json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
