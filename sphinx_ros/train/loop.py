"""The training run: processes that share gradients, two stages, one clock, resumable.

The clock is wall time, not steps: a busy machine gets a shorter run of the same shape, learning
rate decay included. State is saved every few minutes; a run started again goes on from there.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.device import request_large_pages
from sphinx_ros.runtime.lifeline import end_with_parent
from sphinx_ros.runtime.memory import memory_error, out_of_memory
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.train import recipe
from sphinx_ros.train.run import HELD_OUT_SCENES, Run, rate


def work(run: Run) -> None:
    """Train until the schedule's minutes are used up, or until asked to stop; then save."""
    started, before = time.monotonic(), run.seconds
    limit, stop = run.schedule.minutes * 60, False
    watcher = Watcher(run, limit) if run.rank == 0 else None
    while run.seconds < limit and not stop:
        scores = run.step()
        run.seconds, stop = run.agreed(started, before)
        if watcher:
            watcher.after_step(scores)
    if watcher:
        watcher.close()


class Watcher:
    """What rank 0 does beside training: progress, log, saved states, held-out scores."""

    def __init__(self, run: Run, limit: float):
        self._run = run
        self._recent: list[dict[str, float]] = []
        self._log = (run.folder / "log.jsonl").open("a")
        self._bar = Progress(round(limit), "training", "s", round(run.seconds))
        self._due = {"save": 0.0, "score": 0.0}
        for job in self._due:
            self._next(job)

    def _next(self, job: str) -> None:
        minutes = getattr(self._run.schedule, f"{job}_minutes")
        self._due[job] = self._run.seconds + 60 * minutes

    def after_step(self, scores: dict[str, float]) -> None:
        """Log every 25 steps; save and score when it is time."""
        run = self._run
        self._recent.append(scores)
        if len(self._recent) >= 25:
            mean = average_scores(self._recent)
            self._write(mean | {"scenes": len(run.scenes)})
            shown = {k: f"{mean[k]:.3f}" for k in ("loss", "iou", "token") if k in mean}
            self._bar.reach(round(run.seconds), images=run.images, **shown)
            self._recent.clear()
        if run.seconds >= self._due["save"]:
            run.save()
            self._next("save")
        joint = not rate(run.schedule, run.seconds / 60)[0]
        if run.seconds >= self._due["score"] and joint and (run.folder / HELD_OUT_SCENES).exists():
            self._write(run.score())
            self._next("score")

    def _write(self, values: dict[str, float]) -> None:
        values = {"minutes": self._run.seconds / 60, "images": self._run.images} | values
        self._log.write(json.dumps({k: round(float(v), 5) for k, v in values.items()}) + "\n")
        self._log.flush()

    def close(self) -> None:
        """Save and end the bar."""
        self._bar.reach(round(self._run.seconds))
        self._bar.close()
        self._run.save()
        self._log.close()


def average_scores(rows: list[dict]) -> dict[str, float]:
    """Mean of each score over the rows that have it."""
    keys = {k for row in rows for k in row}
    return {k: float(np.mean([row[k] for row in rows if k in row])) for k in sorted(keys)}


def process(rank: int, world: int, parent: int, arguments: dict, failed: Any) -> None:
    """Entry point of one training process.

    parent: the process that started it. failed: a queue for an error that has a name.
    """
    try:
        _process(rank, world, parent, arguments)
    except Exception as error:
        if out_of_memory(error):
            error = memory_error("training", error)
        if isinstance(error, (SphinxError, OSError)):
            failed.put(error)
        raise


def _process(rank: int, world: int, parent: int, arguments: dict) -> None:
    end_with_parent(parent)  # what is on the disk is whole at any time
    request_large_pages()
    torch.set_num_threads(1)
    if world > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        dist.init_process_group("gloo", rank=rank, world_size=world)
    run = Run(rank, world, **arguments)
    # Ctrl-C reaches every process of the terminal: finish the step, save, end together.
    signal.signal(signal.SIGINT, lambda *_: setattr(run, "asked_to_stop", True))
    work(run)
    if world > 1:
        dist.destroy_process_group()


def train(
    folder: Path,
    scenes: Path,
    tokenizer_path: Path,
    schedule: recipe.Schedule,
    processes: int = 2,
    seed: int = 0,
    port: int = 29511,
    start: str | None = None,
) -> None:
    """Train with ``processes`` single-threaded processes (two beat one with two threads).

    Raises:
        KeyboardInterrupt: on Ctrl-C, after the processes have saved; another call goes on.
        SphinxError, OSError: what ended a process, or that one was killed.
    """
    import torch.multiprocessing as mp

    folder.mkdir(parents=True, exist_ok=True)
    # Big buffers that go back to the kernel after every step cost 40 % of the towers' time.
    os.environ.update(
        MALLOC_MMAP_THRESHOLD_=str(4 << 30),
        MALLOC_TRIM_THRESHOLD_=str(8 << 30),
        MALLOC_TOP_PAD_=str(256 << 20),
        MALLOC_ARENA_MAX="2",
        OMP_WAIT_POLICY="passive",
        OMP_NUM_THREADS="1",
        MASTER_PORT=str(port),
    )
    arguments = {
        "folder": folder,
        "scenes": scenes,
        "tokenizer_path": tokenizer_path,
        "schedule": schedule,
        "seed": seed,
        "start": start,
    }
    failed = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(
        process, args=(processes, os.getpid(), arguments, failed), nprocs=processes, join=False
    )
    _wait(context, failed)


def _wait(context: Any, failed: Any) -> None:
    """Until all processes have ended. Raises what :func:`train` does."""
    import torch.multiprocessing as mp

    try:
        while not context.join():
            pass
    except KeyboardInterrupt:
        for child in context.processes:
            if child.is_alive():  # the signal may have been sent to this process alone
                os.kill(child.pid, signal.SIGINT)
        for child in context.processes:
            child.join()
        raise
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        if not failed.empty():
            raise failed.get() from error
        if isinstance(error, mp.ProcessExitedException) and error.signal_name:
            raise SphinxError(
                f"a training process was ended by {error.signal_name}, as Linux does it when "
                "memory runs out; the same command goes on from the last saved state, and fewer "
                "--processes take less",
                status=Status.NOT_ACTIVE,
            ) from error
        raise
