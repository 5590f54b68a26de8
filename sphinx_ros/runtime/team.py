"""One network in several processes: a leader that is asked, and followers that do their part.

The leader has the pipeline and the questions. Every call of its network is told to the followers,
which make the same call on their part; inside the call the processes meet (model/ranks.py). So
nothing but the network knows that there are several.

    Sphinx.from_pretrained(X, devices=["cuda:0", "cuda:1"])     starts the followers itself
    torchrun --nproc-per-node 2 -m sphinx_ros ground ...        each process is one of them

Knows no picture, no text and no ROS.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.model.ranks import Apart
from sphinx_ros.runtime.crew import REMEDY, Crew
from sphinx_ros.runtime.leader import VERDICT, Leader
from sphinx_ros.runtime.lifeline import end_with_parent
from sphinx_ros.runtime.meeting import JOIN, WAIT, Host, Place, join
from sphinx_ros.runtime.orders import Part, cpu_threads

STARTED, LOADED = "started", "loaded"
"""What a follower says to its leader's crew."""


def under_torchrun() -> int:
    """How many processes torchrun started of this program; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@dataclass(frozen=True)
class Following:
    """A follower's work. threads: of the CPU, for this process. Others: see :func:`lead`."""

    checkpoint: str
    place: Place
    rank: int
    size: int
    device: str
    load: Callable[..., Any]
    wait: timedelta
    threads: int

    def __call__(self, say: Callable[[str], None]) -> None:
        """Load this rank's part and follow the leader."""
        torch.set_num_threads(self.threads)
        device = torch.device(self.device)
        say(STARTED)
        try:
            store = self.place.store()
            ranks, channel = join(self.rank, self.size, device, store, self.wait, loopback=True)
            model, _, _ = self.load(self.checkpoint, device=device, ranks=ranks)
            say(LOADED)
            Part(model, device).follow(channel)
        except Apart as error:
            raise SphinxError(
                f"lost the others ({error}); {REMEDY}", status=Status.NOT_ACTIVE
            ) from error


def lead(
    checkpoint: str | Path,
    devices: Sequence[torch.device],
    load: Callable,
    *,
    wait: timedelta = WAIT,
) -> tuple[Leader, Any, Any]:
    """Start a follower for every device but the first, and load each its part.

    Args:
        checkpoint: what ``load`` is given.
        devices: one for each process; the first is this one's.
        load: called with (checkpoint, device=, ranks=), gives (model, tokenizer, config); another
            process must be able to import it.
        wait: for how long a process waits for another within a call before it gives up. One that
            has ended is noticed at once.

    Returns:
        (network, tokenizer, config).

    Raises:
        SphinxError: a follower could not load its part, or has ended.
    """
    size, threads = len(devices), torch.get_num_threads()
    if devices[0].type == "cpu":
        threads = share(threads, size)
    host = Host(lambda: crew.loss is None)
    works = [
        Following(str(checkpoint), host.place, rank, size, str(devices[rank]), load, wait, threads)
        for rank in range(1, size)
    ]
    names = [f"process {work.rank} of the shared network ({work.device})" for work in works]
    undo = contextlib.ExitStack()  # what is left to do when the crew has ended
    crew = Crew(works, names, undo.close)
    try:
        crew.wait_for(STARTED)
        ranks, channel = join(0, size, devices[0], host, wait, patience=JOIN, loopback=True)
        if devices[0].type == "cuda" and hasattr(ranks.group, "abort"):
            undo.callback(ranks.group.abort)  # ends kernels that wait for a lost process
        with cpu_threads(threads):
            model, tokenizer, config = load(checkpoint, device=devices[0], ranks=ranks)
        crew.wait_for(LOADED)
    except BaseException as error:
        lost = crew.verdict(VERDICT) if isinstance(error, Apart) else None
        crew.end()
        if lost is not None:
            raise lost.error() from error
        raise
    return Leader(Part(model, devices[0], threads), channel, crew), tokenizer, config


def share(threads: int, size: int) -> int:
    """How many of a CPU's threads each process of a team gets."""
    return max(1, threads // size)


def join_torchrun(checkpoint: str | Path, load: Callable) -> tuple[Leader, Any, Any]:
    """This process as one of those that torchrun started. Arguments as for :func:`lead`.

    Only rank 0 returns, with (network, tokenizer, config); the others follow it and then end.

    Raises:
        SphinxError: in rank 0: a process could not load its part.
    """
    end_with_parent(os.getppid())
    local = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    device = torch.device(f"cuda:{local}" if torch.cuda.device_count() > local else "cpu")
    store, rank, size = next(dist.rendezvous("env://", timeout=WAIT))
    if device.type == "cpu":
        torch.set_num_threads(share(os.cpu_count() or 1, size))
    store = dist.PrefixStore("sphinx", store)
    ranks, channel = join(rank, size, device, store, WAIT)
    said = [f"loaded_{other}" for other in range(size)]  # "" or what went wrong
    try:
        model, tokenizer, config = load(checkpoint, device=device, ranks=ranks)
        store.set(said[rank], "")
    except Exception as error:
        if rank == 0:
            raise
        store.set(said[rank], f"process {rank}: {type(error).__name__}: {error}")
        sys.exit(0)  # the leader says it
    if rank:
        with contextlib.suppress(Apart):  # the leader has ended
            Part(model, device).follow(channel)
        sys.exit(0)
    failures = [store.get(key).decode() for key in said]
    if any(failures):
        raise SphinxError("; ".join(filter(None, failures)), status=Status.NOT_ACTIVE)
    return Leader(Part(model, device), channel, Crew([], [], lambda: None)), tokenizer, config
