"""Several jobs -> what became of each: one after another, by processes, or by Ray Data.

All ways end in :func:`sphinx_ros.bags.bag_run.do`, so the files are the same.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sphinx_ros.bags.bag_job import Done, Job
from sphinx_ros.bags.bag_run import do
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.extras import extra
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.runtime.ray_start import start_ray
from sphinx_ros.runtime.workers import Workers

RAY = "ray"

KEPT = "; what was answered is kept: go on with --resume"

USAGE = (Status.BAD_REQUEST, Status.BAD_IMAGE)
"""What a job ends with again, however often it is gone on with."""


class Doer:
    """Does jobs that share a model, which is loaded with the first that needs it."""

    def __init__(self, threads: int = 0):
        """threads: of torch; 0 leaves them as they are."""
        self._threads = threads
        self._sphinx: Any = None

    def __call__(self, job: Job) -> Done:
        """What became of a job; what it raises is told by name."""
        try:
            return do(job, lambda: self._load(job))
        except SphinxError as error:
            kept = "" if error.status in USAGE or not job.part.exists() else KEPT
            return Done(job.target, error=f"{error}{kept}", status=error.status.name)
        except OSError as error:  # a full disk most of all, of which the system names no file
            said = f"{error.strerror or error}{KEPT}"
            return Done(job.target, error=said, status=Status.BAD_REQUEST.name)

    def _load(self, job: Job) -> Any:
        if self._sphinx is None:
            from sphinx_ros.pipeline import Sphinx

            if self._threads and not job.server:
                load_torch()
                import torch

                torch.set_num_threads(self._threads)
            if job.server:
                self._sphinx = Sphinx.connect(job.server, token=job.token, busy=math.inf)
            else:
                self._sphinx = Sphinx.from_pretrained(job.checkpoint, **job.model)
        return self._sphinx


def do_all(jobs: Sequence[Job], workers: int | str = 1) -> Iterator[Done]:
    """What became of each job, in order. workers: a number of processes, or :data:`RAY`."""
    if workers == RAY:
        yield from _by_ray(jobs)
    elif isinstance(workers, int) and min(workers, len(jobs)) > 1:
        yield from _by_processes(jobs, min(workers, len(jobs)))
    else:
        yield from map(Doer(), jobs)


_doers: list[Doer] = []
"""That of a process started by :func:`_by_processes`."""


def _prepare(threads: int) -> None:
    _doers.append(Doer(threads))


def _work(job: Job) -> Done:
    return _doers[0](job)


def _by_processes(jobs: Sequence[Job], count: int) -> Iterator[Done]:
    threads = 0
    if not jobs[0].server:
        load_torch()
        import torch

        threads = max(1, torch.get_num_threads() // count)
    with Workers(count, _prepare, (threads,), "use fewer --workers, and --resume") as processes:
        yield from processes.map(_work, jobs)


class RayDoer:
    """One of Ray's workers: rows of Ray Data are jobs, pickled."""

    def __init__(self) -> None:
        self._doer = Doer()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row of what became of a job."""
        return {
            "number": row["number"],
            "done": pickle.dumps(self._doer(pickle.loads(row["job"]))),
        }


def _by_ray(jobs: Sequence[Job]) -> Iterator[Done]:
    """On the cluster that RAY_ADDRESS names, or on this machine.

    The bags have to be where all machines of the cluster see them. A job that is lost with its
    process is given to another one by Ray, and goes on by its journal.

    Raises:
        BadRequest: Ray Data is not installed. SphinxError: Ray does not start, or answer.
    """
    with extra("bag,fleet", "--workers ray"):
        import ray
        import ray.data
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS", "")
        start_ray(ray, address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield from _rows(ray, jobs)
    finally:
        if ours:
            ray.shutdown()


def _rows(ray: Any, jobs: Sequence[Job]) -> Iterator[Done]:
    """What became of jobs, by the cluster that ``ray`` is connected to."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    gpus = ray.cluster_resources().get("GPU", 0)
    most = max(1, int(gpus or ray.cluster_resources().get("CPU", 1)))
    again = [replace(job, resume=job.resume or not job.part.exists()) for job in jobs]
    given = [{"number": n, "job": pickle.dumps(job)} for n, job in enumerate(again)]
    made = ray.data.from_items(given, override_num_blocks=len(given)).map(
        RayDoer,  # Ray makes one in each of its workers
        concurrency=(1, min(most, len(jobs))),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )
    # Nothing is fetched in advance, or each row would wait for the next one.
    tables = made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    rows = (row for table in tables for row in table.to_pylist())
    for done in in_order((row["number"], row["done"]) for row in rows):
        yield pickle.loads(done)


def in_order(numbered: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """What comes with numbers from 0 on, each as soon as all before it have come."""
    ahead: dict[int, Any] = {}
    next_one = 0
    for number, one in numbered:
        ahead[number] = one
        while next_one in ahead:
            yield ahead.pop(next_one)
            next_one += 1
