"""The state of a run that teaches a checkpoint -> one step further, checked, saved.

A step learns from a few rows; the order of rows is drawn for each epoch by its number, and nothing
else is drawn, so that a run that goes on after it was killed ends with the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.checkpoint.adapter import fingerprint
from sphinx_ros.checkpoint.names import parted as parted_name
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.runtime.files import replaced
from sphinx_ros.teach.dataset import read_data
from sphinx_ros.teach.example import Data, Example, Shown
from sphinx_ros.teach.habit import writing_of
from sphinx_ros.teach.held_out import answers, parted, scores
from sphinx_ros.teach.learning import answers_loss, image_tokens
from sphinx_ros.teach.looks_kept import LooksKept
from sphinx_ros.teach.low_rank import add_factors, let_all_learn
from sphinx_ros.teach.packed import Packing, Words
from sphinx_ros.teach.plan import Plan

STATE, BEST = "state.pt", "best.pt"
"""Files of a run's folder: to go on from, and what had the lowest held-out loss."""

PackedRow = tuple[Shown, list[Words]]
"""A picture, and conversations about it that share a row."""


class Tuned:
    """A checkpoint that is being taught.

    Attributes:
        data: what was read. rows, held_rows: to learn, and held out. held: held-out examples that
            are answered in full. steps: of the whole run. step: how many are done. best: lowest
            held-out loss so far; waited: checks since then. base: fingerprint of the checkpoint.
    """

    def __init__(self, plan: Plan, folder: Path, device: torch.device, kind: torch.dtype):
        self.plan, self.folder, self.device = plan, folder, device
        if parted_name(plan.checkpoint)[1] is not None and not plan.full:
            raise BadRequest(
                f"{plan.checkpoint} has an adapter already, and a second one would have no name: "
                "make one checkpoint of it first (sphinx-ros merge), and teach that"
            )
        self.base = fingerprint(open_checkpoint(plan.checkpoint))
        kind = torch.float32 if plan.full else kind
        if plan.full and plan.quantise:
            raise BadRequest("what all learns can't be held in fewer bits: leave out --quantise")
        given = {"device": device, "dtype": kind, "quantise": plan.quantise}
        loaded = load_checkpoint(plan.checkpoint, **given)
        self.model, self.tokenizer, config = loaded
        self.writing = writing_of(self.model, self.tokenizer)
        self.data = read_data(plan.data, self.writing, plan.mirror)
        room = min(plan.tokens, config.max_seq_len - config.image_words)
        self.packing = Packing(self.tokenizer, room)
        words = self._words(self.data)
        images, held_images = parted(self.data.images, plan.held_out, plan.seed)
        learnt = [shown for shown in self.data.pictures if shown.image in set(images)]
        held = [shown for shown in map(Shown, held_images) if shown in self.data.pictures]
        self.rows, self.held_rows = self._rows(learnt, words), self._rows(held, words)
        if not self.rows:
            raise BadRequest("no row is left to learn: give more pictures, or a lower --held-out")
        self.held = self._to_ask(held)
        if plan.full:
            let_all_learn(self.model, plan.towers)
        else:
            add_factors(self.model, plan.rank, plan.alpha, plan.towers, plan.seed)
        room_gb = int(plan.keep_gb * 1e9)
        self.looks = LooksKept(self.model, room_gb, learning=plan.towers)
        self.learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learning, lr=plan.rate, betas=(0.9, 0.95), weight_decay=plan.decay
        )
        self.steps = plan.steps(len(self.rows))
        self.step, self.seconds, self.waited, self.best = 0, 0.0, 0, float("inf")
        self.checks: list[dict[str, float]] = []

    def _words(self, data: Data) -> dict[int, Words]:
        """The tokens of each example by its number; one without is a bad row."""
        words = {}
        for one in data.examples:
            with data.row(one.where):
                words[id(one)] = self.packing.words(one)
        return words

    def _rows(self, pictures: Sequence[Shown], words: dict[int, Words]) -> list[PackedRow]:
        found = self.data.pictures
        rows = []
        for shown in pictures:
            usable = [words[id(one)] for one in found[shown] if id(one) in words]
            rows += [(shown, row) for row in self.packing.rows(usable)]
        return rows

    def _to_ask(self, pictures: Sequence[Shown]) -> list[Example]:
        """Held-out examples of one round, drawn, at most as many as the plan says."""
        found = self.data.pictures
        single = [one for shown in pictures for one in found[shown] if len(one.rounds) == 1]
        order = np.random.default_rng([self.plan.seed, 2]).permutation(len(single))
        return [single[i] for i in sorted(order[: self.plan.ask])]

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or the held-out loss has not fallen for long."""
        return self.step >= self.steps or 0 < self.plan.patience <= self.waited

    @property
    def epoch_ends(self) -> bool:
        """Whether the step just made was the last of an epoch."""
        return self.step % self.plan.steps_of_epoch(len(self.rows)) == 0

    def _loss(self, rows: Sequence[PackedRow]) -> tuple[torch.Tensor, int, int]:
        """Sum of losses of some rows, learnt tokens, and how many of them are right."""
        pictures = list(dict.fromkeys(image for image, _ in rows))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            image = image_tokens(self.model, [self.looks.of(one) for one in pictures])
            chosen = torch.tensor([pictures.index(one) for one, _ in rows], device=self.device)
            batch = self.packing.batch([row for _, row in rows], self.device)
            return answers_loss(self.model, batch, image[chosen], self.plan.checkpointing)

    def learn(self) -> float:
        """One step; the mean loss of its answers' tokens.

        Raises:
            CheckpointError: the loss is not finite.
        """
        began, plan = time.monotonic(), self.plan
        each = plan.steps_of_epoch(len(self.rows))
        epoch, at = divmod(self.step, each)
        order = np.random.default_rng([plan.seed, 3, epoch]).permutation(len(self.rows))
        rows = [self.rows[i] for i in order[at * plan.batch : (at + 1) * plan.batch]]
        total, number, _ = self._loss(rows)
        loss = total / number
        if not torch.isfinite(loss):
            raise CheckpointError(
                f"the loss of step {self.step + 1} is {loss.item()}: the training diverged; "
                f"begin anew with a lower --rate than {plan.rate:g}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learning, plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step, self.steps)
        self.optimizer.step()
        self.step += 1
        self.seconds += time.monotonic() - began
        return loss.item()

    @torch.no_grad()
    def check(self, ask: bool = True) -> dict[str, float]:
        """Held-out loss, share of tokens right, and scores of full answers; keeps the best.

        Without held-out pictures the newest weights are the best.
        """
        total, number, right = 0.0, 0, 0
        for row in self.held_rows:
            one, count, hits = self._loss([row])
            total, number, right = total + one.item(), number + count, right + hits
        found = {"step": float(self.step)}
        if number:
            found |= {"loss": total / number, "tokens": right / number}
        if ask and self.held:
            found |= scores(self.held, answers(self.model, self.tokenizer, self.held))
        self.checks.append(found)
        if found.get("loss", -self.step) < self.best:
            self.best, self.waited = found.get("loss", -self.step), 0
            with replaced(self.folder / BEST) as file:
                torch.save(self._taught(), file)
        else:
            self.waited += 1
        return found

    def _taught(self) -> dict[str, torch.Tensor]:
        named = self.model.named_parameters()
        return {name: p.detach().cpu() for name, p in named if p.requires_grad}

    def save(self) -> None:
        """Write what is needed to go on, whole or not at all."""
        state = {
            "taught": self._taught(),
            "optimizer": self.optimizer.state_dict(),
            "numbers": (self.step, self.seconds, self.waited, self.best),
            "checks": self.checks,
            "plan": self.plan.as_json(),
            "base": self.base,
            "rows": len(self.rows),
        }
        with replaced(self.folder / STATE) as file:
            torch.save(state, file)

    def restore(self) -> None:
        """Go on from what was saved.

        Raises:
            BadRequest: it was begun with other settings. CheckpointError: of other weights.
        """
        state: dict[str, Any] = torch.load(self.folder / STATE, weights_only=True)
        self.plan.check_goes_on(state["plan"])
        if state["base"] != self.base or state["rows"] != len(self.rows):
            raise CheckpointError(
                f"{self.folder / STATE} is of {state['rows']} rows and a checkpoint "
                f"{state['base'][:16]}..., and these are {len(self.rows)} rows and "
                f"{self.base[:16]}...: give the same data and checkpoint, or another --out"
            )
        self.take(state["taught"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.waited, self.best = state["numbers"]
        self.checks = state["checks"]

    def take(self, taught: dict[str, torch.Tensor]) -> None:
        """Put values into the parameters that learn."""
        named = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in taught.items():
                named[name].copy_(value)

    def take_best(self) -> None:
        """Put the values of the lowest held-out loss into the network."""
        self.take(torch.load(self.folder / BEST, weights_only=True, map_location="cpu"))
