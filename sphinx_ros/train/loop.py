"""The training run: processes that share gradients, two stages, one clock, resumable.

The clock is wall time, not steps: a busy machine gets a shorter run of the same shape, learning
rate decay included. State is saved every few minutes; a run started again goes on from there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.train import recipe
from sphinx_ros.train.data import Packer, Scenes, batches
from sphinx_ros.train.network import Average, Trained, groups, initialise


def rate(schedule: recipe.Schedule, elapsed: float) -> tuple[bool, float]:
    """(whether the towers learn alone, learning rate) after ``elapsed`` minutes."""
    first = schedule.minutes * schedule.towers_share
    alone = elapsed < first
    share = elapsed / first if alone else (elapsed - first) / (schedule.minutes - first)
    peak = schedule.towers_rate if alone else schedule.rate
    warm = min(1.0, share / schedule.warmup_share)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    # the towers hand over while still learning: their stage decays to a fifth only
    floor = 0.2 if alone else schedule.final_factor
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


class Run:
    """One process of a run. folder: state, log and exports; scenes: the rendered shards."""

    def __init__(self, rank: int, world: int, folder: Path, scenes: Path, tokenizer_path: Path,
                 schedule: recipe.Schedule, seed: int):  # fmt: skip
        from sphinx_ros.prompt.tokenizer import Tokenizer

        self.rank, self.world, self.folder, self.schedule = rank, world, folder, schedule
        self.tokenizer_path = tokenizer_path
        self.tokenizer = Tokenizer(str(tokenizer_path))
        self.config = ModelConfig.from_json(recipe.SIZES, recipe.VARIANT, self.tokenizer.n_words)
        self.net = Trained(self.config)
        initialise(self.net.model, seed)
        self.average = Average(self.net, schedule.average)
        self.optimizer = torch.optim.AdamW(groups(self.net, schedule), lr=1.0, betas=(0.9, 0.98))
        self.seconds, self.images = 0.0, 0
        state = folder / "state.pt"
        if state.exists():
            self.restore(torch.load(state, weights_only=True))
        rng = np.random.default_rng([seed, rank, self.images])
        packer = Packer(self.tokenizer, schedule.text_tokens)
        self.scenes = Scenes(scenes)
        self.alone_batches = batches(self.config, self.scenes, schedule.towers_batch, None, rng)
        self.joint_batches = batches(self.config, self.scenes, schedule.batch, packer, rng)

    def restore(self, state: dict) -> None:
        """Take up a saved run."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.values, self.average.steps = state["average"], state["average_steps"]
        self.seconds, self.images = state["seconds"], state["images"]

    def save(self) -> None:
        """Write the state and the averaged model, whole or not at all."""
        from sphinx_ros.checkpoint import save_checkpoint

        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.values,
            "average_steps": self.average.steps,
            "seconds": self.seconds,
            "images": self.images,
        }
        partial = self.folder / "state.part"
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")
        self.average.swap(self.net)
        target = self.folder / "checkpoint.part"
        shutil.rmtree(target, ignore_errors=True)
        save_checkpoint(self.net.model.state_dict(), recipe.SIZES, recipe.VARIANT,
                        self.tokenizer_path, target, dtype=torch.float16)  # fmt: skip
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
        target.rename(self.folder / "checkpoint")
        self.average.swap(self.net)

    def step(self) -> dict[str, float]:
        """One optimiser step of all processes; readable scores of this one."""
        alone, lr = rate(self.schedule, self.seconds / 60)
        batch = next(self.alone_batches if alone else self.joint_batches)
        if alone:
            loss, scores = self.net.towers_loss(batch)
        else:
            loss, scores = self.net.joint_loss(batch, self.schedule.auxiliary)
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

    def agreed_seconds(self, started: float, before: float) -> float:
        """Rank 0's clock, so that all processes change stage and stop at the same step."""
        clock = torch.tensor([before + time.monotonic() - started], dtype=torch.float64)
        if self.world > 1:
            dist.broadcast(clock, 0)
        return clock.item()

    def train(self) -> None:
        """Run until the schedule's minutes are used up."""
        from tqdm import tqdm

        started, before = time.monotonic(), self.seconds
        limit = self.schedule.minutes * 60
        next_save = self.seconds + self.schedule.save_minutes * 60
        next_score = self.seconds + self.schedule.score_minutes * 60
        log = (self.folder / "log.jsonl").open("a") if self.rank == 0 else None
        bar = tqdm(total=round(limit), initial=round(self.seconds), unit="s", desc="training",
                   disable=self.rank != 0, mininterval=10)  # fmt: skip
        recent: list[dict] = []
        parent = os.getppid()
        while self.seconds < limit:
            if os.getppid() != parent:  # the launcher was killed: its children end with it
                return
            recent.append(self.step())
            self.seconds = self.agreed_seconds(started, before)
            if self.rank:
                if self.seconds >= next_score:
                    next_score = self.seconds + self.schedule.score_minutes * 60
                continue
            if len(recent) >= 25:
                mean = average_scores(recent)
                mean |= {"minutes": self.seconds / 60, "images": self.images,
                         "scenes": len(self.scenes)}  # fmt: skip
                log.write(json.dumps({k: round(v, 5) for k, v in mean.items()}) + "\n")
                log.flush()
                bar.n = round(self.seconds)
                shown = {k: f"{mean[k]:.3f}" for k in ("loss", "iou", "token") if k in mean}
                bar.set_postfix(images=self.images, **shown)
                recent.clear()
            if self.seconds >= next_save:
                self.save()
                next_save = self.seconds + self.schedule.save_minutes * 60
        bar.close()
        if self.rank == 0:
            self.save()


def average_scores(rows: list[dict]) -> dict[str, float]:
    """Mean of each score over the rows that have it."""
    keys = {k for row in rows for k in row}
    return {k: float(np.mean([row[k] for row in rows if k in row])) for k in sorted(keys)}


def process(rank: int, world: int, arguments: dict) -> None:
    """Entry point of one training process."""
    torch.set_num_threads(1)
    if world > 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        dist.init_process_group("gloo", rank=rank, world_size=world)
    Run(rank, world, **arguments).train()
    if world > 1:
        dist.destroy_process_group()


def train(folder: Path, scenes: Path, tokenizer_path: Path, schedule: recipe.Schedule,
          processes: int = 2, seed: int = 0, port: int = 29511) -> None:  # fmt: skip
    """Train with ``processes`` single-threaded processes (two beat one with two threads)."""
    import torch.multiprocessing as mp

    folder.mkdir(parents=True, exist_ok=True)
    # Big buffers that go back to the kernel after every step cost 40 % of the towers' time.
    os.environ.update(
        MALLOC_MMAP_THRESHOLD_=str(4 << 30), MALLOC_TRIM_THRESHOLD_=str(8 << 30),
        MALLOC_TOP_PAD_=str(256 << 20), MALLOC_ARENA_MAX="2", OMP_WAIT_POLICY="passive",
        OMP_NUM_THREADS="1", MASTER_PORT=str(port),
    )  # fmt: skip
    arguments = {"folder": folder, "scenes": scenes, "tokenizer_path": tokenizer_path,
                 "schedule": schedule, "seed": seed}  # fmt: skip
    mp.spawn(process, args=(processes, arguments), nprocs=processes)
