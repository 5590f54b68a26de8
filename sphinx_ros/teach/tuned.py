"""The state of a run that teaches a checkpoint -> one step further, checked, saved.

A step learns from a few rows; the order of rows is drawn for each epoch by its number, and nothing
else is drawn, so that a run that goes on after it was killed ends with the same weights. Where
several processes learn, each computes a part of the rows of a step, and the sum of the gradients
is that of one process with all of them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.checkpoint.adapter import fingerprint
from sphinx_ros.checkpoint.names import parted as parted_name
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.runtime.peers import Peers
from sphinx_ros.teach.asked_together import Asking
from sphinx_ros.teach.dataset import read_data
from sphinx_ros.teach.example import Data
from sphinx_ros.teach.habit import writing_of
from sphinx_ros.teach.held_out import scores
from sphinx_ros.teach.learner import (
    Learner,
    like,
    optimizer_state,
    spread_weights,
    take_optimizer_state,
    whole_value,
)
from sphinx_ros.teach.learning import answers_logits, answers_loss, image_tokens
from sphinx_ros.teach.looks_kept import LooksKept
from sphinx_ros.teach.low_rank import add_factors, let_all_learn, weakened
from sphinx_ros.teach.own_answers import AnswersKept, own_answers
from sphinx_ros.teach.packed import Packing
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.rows import PackedRow, Rows, learnt_tokens, rows_of
from sphinx_ros.teach.said import Writing
from sphinx_ros.teach.shown import Views
from sphinx_ros.teach.states import read_state, write_state

STATE, BEST, OWN = "state.pt", "best.pt", "remembered.json"
"""Files of a run's folder: to go on from; what had the lowest held-out loss; what the checkpoint
answered about views of what it must not forget.
"""

ALONE = Peers()


class Tuned:
    """A checkpoint that is being taught.

    Attributes:
        data: what was read; the leader's alone. rows: what is learnt, and what is held out.
            steps: of the whole run. step: how many are done. best: lowest held-out loss so far;
            waited: checks since then. base: fingerprint of the checkpoint; kind: in which form it
            is held; numbers: how many it has. peers: the processes
            that learn together; all make the same calls.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        device: torch.device,
        kind: torch.dtype,
        peers: Peers = ALONE,
    ):
        self.plan, self.folder, self.device, self.peers = plan, folder, device, peers
        with peers.agreed():
            self._load(torch.float32 if plan.full else kind)
        self.learner = Learner(self.model)
        if plan.shard:
            spread_weights(self.learner, peers, device)
        config = self.model.config
        self.asking = Asking(self.learner, self.tokenizer, peers)
        if plan.shard and not plan.ask:  # for a network that no process can hold as a whole
            writing = Writing(config.coordinate_decimals)
        else:
            writing = self.asking.with_all_weights(writing_of)
        self.packing = Packing(
            self.tokenizer, plan.tokens, config.max_seq_len - config.image_words
        )
        self.data, rows = Data(), Rows([], [], [], "")
        with peers.agreed():
            if peers.leads:
                views = Views(plan.mirror, plan.crops)
                self.data = read_data(plan.data, writing, views, plan.remember)
        if plan.remember_views:
            kept = AnswersKept(folder / OWN, f"{self.base}, {self.kind}")
            own = own_answers(self.data, plan, self.packing, self.asking, kept)
            self.data.examples += own
            self.data.formats["own answers"] += len(own)
        with peers.agreed():
            if peers.leads:
                rows = rows_of(self.data, self.packing, plan)
        self.rows = peers.first(rows)
        room_gb = int(plan.keep_gb * 1e9)
        self.looks = LooksKept(self.model, room_gb, learning=plan.towers)
        self.learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learning, lr=plan.rate, betas=(0.9, 0.95), weight_decay=plan.decay
        )
        self.steps = plan.steps(len(self.rows.learnt))
        self.step, self.seconds, self.waited, self.best = 0, 0.0, 0, float("inf")
        self.checks: list[dict[str, float]] = []

    def _load(self, kind: torch.dtype) -> None:
        """The network with what learns. Raises BadRequest, CheckpointError."""
        plan = self.plan
        plan.check_works(self.peers.size)
        if parted_name(plan.checkpoint)[1] is not None and not plan.full:
            raise BadRequest(
                f"{plan.checkpoint} has an adapter already, and a second one would have no name: "
                "make one checkpoint of it first (sphinx-ros merge), and teach that"
            )
        stored = open_checkpoint(plan.checkpoint)
        self.base, self.kind = fingerprint(stored), f"{kind}, {plan.quantise}"
        self.numbers = sum(parameter.numel() for parameter in stored.model.parameters())
        # what is spread over devices goes there part by part
        place: dict[str, Any] = {
            "device": "cpu" if plan.shard else self.device,
            "computes_on": self.device,
        }
        place |= {"dtype": kind, "quantise": plan.quantise, "pack": False}
        loaded = load_checkpoint(plan.checkpoint, **place)
        self.model, self.tokenizer, _ = loaded
        self.model.keep_plain()
        if plan.full:
            let_all_learn(self.model, plan.towers)
        else:
            how = plan.rank, plan.alpha, plan.towers, plan.seed, plan.projection_rank
            add_factors(self.model, *how)

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or the held-out loss has not fallen for long."""
        return self.step >= self.steps or 0 < self.plan.patience <= self.waited

    @property
    def epoch_ends(self) -> bool:
        """Whether the step just made was the last of an epoch."""
        return self.step % self.plan.steps_of_epoch(len(self.rows.learnt)) == 0

    def _loss(self, rows: Sequence[PackedRow], known: bool) -> tuple[Tensor, int, int]:
        """Sum of losses of some rows, learnt tokens, and how many of them are right.

        known: some process has a row whose answers are to stay as they are. Where the weights are
        spread, all compute what they were, or none could.
        """
        pictures = list(dict.fromkeys(image for image, _ in rows))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            batch = self.packing.batch([row for _, row in rows], self.device)
            chosen = torch.tensor([pictures.index(one) for one, _ in rows], device=self.device)

            def image() -> Tensor:
                looks = [self.looks.of(one) for one in pictures]
                return image_tokens(self.model, looks)[chosen]

            before = None
            if batch.known is not None or (known and self.learner.spread):
                with weakened(self.model, 0.0):
                    before = answers_logits(self.model, batch, image())
            keep = self.plan.checkpointing, before, self.plan.remember_weight
            return answers_loss(self.model, batch, image(), *keep)

    def _part_loss(self, rows: Sequence[PackedRow]) -> tuple[Tensor, int, int]:
        """:meth:`_loss` of this process's part of some rows.

        One without a part computes another row for nothing: the others meet it on the way.
        """
        mine = self.peers.share(rows)
        known = any(one.known for _, row in rows for one in row)
        work = functools.partial(self._loss, mine or rows[:1], known)
        total, number, right = self.learner(work)
        return (total, number, right) if mine else (total * 0.0, 0, 0)

    def _next_rows(self) -> list[PackedRow]:
        """The rows of the next step, of all processes."""
        plan, learnt = self.plan, self.rows.learnt
        epoch, at = divmod(self.step, plan.steps_of_epoch(len(learnt)))
        order = np.random.default_rng([plan.seed, 3, epoch]).permutation(len(learnt))
        return [learnt[i] for i in order[at * plan.batch : (at + 1) * plan.batch]]

    def learn(self) -> float:
        """One step; the mean loss of its answers' tokens, over all processes.

        Raises:
            CheckpointError: the loss is not finite.
        """
        began, plan, peers = time.monotonic(), self.plan, self.peers
        rows = self._next_rows()
        number = learnt_tokens(rows)
        total, _, _ = self._part_loss(rows)
        (loss,) = peers.sum(total.item() / number)
        if not np.isfinite(loss):  # so for all processes
            with peers.agreed():
                raise CheckpointError(
                    f"the loss of step {self.step + 1} is {loss}: the training diverged; "
                    f"begin anew with a lower --rate than {plan.rate:g}"
                )
        self.optimizer.zero_grad(set_to_none=True)
        if self.learner.spread:  # FSDP gives each the mean of the gradients
            (total / number * peers.size).backward()
        else:
            (total / number).backward()
            peers.sum_gradients(self.learning)
        nn.utils.clip_grad_norm_(self.learning, plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate_at(self.step, self.steps)
        self.optimizer.step()
        self.step += 1
        self.seconds += time.monotonic() - began
        return loss

    def check(self) -> dict[str, float]:
        """Held-out loss, share of tokens right, and scores of full answers; keeps the best.

        They are those of the result, at the plan's strength. Without held-out pictures the newest
        weights are the best.
        """
        with weakened(self.model, self.plan.strength):
            return self._check()

    def _check(self) -> dict[str, float]:
        sums, held = np.zeros(3), self.rows.held
        for at in range(0, len(held), self.peers.size):
            one, count, hits = self._part_loss(held[at : at + self.peers.size])
            sums += [one.item(), count, hits]
        total, number, right = self.peers.sum(*sums)
        found = {"step": float(self.step)}
        if number:
            found |= {"loss": total / number, "tokens": right / number}
        if self.rows.asked:
            found |= scores(self.rows.asked, self.asking.answers(self.rows.asked))
        self.checks.append(found)
        if found.get("loss", -self.step) < self.best:
            self.best, self.waited = found.get("loss", -self.step), 0
            self._write(BEST, self._taught())
        else:
            self.waited += 1
        return found

    def _taught(self) -> dict[str, Tensor]:
        named = self.model.named_parameters()
        return {name: whole_value(p) for name, p in named if p.requires_grad}

    def _write(self, name: str, value: Any) -> None:
        if self.peers.leads:
            write_state(self.folder / name, value)

    def save(self) -> None:
        """Write what is needed to go on, whole or not at all."""
        state = {
            "taught": self._taught(),
            "optimizer": optimizer_state(self.optimizer),
            "numbers": (self.step, self.seconds, self.waited, self.best),
            "checks": self.checks,
            "plan": self.plan.as_json(),
            "base": self.base,
            "rows": self.rows.digest,
        }
        self._write(STATE, state)

    def restore(self) -> None:
        """Go on from what was saved, by any number of processes.

        Raises:
            BadRequest: it was begun with other settings. CheckpointError: of other weights or
                data, or the file is damaged.
        """
        with self.peers.agreed():
            state = read_state(self.folder / STATE)
            self.plan.check_goes_on(state["plan"])
            if state["base"] != self.base or state["rows"] != self.rows.digest:
                what = "checkpoint" if state["base"] != self.base else "data"
                raise CheckpointError(
                    f"{self.folder / STATE} was saved with another {what} than there is now: "
                    f"give the {what} as it was, or begin another run (--out)"
                )
        self.take(state["taught"])
        take_optimizer_state(self.optimizer, state["optimizer"])
        self.step, self.seconds, self.waited, self.best = state["numbers"]
        self.checks = state["checks"]

    def take(self, taught: dict[str, Tensor]) -> None:
        """Put values into the parameters that learn."""
        named = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in taught.items():
                named[name].copy_(like(value, named[name]))

    def take_best(self) -> None:
        """Put the values of the lowest held-out loss into the network."""
        self.take(read_state(self.folder / BEST))
