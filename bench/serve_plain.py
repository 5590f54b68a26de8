"""What the machine itself gives: models in plain processes, without server, fleet or client.

Used by ``serve.py``: what two of them answer over what one answers is the most that two replicas
on this machine can reach. Usually it is less than 2, as processors share memory and clock.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

Told = tuple[float, float]
"""Answers per second, and milliseconds of a processor for each."""


def machine_scaling(
    files: Sequence[bytes], lines: Sequence[str], questions: int, askers: int, seconds: float
) -> dict[str, float]:
    """One process and two, one after another.

    files: pictures, all looked at before. lines: what can be asked, ``questions`` of them at a
    time. askers: threads of each process, as many as a replica has clients.
    """
    one, two = (_together(number, (files, lines, questions, askers, seconds)) for number in (1, 2))
    return {
        "machine_scaling": two[0] / one[0],
        "plain_answers_s": one[0],
        "plain_cpu_ms": one[1],
        "two_plain_cpu_ms": two[1],
    }


def _together(number: int, given: tuple[Any, ...]) -> Told:
    """Sum of the rates of some processes that work at the same time, mean of their costs."""
    context = multiprocessing.get_context("spawn")
    told, go = context.Queue(), context.Event()
    every = {"target": _answers, "args": (*given, told, go), "daemon": True}  # none outlives this
    each = [context.Process(**every) for _ in range(number)]
    for process in each:
        process.start()
    for _ in each:
        _next(told, each)  # it is ready
    go.set()
    rows = [_next(told, each) for _ in each]
    for process in each:
        process.join()
    return sum(rate for rate, _ in rows), sum(cost for _, cost in rows) / number


def _next(told: Any, each: Sequence[Any]) -> Any:
    """What one of the processes tells next. Raises SystemExit where one has failed."""
    while True:
        try:
            return told.get(timeout=1)
        except queue.Empty:
            if any(process.exitcode for process in each):
                raise SystemExit("a plain process ended: its own error stands above") from None


def _answers(
    files: Sequence[bytes],
    lines: Sequence[str],
    questions: int,
    askers: int,
    seconds: float,
    told: Any,
    go: Any,
) -> None:
    """The work of a process: look at all pictures, then answer for some seconds."""
    import torch

    from sphinx_ros.image.formats import decode_file
    from sphinx_ros.pipeline import Sphinx

    torch.set_num_threads(1)
    sphinx = Sphinx.from_pretrained("demo", device="cpu")
    looks = [sphinx.look(decode_file(one)) for one in files]
    told.put(None)
    go.wait()
    begun, spent, answered = time.monotonic(), time.process_time(), [0] * askers

    def ask(number: int) -> None:
        draw = random.Random(f"{os.getpid()} {number}")
        while time.monotonic() < begun + seconds:
            draw.choice(looks).answer(draw.sample(lines, questions))
            answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.monotonic() - begun, time.process_time() - spent
    told.put((sum(answered) / took, 1e3 * used / max(1, sum(answered))))
