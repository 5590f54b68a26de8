"""Equal processes of one job, which torchrun started: what they tell each other.

    torchrun --nproc-per-node 2 -m sphinx_ros tune ...

Each runs the whole program and meets the others at the same places; rank 0 leads: it alone writes
and speaks. Without torchrun there is one process, which is its own leader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.runtime.device import choose_device
from sphinx_ros.runtime.team import under_torchrun

T = TypeVar("T")

WAIT = timedelta(hours=1)
"""For how long a process waits for the others. One that has ended is noticed at once; this is for
a cut cable, and longer than one of them alone may read data or write a state."""

LOST_SIGNS = ("gloo", "Connection closed", "Connection reset", "NCCL", "ncclRemoteError")
"""Words of the errors that torch's backends raise for a lost process; they have no class."""


@dataclass(frozen=True)
class Peers:
    """This process among its equals. rank: its number, from 0. size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of what all have."""
        return list(items[self.rank :: self.size])

    def sum(self, *numbers: float) -> list[float]:
        """The sum over all processes of each number, in float64; the same bits in all."""
        if self.size == 1:
            return [float(one) for one in numbers]
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace gradients by their sums over all processes; those without one stay so.

        One after another: DistributedDataParallel regroups its buckets after the first step, so
        that a run that was resumed would add in another order.
        """
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)

    def gather(self, value: T) -> list[T]:
        """The value of each process, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def first(self, value: T) -> T:
        """The leader's value, in all processes."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held)
        return held[0]

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """A block that all go through, without meeting in it, and end together.

        Raises:
            Exception: the block's own error, in the first process that has one. SystemExit: in the
                others, which say nothing; exit code that of the error.
        """
        if self.size == 1:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        failed = [code for code in self.gather(None if error is None else _code(error))]
        if any(code is not None for code in failed):
            first = next(rank for rank, code in enumerate(failed) if code is not None)
            if error is not None and first == self.rank:
                raise error
            raise SystemExit(failed[first])

    @contextmanager
    def in_step(self, remedy: str) -> Iterator[None]:
        """A block in which the processes meet. remedy: what a user does when one is lost.

        Raises:
            SphinxError: NOT_ACTIVE: another process has ended, or does not answer.
        """
        try:
            yield
        except (RuntimeError, dist.DistError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            if self.size == 1 or isinstance(error, torch.OutOfMemoryError):
                raise
            if not isinstance(error, dist.DistError) and not any(s in first for s in LOST_SIGNS):
                raise
            raise SphinxError(
                f"process {self.rank} of {self.size} lost the others ({first[:120]}): one of them "
                f"was killed or failed, see what it said; {remedy}",
                status=Status.NOT_ACTIVE,
            ) from error


def _code(error: Exception) -> int:
    """The exit code of an error."""
    return error.status.exit_code if isinstance(error, SphinxError) else 1


def own_device(named: str | None) -> torch.device:
    """The device of this process: under torchrun each has the GPU of its local rank.

    named: what the user wrote, as for :func:`~sphinx_ros.runtime.device.choose_device`.

    Raises:
        BadRequest: several processes are to share a device, or it is not there.
    """
    size, local = under_torchrun(), os.environ.get("LOCAL_RANK", "0")
    if size == 1:
        return choose_device(named)
    if named not in (None, "auto", "cpu", "cuda"):
        raise BadRequest(
            f"device {named} is one, and torchrun started {size} processes: leave out --device, "
            "then each takes the GPU of its local rank, or give cpu"
        )
    if named == "cuda" or (named != "cpu" and torch.cuda.device_count() > int(local)):
        return choose_device(f"cuda:{local}")
    return choose_device("cpu")


@contextmanager
def joined(device: torch.device) -> Iterator[Peers]:
    """The processes that torchrun started, connected; one alone without torchrun.

    device: this process's; gradients on a GPU go by NCCL, all else by gloo.
    """
    if under_torchrun() == 1:
        yield Peers()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=WAIT)
    yield Peers(dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()  # not after an error: it would wait for who is lost
