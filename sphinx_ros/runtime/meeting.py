"""Where the processes of a team find each other, and the groups they talk in.

torch.distributed's groups are made directly, and the default group of the process is left to
whoever else needs it: a process may have several teams, one after another or at once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d as c10d

from sphinx_ros.model.ranks import Apart, Ranks
from sphinx_ros.runtime.orders import Channel

WAIT = timedelta(minutes=10)
"""For how long a process waits for the others within a call, before it takes them for lost."""

IDLE = timedelta(days=365)
"""For how long a follower waits for the next call."""

JOIN = timedelta(seconds=30)
"""For how long connections are waited for, once all processes are there."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where processes of one machine meet: a port, and a word that only they know."""

    port: int
    word: str

    def store(self) -> dist.Store:
        """The place as a follower sees it."""
        store = dist.TCPStore(LOOPBACK, self.port, is_master=False, timeout=WAIT)
        return dist.PrefixStore(self.word, store)


class Host(dist.Store):
    """The place as its maker sees it; ends with this object.

    is_whole: asked while the others are waited for; False ends the wait.
    """

    def __init__(self, is_whole: Callable[[], bool]):
        super().__init__()
        self._is_whole = is_whole
        self._server = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
        self.place = Place(self._server.port, secrets.token_hex(16))
        self.shared = dist.PrefixStore(self.place.word, self._server)

    def set(self, key: str, value: bytes) -> None:
        """Say something to the others."""
        self.shared.set(key, value)

    def get(self, key: str) -> bytes:
        """What one of them says; waits for it."""
        self.wait([key])
        return self.shared.get(key)

    def wait(self, keys: Sequence[str], timeout: timedelta = JOIN) -> None:
        """Until all of this is said. Raises Apart."""
        end = time.monotonic() + timeout.total_seconds()
        while not self.shared.check(list(keys)):
            if not self._is_whole():
                raise Apart("a process has ended")
            if time.monotonic() > end:
                raise Apart(f"no connection within {timeout.total_seconds():.0f} s")
            time.sleep(0.005)


def join(
    rank: int,
    size: int,
    device: torch.device,
    store: dist.Store,
    wait: timedelta,
    *,
    patience: timedelta = WAIT,
    loopback: bool = False,
) -> tuple[Ranks, Channel]:
    """Connect this process with the others.

    Args:
        rank: of this process, 0 for the leader.
        size: number of processes.
        device: where this process has its part.
        store: where all of them meet.
        wait: how long a process waits for the others within a call.
        patience: how long for the connections.
        loopback: all are on this machine; default: those of ``GLOO_SOCKET_IFNAME``.

    Returns:
        (for the network, for the calls that the leader makes).

    Raises:
        Apart: another process is not there.
    """

    def gloo(name: str, limit: timedelta) -> Any:
        """A group of all processes by a name of its own. limit: of each of its operations."""
        options = c10d.ProcessGroupGloo._Options()
        make = c10d.ProcessGroupGloo
        wire = make.create_device(hostname=LOOPBACK) if loopback else make.create_default_device()
        options._devices, options._timeout = [wire], patience
        group = make(dist.PrefixStore(name, store), rank, size, options)
        group._set_default_timeout(limit)
        return group

    try:
        channel = Channel(gloo("calls", IDLE), keep=store)
        if device.type != "cuda":
            return Ranks(rank, size, gloo("sums", wait)), channel
        torch.cuda.set_device(device)
        place = store.shared if isinstance(store, Host) else store  # its threads need no Python
        group = c10d.ProcessGroupNCCL(dist.PrefixStore("sums", place), rank, size, wait)
        return Ranks(rank, size, group), channel
    except RuntimeError as error:
        raise Apart(str(error).splitlines()[0][:200]) from error
