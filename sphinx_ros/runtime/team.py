"""One network in several processes: a leader that is asked, and followers that do their part.

The leader has the pipeline and the questions. Every call of its network is told to the followers,
which make the same call on their part; inside the call the processes meet (model/ranks.py). So
nothing but the network knows that there are several.

    Sphinx.from_pretrained(X, devices=["cuda:0", "cuda:1"])     starts the followers itself
    torchrun --nproc-per-node 2 -m sphinx_ros ground ...        each process is one of them

Knows no picture, no text and no ROS.
"""

from __future__ import annotations

import datetime
import itertools
import os
import shutil
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sphinx_ros.errors import SphinxError
from sphinx_ros.model.ranks import Ranks

WAIT = datetime.timedelta(minutes=10)
"""So long a process waits for the others within a call, before it takes them for lost."""

IDLE = datetime.timedelta(days=365)
"""So long a follower waits for the next call. One whose leader's process ends does not wait."""


def under_torchrun() -> int:
    """How many processes torchrun started of this program; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


class Member:
    """One process of a team, before it has a network.

    ranks: for the network. device: of this process. words: the group that the leader's calls are
    told in, apart because it waits for as long as nobody asks anything.
    """

    def __init__(self, rank: int, size: int, device: torch.device, store: str):
        self.device = device
        dist.init_process_group(
            "gloo", init_method=store, rank=rank, world_size=size, timeout=WAIT
        )
        group = dist.group.WORLD
        if device.type == "cuda":
            torch.cuda.set_device(device)
            group = dist.new_group(backend="nccl", timeout=WAIT)
        self.ranks = Ranks(rank, size, group)
        self.words = dist.new_group(backend="gloo", timeout=IDLE)

    def load(self, load: Callable, checkpoint: str | Path):
        """(model, tokenizer, config) of this process's part, once all processes have theirs; None
        in a follower where that failed.

        Raises, in the leader: what went wrong in any of them.
        """
        made = failure = None
        try:
            made = load(checkpoint, device=self.device, ranks=self.ranks)
        except Exception as error:
            failure = error
        words = [None] * self.ranks.size
        dist.all_gather_object(words, failure and f"{type(failure).__name__}: {failure}")
        if not any(words):
            return made
        if self.ranks.rank:
            return None
        dist.destroy_process_group()
        if failure is not None:
            raise failure
        lines = [f"process {r}: {said}" for r, said in enumerate(words) if said]
        raise SphinxError("; ".join(lines))

    def follow(self, model) -> None:
        """Do what the leader says, until it says that it is done or is gone."""
        caches: dict[int, object] = {}
        while True:
            word = [None]
            try:
                dist.broadcast_object_list(word, src=0, group=self.words)
            except RuntimeError:  # the leader's process has ended
                return
            name, given, kept, forgotten = word[0]
            for number in forgotten:
                caches.pop(number, None)
            if name == "end":
                return
            if name == "new_cache":
                caches[given["number"]] = model.new_cache(given["batch"], given["length"])
                continue
            given = {k: v.to(self.device) if torch.is_tensor(v) else v for k, v in given.items()}
            if kept is not None:
                given["cache"] = caches[kept]
            try:
                with torch.inference_mode():
                    getattr(model, name)(**given)
            except ValueError:
                pass  # a request that can't be met: the leader meets the same error and says so
            except RuntimeError:
                traceback.print_exc()
                return


class Leader:
    """The leader's network: what a ``SphinxModel`` is to its users, done by all ranks.

    Attributes that are no call (config, norm, parameters ...) are those of the leader's own part.
    """

    def __init__(self, model, words, processes: Sequence = (), folder: Path | None = None):
        """words: a member's group for them; folder: where the processes met, to be deleted."""
        self._model, self._words, self._processes = model, words, tuple(processes)
        self._numbers, self._forgotten = itertools.count(), []
        self._lock, self._lost = threading.RLock(), ""
        self._end = weakref.finalize(self, _dismiss, words, self._processes, folder)

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    @property
    def config(self):
        """Sizes of the whole network."""
        return self._model.config

    @config.setter
    def config(self, value) -> None:
        self._model.config = value

    def new_cache(self, batch: int, length: int):
        """An empty cache in every rank; the leader's part comes back."""
        with self._lock:
            number = next(self._numbers)
            self._tell("new_cache", {"number": number, "batch": batch, "length": length}, None)
            cache = self._model.new_cache(batch, length)
            cache.number = number
            weakref.finalize(cache, self._forgotten.append, number)
            return cache

    def encode_image(self, picture: Tensor) -> Tensor:
        """See ``SphinxModel.encode_image``."""
        return self._call("encode_image", picture=picture)

    def embed(self, tokens: Tensor, image: Tensor | None = None) -> Tensor:
        """See ``SphinxModel.embed``."""
        return self._call("embed", tokens=tokens, image=image)

    def hidden(self, x: Tensor, *, cache=None, **given) -> Tensor:
        """See ``Decoder.hidden``."""
        return self._call("hidden", cache, x=x, **given)

    def logits(self, hidden: Tensor) -> Tensor:
        """See ``Decoder.logits``."""
        return self._call("logits", hidden=hidden)

    def __call__(self, tokens: Tensor, image: Tensor | None = None, *, cache=None, **given):
        """See ``SphinxModel.forward``."""
        return self._call("forward", cache, tokens=tokens, image=image, **given)

    def _call(self, name: str, cache=None, **given) -> Tensor:
        with self._lock:
            sent = {k: v.detach().cpu() if torch.is_tensor(v) else v for k, v in given.items()}
            self._tell(name, sent, None if cache is None else cache.number)
            if cache is not None:
                given["cache"] = cache
            with torch.inference_mode():
                return self._met(lambda: getattr(self._model, name)(**given))

    def _tell(self, name: str, given: dict, cache: int | None) -> None:
        forgotten = [self._forgotten.pop() for _ in range(len(self._forgotten))]
        word = [(name, given, cache, forgotten)]
        self._met(lambda: dist.broadcast_object_list(word, src=0, group=self._words))

    def _met(self, together):
        """Do something for which the ranks meet; when one is gone all later calls say so."""
        if self._lost:
            raise SphinxError(self._lost)
        try:
            return together()
        except torch.OutOfMemoryError:
            self._lost = "a process of the network ran out of memory, and the others with it"
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:200]
            self._lost = (
                f"the network's processes lost each other ({reason}); load the checkpoint again"
            )
            raise SphinxError(self._lost) from error

    def close(self) -> None:
        """Send the followers home."""
        self._end()


def _dismiss(words, processes: Sequence, folder: Path | None) -> None:
    if dist.is_initialized():
        try:
            dist.broadcast_object_list([("end", {}, None, [])], src=0, group=words)
        except (RuntimeError, ValueError):
            pass  # they are gone already
        finally:
            dist.destroy_process_group()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.terminate()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def lead(checkpoint: str | Path, devices: Sequence[torch.device], load: Callable):
    """Start a follower for every device but the first, and load each its part.

    load: called with (checkpoint, device=, ranks=), gives (model, tokenizer, config); it must be
    something that can be pickled. Returns (leader's network, tokenizer, config).
    """
    import torch.multiprocessing as mp

    if dist.is_initialized():
        raise SphinxError(
            "this process shares a network with others already; close that one, or load the "
            "second in another process"
        )
    folder = Path(tempfile.mkdtemp(prefix="sphinx_team_"))
    store, size = f"file://{folder / 'store'}", len(devices)
    context = mp.get_context("spawn")
    followers = [
        context.Process(
            target=_follower,
            args=(rank, size, str(devices[rank]), store, str(checkpoint), load),
            daemon=True,
            name=f"sphinx-rank-{rank}",
        )
        for rank in range(1, size)
    ]
    for process in followers:
        process.start()
    share_processors(size, devices[0])
    member = Member(0, size, devices[0], store)
    model, tokenizer, config = member.load(load, checkpoint)
    return Leader(model, member.words, followers, folder), tokenizer, config


def share_processors(size: int, device: torch.device) -> None:
    """Leave the other processes their share of the CPU's cores."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))


def _follower(
    rank: int, size: int, device: str, store: str, checkpoint: str, load: Callable
) -> None:
    """A follower's whole life."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the leader's business
    share_processors(size, torch.device(device))
    member = Member(rank, size, torch.device(device), store)
    made = member.load(load, checkpoint)
    if made is not None:
        member.follow(made[0])


def join_torchrun(checkpoint: str | Path, load: Callable):
    """This process as one of those that torchrun started. Only rank 0 returns, with (network,
    tokenizer, config); the others follow it and then end.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = int(os.environ.get("LOCAL_RANK", rank))
    cuda = torch.cuda.device_count() > local
    device = torch.device(f"cuda:{local}" if cuda else "cpu")
    share_processors(size, device)
    member = Member(rank, size, device, "env://")
    made = member.load(load, checkpoint)
    if rank == 0:
        model, tokenizer, config = made
        return Leader(model, member.words), tokenizer, config
    if made is not None:
        member.follow(made[0])
    sys.exit(0)
