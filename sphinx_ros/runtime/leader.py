"""The leader's network: what a ``SphinxModel`` is to its users, done by all ranks.

How the processes were started, and where their parts come from, is not known here.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from sphinx_ros.errors import BadRequest
from sphinx_ros.model.cache import Span
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import Apart
from sphinx_ros.runtime.crew import REMEDY, Crew, Loss
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.interrupts import held_back
from sphinx_ros.runtime.memory import memory_error, out_of_memory
from sphinx_ros.runtime.orders import END, REFUSALS, Channel, Kept, Order, Part, mapped

VERDICT = 2.0
"""Seconds in which the thread that watches the processes has found out which one is lost."""


class SharedCache:
    """A cache of which every rank has a part. Only the network that made it can use it.

    batch: sequences. length: positions. bytes: of this process's part.
    """

    def __init__(self, leader: Leader, number: int, batch: int, length: int):
        self.batch, self.length, self.nbytes = batch, length, 0
        self.owner, self.kept = weakref.ref(leader), Kept(number)


class Leader:
    """A :class:`~sphinx_ros.model.network.Network` that several processes share.

    Threads may call it, one after another. Besides what follows it has no attribute of the
    network: anything else would run in this process alone, and wait for the others in vain.
    """

    def __init__(self, part: Part, channel: Channel, crew: Crew):
        """part: this process's. channel: to the others. crew: those that this one started."""
        self._part, self._channel, self._crew = part, channel, crew
        self._numbers, self._lock = itertools.count(), OwnLock()
        self._forgotten: list[int] = []
        self._dismissal = weakref.finalize(self, _dismiss, channel, crew, self._lock)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"a network that several processes share has no {name!r}: it would run in one of them"
            " alone; use what sphinx_ros.model.network lists, or load the checkpoint on one device"
        )

    @property
    def config(self) -> ModelConfig:
        """Sizes of the whole network."""
        return self._part.model.config

    @property
    def device(self) -> torch.device:
        """Where this process has its part, and tensors are taken and given."""
        return self._part.device

    origin = None
    """Each process knows its own part's; no other weights can be put in their place."""

    @property
    def cheap_tokens(self) -> int:
        """None: each rank's pass is bound by reading its weights, or by waiting for the others."""
        return 0

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of this process's part."""
        return self._part.model.parameters()

    def new_cache(self, batch: int, length: int, like: SharedCache | None = None) -> SharedCache:
        """A cache, a part of it in every rank. See ``Network.new_cache``."""
        with self._lock:
            cache = SharedCache(self, next(self._numbers), batch, length)
            number = cache.kept.number
            cache.nbytes = self._do(
                "new_cache", kept_as=number, batch=batch, length=length, like=like
            )
            weakref.finalize(cache, _forget, self._part, self._forgotten, number)
            return cache

    def encode_image(self, picture: Tensor) -> Tensor:
        """See ``Network.encode_image``."""
        return self._do("encode_image", picture=picture)

    def embed(self, tokens: Tensor, image: Tensor | None = None) -> Tensor:
        """See ``Network.embed``."""
        return self._do("embed", tokens=tokens, image=image)

    def hidden(
        self,
        x: Tensor,
        *,
        cache: SharedCache | None = None,
        start: int = 0,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See ``Network.hidden``."""
        return self._do("hidden", cache=cache, x=x, start=start, positions=positions, mask=mask)

    def logits(self, hidden: Tensor) -> Tensor:
        """See ``Network.logits``."""
        return self._do("logits", hidden=hidden)

    def __call__(
        self,
        tokens: Tensor,
        image: Tensor | None = None,
        *,
        cache: SharedCache | None = None,
        start: int = 0,
        last_only: bool = False,
    ) -> Tensor:
        """See ``Network.__call__``."""
        return self._do(
            "forward",
            cache=cache,
            tokens=tokens,
            image=image,
            start=start,
            last_only=last_only,
        )

    def prepare(self) -> None:
        """See ``Network.prepare``."""
        self._do("prepare")

    def step(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span], wanted: Tensor
    ) -> Tensor:
        """See ``Network.step``."""
        return self._do(
            "step", tokens=tokens, positions=positions, spans=list(spans), wanted=wanted
        )

    def trouble(self) -> str:
        """Why nothing can be asked any more; "" while all processes are there."""
        return "" if self._crew.loss is None else self._crew.loss.text

    def close(self) -> None:
        """End the other processes. Any number of times; later calls raise SphinxError."""
        self._dismissal()

    def _do(self, name: str, **given: Any) -> Any:
        """Let all ranks make one call of the network; what it returns here.

        Raises:
            REFUSALS: the call can't be made so; the next one can.
            SphinxError: a process is lost, now or before, or this one is a forked child.
        """
        with self._lock, self._in_step():
            given = {key: mapped(value, self._kept) for key, value in given.items()}
            forget = tuple(self._forgotten.pop() for _ in range(len(self._forgotten)))
            order = Order(name, given, forget)
            self._channel.tell(order)
            made = self._part.do(order)
            if self.device.type == "cuda":  # a kernel that waits for a lost process is ended
                torch.cuda.current_stream(self.device).synchronize()
            self._check()
            return made

    def _kept(self, value: Any) -> Any:
        """A cache as its number. Raises BadRequest for another network's."""
        if not isinstance(value, SharedCache):
            return value
        if value.owner() is not self:
            raise BadRequest("the cache is another network's: look at the picture again")
        return value.kept

    @contextlib.contextmanager
    def _in_step(self) -> Iterator[None]:
        """A block that all ranks go through together. One that ends halfway ends them all."""
        self._check()
        with held_back(once=True):
            try:
                yield
            except REFUSALS:
                raise
            except Apart as error:
                if self._crew.verdict(VERDICT if len(self._crew) else 0) is None:
                    self._crew.end(
                        Loss(f"the processes of the network lost each other ({error}); {REMEDY}")
                    )
                self._check(error)
            except BaseException as error:
                self._crew.end(_halfway(error))
                if isinstance(error, Exception) and not out_of_memory(error):
                    self._check(error)
                raise

    def _check(self, cause: BaseException | None = None) -> None:
        if self._crew.loss is not None:
            raise self._crew.loss.error() from cause


def _halfway(error: BaseException) -> Loss:
    """What is said after a call that this process did not finish."""
    if out_of_memory(error):
        made = memory_error("sharing a network", error)
        return Loss(f"{made}; {REMEDY}", made.status)
    return Loss(f"a call of the shared network ended halfway ({type(error).__name__}); {REMEDY}")


def _forget(part: Part, forgotten: list[int], number: int) -> None:
    """A cache is not used any more: free it here, and elsewhere with the next order."""
    part.forget(number)
    forgotten.append(number)


def _dismiss(channel: Channel, crew: Crew, lock: OwnLock) -> None:
    """Let the others end: torchrun's are told, those that this process started are ended."""
    if crew.is_own and crew.loss is None and not len(crew) and lock.acquire(timeout=1):
        with contextlib.suppress(Apart):
            channel.tell(Order(END, {}))
        lock.release()
    crew.end()
