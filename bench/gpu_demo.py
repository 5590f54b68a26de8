"""The demonstration model on a device: what looks, passes and answers cost, and how it stops."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
from gpu_card import kernels, seconds
from gpu_costs import a_step, free_pass, look_costs, question_costs, steps
from gpu_pictures import questions, recorded
from gpu_report import Report

from sphinx_ros.errors import Cancelled, TimedOut
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.seen import Seen

COUNTS = (1, 2, 4, 8, 16, 32)
TOKENS = 24
"""Most of an answer; a box of this model has 18."""


def measure(report: Report, device: torch.device, quick: bool) -> None:
    """Section "demo"."""
    counts, repeat = ((1, 8), 1) if quick else (COUNTS, 10)
    ((rgb, things),) = recorded(1)
    begun = time.perf_counter()
    sphinx = Sphinx.from_pretrained("demo", device=device)
    loaded = time.perf_counter()
    sphinx.look(rgb).answer(questions(things, 1), verify=False)
    answered = time.perf_counter()
    dtype = str(sphinx.model.norm.weight.dtype).removeprefix("torch.")
    found = {"dtype": dtype, "load_s": loaded - begun, "first_answer_s": answered - loaded}
    report.add(found, "demo_")
    with report.part("demo_look"):
        report.add(look_costs(sphinx, rgb, repeat), "demo_")
    filled = sphinx.config.image_words + 8
    with report.part("demo_steps"):
        report.add(steps(sphinx.model, counts, filled, 5 * repeat), "demo_")
    with report.part("demo_passes"):
        for count in (1, 8):
            took = free_pass(sphinx, rgb, ["caption"] * count, 4 if quick else 48, min(repeat, 3))
            report.add({f"demo_pass_{count}_ms": took})
    with report.part("demo_questions"):
        lines = questions(things, max(counts))
        report.add(question_costs(sphinx, rgb, lines, counts, TOKENS, repeat), "demo_")
    if device.type == "cuda":
        with report.part("demo_kernels"), torch.inference_mode():
            step = a_step(sphinx.model, 1, filled)
            report.add(kernels(step, device), "demo_step_")


def stop(report: Report, device: torch.device, quick: bool) -> None:
    """Section "stop": a cancel and a time limit within an answer, and what else is answered."""
    tokens, times = (24, 1) if quick else (96, 5)
    ((rgb, _),) = recorded(1)
    sphinx = Sphinx.from_pretrained("demo", device=device)
    seen = sphinx.look(rgb)
    found: dict[str, Any] = {}
    alone = seen.caption(max_new_tokens=tokens, free=True)  # the first call pays for more
    whole = seconds(lambda: seen.caption(max_new_tokens=tokens, free=True), device, 3, 0)
    passes = alone.cost.passes
    found["stop_answer_ms"], found["stop_pass_ms"] = 1e3 * whole, 1e3 * whole / passes
    with report.part("stop_cancel"):
        cancelled = [cancel(seen, passes // 3, tokens) for _ in range(times)]
        found["stop_cancel_passes"] = max(begun for begun, _ in cancelled)
        found["stop_cancel_ms"] = 1e3 * max(late for _, late in cancelled)
    with report.part("stop_limit"):
        limited = [limit(seen, whole / 4, tokens) for _ in range(times)]
        found["stop_limit_passes"] = max(ended for ended, _ in limited)
        found["stop_limit_ms"] = 1e3 * max(late for _, late in limited)
    with report.part("stop_others"):
        found["stop_others_equal"] = beside(seen, tokens) == alone.raw_text
    report.add(found)


def cancel(seen: Seen, after: int, tokens: int) -> tuple[int, float]:
    """Passes that begin after a question was cancelled, and the seconds until it has ended.

    It is answered freely, so that each token is a pass; it is cancelled during that of token
    ``after``, from where tokens are told.
    """
    told, at = [], [0.0]

    def heard(_: str) -> None:
        told.append(None)
        if len(told) == after:
            at[0] = time.perf_counter()

    try:
        seen.caption(
            max_new_tokens=tokens, free=True, on_text=heard, cancel=lambda: len(told) >= after
        )
    except Cancelled:
        return len(told) - after, time.perf_counter() - at[0]
    raise RuntimeError(f"an answer that was cancelled at token {after} went on to its end")


def limit(seen: Seen, allowed: float, tokens: int) -> tuple[int, float]:
    """Passes that end after a time limit (one is on its way), and the seconds beyond it."""
    times: list[float] = []
    end = time.perf_counter() + allowed
    try:
        seen.caption(
            max_new_tokens=tokens,
            free=True,
            timeout=allowed,
            on_text=lambda _: times.append(time.perf_counter()),
        )
    except TimedOut:
        return sum(moment > end for moment in times), max(time.perf_counter() - end, 0.0)
    raise RuntimeError(f"an answer of {tokens} tokens ended within a quarter of its usual time")


def beside(seen: Seen, tokens: int) -> str:
    """What one thread is answered while the question of another one, in the same passes, is
    cancelled.
    """
    told: list[None] = []

    def other() -> None:
        try:
            seen.caption(
                max_new_tokens=tokens,
                free=True,
                on_text=lambda _: told.append(None),
                cancel=lambda: len(told) >= 4,
            )
        except Cancelled:
            pass

    thread = threading.Thread(target=other)
    thread.start()
    text = seen.caption(max_new_tokens=tokens, free=True).raw_text
    thread.join(60)
    return text
