"""Measurements of the engine on one network: what a pass costs, and what questions on one frame.

Used by ``engine.py``. Every number is a median; both sides of a ratio are measured by turns.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import official_loop
import torch

from sphinx_ros.engine.choosing import ANY, choose_best
from sphinx_ros.model.cache import Span
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task

FILLED = 200
"""Positions in the cache of the pass that is measured."""


def medians(actions: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Seconds of each action: all by turns, once to warm up, then ``repeat`` times."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeat + 1):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            if turn:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in times.items()}


def decoder_bytes(sphinx: Sphinx) -> int:
    """Bytes of the weights that a pass reads: the layers and the output."""
    network = sphinx.model
    named = [*network.named_parameters(), *network.named_buffers()]
    return sum(t.nbytes for name, t in named if name.startswith(("layers", "output")))


@torch.inference_mode()
def passes(sphinx: Sphinx, repeat: int) -> dict[str, float]:
    """One pass of 1 and of 8 tokens behind a prefix, the plain call of the network, a plain sum.

    bandwidth_share: what a pass of one token reads (weights, cache) by its time, as a share of
    what a plain sum of float32 numbers reads.
    """
    network = sphinx.model
    network.prepare()
    cache = network.new_cache(1, FILLED + 64)
    token = torch.tensor([[5]])
    network(torch.randint(3, 99, (1, FILLED)), cache=cache)

    def plain() -> None:
        logits = network(token, cache=cache, start=FILLED, last_only=True)[:, -1]
        logits.argmax(-1).tolist(), logits.softmax(-1).max(-1).values.tolist()

    def packed(rows: int) -> Callable[[], Any]:
        visible = torch.zeros(rows, FILLED + rows, dtype=torch.bool)
        visible[:, :FILLED] = True
        visible[:, FILLED:].fill_diagonal_(True)
        span = Span(cache, torch.arange(FILLED, FILLED + rows), visible)
        ids, places = torch.full((rows,), 5), torch.full((rows,), FILLED)
        wanted = torch.arange(rows)
        return lambda: choose_best(network.step(ids, places, [span], wanted), [ANY] * rows)

    numbers = torch.ones(1 << 27)
    actions = {"plain": plain, "one": packed(1), "eight": packed(8)}
    times = medians(actions, repeat * (20 if sphinx.config.dim < 512 else 1))
    by_turns = medians({"one": packed(1), "sum": numbers.sum}, max(repeat, 5))
    read = decoder_bytes(sphinx) + cache.nbytes * FILLED // cache.length
    return {
        "plain_pass_ms": 1e3 * times["plain"],
        "pass_1_ms": 1e3 * times["one"],
        "pass_8_ms": 1e3 * times["eight"],
        "pass_speedup": times["plain"] / times["one"],
        "batch8_step_over_1": times["eight"] / times["one"],
        "bandwidth_share": read / by_turns["one"] * by_turns["sum"] / numbers.nbytes,
    }


def many_questions(
    sphinx: Sphinx,
    rgb: np.ndarray,
    asked: list[str],
    counts: list[int],
    tokens: int,
    repeat: int,
) -> dict[str, float]:
    """N questions on a new frame, by the plain loop (N times one) and by the engine.

    The engine's time is that of a look and that of the answers, measured apart.
    """
    texts = [question(Task.GROUND, words) for words in asked]
    plain = [official_loop.ask(sphinx, rgb, text, tokens) for text in texts[:repeat]]
    official = statistics.median(one.seconds for one in plain)
    engine, frames = fresh(sphinx), []

    def look() -> Any:
        engine.engine.frames.clear()
        frames.append(engine.look(rgb))
        return frames[-1]

    look_s = medians({"look": look}, repeat)["look"]
    out: dict[str, float] = {
        "official_s": official,
        "official_first_s": statistics.median(one.first_s for one in plain),
        "official_token_s": statistics.median(one.token_s for one in plain),
        "look_s": look_s,
    }
    for count in counts:
        lines = [f"ground: {words}" for words in asked[:count]]
        ask = functools.partial(frames[-1].answer, lines, max_new_tokens=tokens, verify=False)
        out[f"engine_{count}_s"] = look_s + medians({"ask": ask}, repeat)["ask"]
        out[f"speedup_{count}_questions"] = count * official / out[f"engine_{count}_s"]
    for count in (1, 8):
        if f"engine_{count}_s" in out:
            out[f"answers_per_s_{count}"] = count / (out[f"engine_{count}_s"] - look_s)
    out["frame_bytes"] = frames[-1]._frame.nbytes
    return out


def one_answer(sphinx: Sphinx, rgb: np.ndarray, words: str, tokens: int) -> dict[str, float]:
    """Passes of one box: written freely, in the language, and guessed right."""
    engine = fresh(sphinx)
    seen = engine.look(rgb)
    for _ in range(2):  # the language is learnt from two answers that agree
        free = seen.ground(words, max_new_tokens=tokens, verify=False, free=True)
    seen.answer([f"ground: {words}", f"ground: a {words}"], max_new_tokens=tokens, verify=False)
    forced = seen.ground(words, max_new_tokens=tokens, verify=False)
    again = engine.look(rgb, after=seen).ground(words, max_new_tokens=tokens, verify=False)
    assert free.raw_text == forced.raw_text == again.raw_text
    written = free.cost.tokens + (free.cost.tokens < tokens)  # and the end
    return {
        "tokens_of_an_answer": written,
        "passes_free": free.cost.passes,
        "passes_grammar": forced.cost.passes,
        "passes_per_token_grammar": forced.cost.passes / written,
        "passes_unchanged_draft": again.cost.passes,
        "token_s": free.cost.decode_ms / 1e3 / max(free.cost.passes - 1, 1),
    }


def fresh(sphinx: Sphinx) -> Sphinx:
    """The same network with an engine that remembers nothing."""
    return Sphinx(sphinx.model, sphinx.tokenizer, calibration=sphinx.judge.calibration)
