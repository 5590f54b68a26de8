"""The state of a training run -> one step further, saved, scored.

Several processes make their steps together and share their gradients.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.kernels import slow_bfloat16
from sphinx_ros.runtime.files import replaced
from sphinx_ros.train import recipe
from sphinx_ros.train.data import batches
from sphinx_ros.train.initial import grows_into, initialise, take_up
from sphinx_ros.train.packing import Packer
from sphinx_ros.train.rendered import read_shard
from sphinx_ros.train.stream import Scenes
from sphinx_ros.train.trained import Average, Trained, groups, in_decoder

HELD_OUT_SCENES = "held_out.pickle"
"""File in a run's folder: scenes for scores while training; none, no scores."""


def rate(schedule: recipe.Schedule, elapsed: float) -> tuple[bool, float]:
    """(whether the towers learn alone, learning rate) after ``elapsed`` minutes."""
    first = schedule.minutes * schedule.towers_share
    alone = elapsed < first
    share = elapsed / first if alone else (elapsed - first) / (schedule.minutes - first)
    peak = schedule.towers_rate if alone else schedule.rate
    warm = min(1.0, share / schedule.warmup_share)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    floor = schedule.towers_final_factor if alone else schedule.final_factor
    return alone, peak * warm * (floor + (1 - floor) * cosine)


def share_gradients(parameters: list[torch.nn.Parameter], world: int) -> None:
    """Average the gradients over the processes; one that a batch did not touch counts as zero."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if world == 1:
        return
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat.div_(world)
    for p, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad.copy_(piece.view_as(p))


@contextlib.contextmanager
def quick_products() -> Iterator[None]:
    """Products in bfloat16 where the processor has instructions for it; the values stay float32.

    A joint step took three quarters of its time so.
    """
    quick = not slow_bfloat16(torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16, enabled=quick):
        yield


class Run:
    """One process of a run. folder: state, log and exports; scenes: the rendered shards."""

    def __init__(
        self,
        rank: int,
        world: int,
        folder: Path,
        scenes: Path,
        tokenizer_path: Path,
        schedule: recipe.Schedule,
        seed: int,
        start: str | None = None,
    ):
        from sphinx_ros.prompt.tokenizer import Tokenizer

        self.rank, self.world, self.folder, self.schedule = rank, world, folder, schedule
        self.tokenizer_path = tokenizer_path
        self.tokenizer = Tokenizer(str(tokenizer_path))
        self.config = ModelConfig.from_json(recipe.SIZES, recipe.VARIANT, self.tokenizer.n_words)
        self.net = Trained(self.config)
        initialise(self.net.model, seed)
        if start:
            new = self.start_from(start)
            if all(in_decoder(f"model.{key}") for key in new):
                schedule = replace(schedule, towers_share=recipe.GOING_ON_TOWERS_SHARE)
            if not new:
                schedule = replace(schedule, rate=recipe.GOING_ON_RATE)
            self.schedule = schedule
        self.average = Average(self.net, schedule.average)
        self.optimizer = torch.optim.AdamW(groups(self.net, schedule), lr=1.0, betas=recipe.BETAS)
        self.seconds, self.images, self.asked_to_stop = 0.0, 0, False
        state = folder / "state.pt"
        if state.exists():
            self.restore(torch.load(state, weights_only=True))
        rng = np.random.default_rng([seed, rank, self.images])
        packer = Packer(self.tokenizer, schedule.text_tokens)
        self.scenes = Scenes(scenes)
        self.alone_batches = batches(self.config, self.scenes, schedule.towers_batch, None, rng)
        self.joint_batches = batches(self.config, self.scenes, schedule.batch, packer, rng)

    def start_from(self, checkpoint: str) -> list[str]:
        """Begin with the weights of a checkpoint of the same sizes, or with fewer ConvNeXt blocks
        per stage or layers of the decoder; the heads are new. Returns the new keys of the network.
        """
        from sphinx_ros.checkpoint import load_checkpoint

        model, _, config = load_checkpoint(checkpoint)
        if not grows_into(config, self.config):
            raise CheckpointError(
                f"{checkpoint} has other sizes than train/recipe.py ({config.variant}, dim"
                f" {config.dim}); start from a checkpoint of this recipe (or one with fewer"
                " ConvNeXt blocks or decoder layers), or from scratch"
            )
        return take_up(self.net.model, model.state_dict(), config)

    def restore(self, state: dict) -> None:
        """Take up a saved run. Raises CheckpointError where it is of another recipe."""
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder / 'state.pt'} was saved with another recipe "
                f"({str(error).splitlines()[0]}); train into another folder, and to keep what was "
                f"learnt add --start {self.folder / 'checkpoint'}"
            ) from error
        self.average.values, self.average.steps = state["average"], state["average_steps"]
        self.seconds, self.images = state["seconds"], state["images"]

    def save(self) -> None:
        """Write the state and the averaged model.

        Each file is replaced at once, so that whoever reads or is killed has a whole one. All
        checkpoints of a run have the same sizes and words: only the tensors differ.
        """
        from sphinx_ros.checkpoint import save_checkpoint

        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.values,
            "average_steps": self.average.steps,
            "seconds": self.seconds,
            "images": self.images,
        }
        with replaced(self.folder / "state.pt") as file:
            torch.save(state, file)
        self.average.swap(self.net)
        try:
            save_checkpoint(
                self.net.model.state_dict(),
                recipe.SIZES,
                recipe.VARIANT,
                self.tokenizer_path,
                self.folder / "checkpoint",
                dtype=torch.float16,
            )
        finally:
            self.average.swap(self.net)

    def step(self) -> dict[str, float]:
        """One optimiser step of all processes; readable scores of this one."""
        schedule = self.schedule
        alone, lr = rate(schedule, self.seconds / 60)
        batch = next(self.alone_batches if alone else self.joint_batches)
        with quick_products():
            if alone:
                loss, scores = self.net.towers_loss(batch)
            else:
                shares = schedule.auxiliary, schedule.looking, schedule.placing
                loss, scores = self.net.joint_loss(batch, *shares)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learning = self.net.learning(alone)
        share_gradients(learning, self.world)
        norm = torch.nn.utils.clip_grad_norm_(learning, self.schedule.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * (1.0 if alone else group["factor"])
        if torch.isfinite(norm):
            self.optimizer.step()
            self.average.update(self.net)
        self.images += len(batch.pictures) * self.world
        return scores | {"loss": loss.item(), "norm": norm.item(), "lr": lr, "alone": float(alone)}

    def agreed(self, started: float, before: float) -> tuple[float, bool]:
        """Rank 0's clock, and whether it was asked to stop: all processes do so at one step."""
        clock = before + time.monotonic() - started
        said = torch.tensor([clock, self.asked_to_stop], dtype=torch.float64)
        if self.world > 1:
            dist.broadcast(said, 0)
        return said[0].item(), bool(said[1])

    def score(self) -> dict[str, float]:
        """Held-out scores of the averaged model by full answers; few scenes, a rough guide."""
        from sphinx_ros.evaluate.asker import BatchAsker
        from sphinx_ros.evaluate.metrics import table
        from sphinx_ros.evaluate.tabletop import BARS, ask_scenes

        scenes = read_shard(self.folder / HELD_OUT_SCENES)
        self.average.swap(self.net)
        self.net.eval()
        rows = ask_scenes(
            BatchAsker(self.net.model, self.tokenizer), scenes, self.config.image_size, seed=0
        )
        self.net.train()
        self.average.swap(self.net)
        return {name: value for name, value in table(rows).items() if name in BARS}
