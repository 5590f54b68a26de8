"""Jobs of samples -> answers in a run's folder: by this process or several, each on its device."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sphinx_ros.benchmarks.answering import Answerer, Line, Settings
from sphinx_ros.benchmarks.run_folder import RunFolder
from sphinx_ros.benchmarks.samples import Sample
from sphinx_ros.runtime.device import choose_device, choose_dtype
from sphinx_ros.runtime.extras import extra
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.runtime.workers import Workers

_worker: dict[str, Answerer] = {}


def measure(
    jobs: Sequence[Sequence[Sample]],
    done: int,
    settings: Settings,
    folder: RunFolder,
    *,
    workers: int = 1,
    ray: bool = False,
    shown: bool = True,
) -> float:
    """Answer the jobs that are not done and write each when it is; questions per second.

    done: how many of the jobs the folder holds. workers: processes that share the jobs; on
    accelerators each has one of them, in turn. ray: they are actors of Ray, on whatever machines
    it has; these need the same files at the same places.

    Raises:
        CheckpointError: the checkpoint can't be loaded.
        SphinxError: out of memory, or a process has ended.
    """
    asked = [len(job) for job in jobs]
    begun, number = time.monotonic(), 0
    with Progress(sum(asked), "asking", "question", sum(asked[:done]), shown) as bar:
        answers = _by_ray if ray else _answers
        for lines in answers(jobs[done:], settings, workers):
            folder.append(lines)
            number += len(lines)
            spent = time.monotonic() - begun
            left = (sum(asked) - bar.done - len(lines)) * spent / max(number, 1)
            bar.reach(bar.done + len(lines), left=_duration(left))
    return number / max(time.monotonic() - begun, 1e-9)


def kind_of(load: Mapping[str, Any]) -> str:
    """Kind of device and type of numbers that a checkpoint is loaded with: "cuda bfloat16".

    A run that goes on with another kind would mix answers. load: keyword arguments of
    :meth:`Sphinx.from_pretrained`. Raises SphinxError: there is no such device.
    """
    devices = load.get("devices") or [load.get("device")]
    device = choose_device(devices[0])
    return f"{device.type} {str(choose_dtype(load.get('dtype'), device)).removeprefix('torch.')}"


def _answers(
    jobs: Sequence[Sequence[Sample]], settings: Settings, workers: int
) -> Iterator[list[tuple[Line, Line]]]:
    if not jobs:
        return
    if workers == 1:
        answerer = Answerer(settings)
        for job in jobs:
            yield answerer.answers(job)
        return
    threads = settings.threads or max(1, (os.cpu_count() or 1) // workers)
    given: tuple[Any, ...] = (replace(settings, threads=threads), _devices(settings))
    with Workers(workers, _start, given, "use fewer --workers or a smaller --batch") as pool:
        yield from pool.map(_answer, jobs)


def _by_ray(
    jobs: Sequence[Sequence[Sample]], settings: Settings, workers: int
) -> Iterator[list[tuple[Line, Line]]]:
    """The same by actors, each with a GPU where Ray knows of any."""
    with extra("fleet", "--ray"):
        import ray
        from ray.util import ActorPool
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        gpus = 1 if ray.cluster_resources().get("GPU", 0) else 0
        actor = ray.remote(num_cpus=1, num_gpus=gpus)(Answerer)
        pool = ActorPool([actor.remote(settings) for _ in range(workers)])
        yield from pool.map(lambda one, job: one.answers.remote(job), list(jobs))  # in their order
    finally:
        if ours:
            ray.shutdown()


def _devices(settings: Settings) -> list[str]:
    """Where processes work, in turn; none leaves it to the settings."""
    import torch

    chosen = str(settings.load.get("device") or "")
    if chosen in ("", "cuda") and torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return []


def _start(settings: Settings, devices: list[str]) -> None:
    """Load the checkpoint, once in each process."""
    if devices:
        number = int(multiprocessing.current_process().name.rpartition("-")[2]) - 1
        device = devices[number % len(devices)]
        settings = replace(settings, load={**settings.load, "device": device})
    _worker["answerer"] = Answerer(settings)


def _answer(job: Sequence[Sample]) -> list[tuple[Line, Line]]:
    return _worker["answerer"].answers(job)


def _duration(seconds: float) -> str:
    """ "1:05:20", "2:30" or "40 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
