"""A call of a shared network, from the leader to the followers, and each process's part of it.

Leader -> Order -> Channel -> Order -> Part, in every process
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sphinx_ros.model.ranks import meet

END = "end"
"""The name of the order after which there is none."""

REFUSALS = (ValueError, TypeError, IndexError)
"""What a network raises before its ranks meet, when it can't be asked so: all of them alike."""


class Kept(NamedTuple):
    """A cache, by its number: each process has its own part of it."""

    number: int


class Order(NamedTuple):
    """One call. given: its keyword arguments. forget: numbers of caches that nobody uses now."""

    name: str
    given: dict[str, Any]
    forget: tuple[int, ...] = ()

    def to_send(self) -> Order:
        """The same with its tensors in main memory, each without the one that it is a view of."""
        given = {key: mapped(value, _in_main_memory) for key, value in self.given.items()}
        return self._replace(given=given)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with ``change`` made to each part of it: lists and tuples are gone into."""
    if isinstance(value, Kept) or not isinstance(value, (list, tuple)):
        return change(value)
    parts = [mapped(part, change) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _in_main_memory(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if torch.is_tensor(value) else value


class Channel:
    """From rank 0 to all others. group: a gloo group. keep: what must live as long as that."""

    def __init__(self, group: Any, keep: Any = None):
        self._group, self._keep = group, keep

    def tell(self, order: Order) -> None:
        """Send an order. Raises Apart."""
        data = torch.frombuffer(bytearray(pickle.dumps(order.to_send())), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(data)]))
        self._broadcast(data)

    def told(self) -> Order:
        """Wait for the next order. Raises Apart, also when the leader has ended."""
        size = torch.zeros(1, dtype=torch.long)
        self._broadcast(size)
        data = torch.empty(int(size), dtype=torch.uint8)
        self._broadcast(data)
        return pickle.loads(data.numpy().tobytes())

    def _broadcast(self, tensor: Tensor) -> None:
        meet(lambda: self._group.broadcast([tensor]))


@contextlib.contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """A block in which this thread's torch computes on so many threads. 0: on those it has."""
    before = torch.get_num_threads()
    if number in (0, before):
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Part:
    """One process's part of a network, with its parts of the caches.

    threads: of the CPU, for its calls; 0: those that there are.
    """

    def __init__(self, model: Any, device: torch.device, threads: int = 0):
        self.model, self.device, self._threads = model, device, threads
        self._caches: dict[int, Any] = {}

    def do(self, order: Order) -> Any:
        """Do one order; what the call returns.

        Raises:
            REFUSALS: it can't be done, in any process; the next order can.
            Apart: another process is not there.
            RuntimeError: out of memory, or a failure of the device.
        """
        for number in order.forget:
            self.forget(number)
        given = {key: mapped(value, self._here) for key, value in order.given.items()}
        with torch.inference_mode(), cpu_threads(self._threads):
            if order.name == "new_cache":
                kept = given.pop("kept_as")
                self._caches[kept] = self.model.new_cache(**given)
                return self._caches[kept].nbytes
            return getattr(self.model, order.name)(**given)

    def follow(self, channel: Channel) -> None:
        """Do what the leader says, until it says END. Raises what :meth:`do` does."""
        while (order := channel.told()).name != END:
            try:
                self.do(order)
            except REFUSALS:
                continue  # the leader is refused in the same way, and tells its caller

    def forget(self, number: int) -> None:
        """Free this process's part of a cache."""
        self._caches.pop(number, None)

    def _here(self, value: Any) -> Any:
        if isinstance(value, Kept):
            return self._caches[value.number]
        return value.to(self.device) if torch.is_tensor(value) else value
