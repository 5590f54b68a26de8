"""How several processes share one network: who has which part, and what they tell each other.

Attention heads, feed-forward channels, the embedding's channels and the vocabulary are spread over
the ranks (Megatron's column and row split, as in the released shards); each rank encodes some of a
picture's views. Knows no layer and no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sphinx_ros.errors import first_line


class Apart(RuntimeError):
    """The processes can't meet any more: one has ended, or did not come in time."""


def meet(start: Callable[[], Any]) -> None:
    """Start an operation of a process group, and wait until it is done.

    Raises:
        Apart: another process is not there.
        torch.OutOfMemoryError: this process's device has no memory left.
    """
    try:
        start().wait()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Apart(first_line(error)) from error


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a network.

    group: a process group of torch.distributed (``ProcessGroupGloo``, ``ProcessGroupNCCL``).
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    def part(self, number: int, of: str) -> int:
        """This rank's share of ``number`` equal things.

        Raises:
            ValueError: they can't be shared equally.
        """
        if number % self.size:
            raise ValueError(f"{number} {of} can't be shared by {self.size} processes")
        return number // self.size

    def sum(self, x: Tensor) -> Tensor:
        """The sum of all ranks' tensors. Raises Apart."""
        if self.size == 1:
            return x
        # gloo knows no bfloat16, and on a CPU the wider sum costs nothing that counts
        wide = x.contiguous() if x.is_cuda else x.float().contiguous()
        meet(lambda: self.group.allreduce([wide]))
        return wide.type_as(x)

    def join(self, x: Tensor, dim: int) -> Tensor:
        """All ranks' tensors side by side, in order of rank. Raises Apart."""
        if self.size == 1:
            return x
        wide = x.contiguous() if x.is_cuda else x.float().contiguous()
        parts = [torch.empty_like(wide) for _ in range(self.size)]
        meet(lambda: self.group.allgather([parts], [wide]))
        return torch.cat(parts, dim).type_as(x)

    def spread(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """``function(*rows)`` for tensors [N, ...] that it treats row by row: each rank does some
        of the rows, and all get all results (official ``encode_image`` of ``llama_ens5.py``).
        """
        if self.size == 1:
            return function(*rows)
        number = len(rows[0])
        each = -(-number // self.size)
        index = torch.arange(each * self.rank, each * (self.rank + 1)).clamp_(max=number - 1)
        mine = function(*(row[index.to(row.device)] for row in rows))
        return self.join(mine, 0)[:number]


ALONE = Ranks()
