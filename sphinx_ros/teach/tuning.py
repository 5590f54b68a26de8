"""A plan and a folder -> a checkpoint that was taught: an adapter, or a whole checkpoint.

RUN/plan.json      settings and versions          RUN/log.jsonl     losses and checks
RUN/state.pt       to go on from                  RUN/best.pt       lowest held-out loss so far
RUN/bad_rows.jsonl rows that can't be used        RUN/results.json  before and after
RUN/adapter/ (or RUN/checkpoint/)                 the result; there when the run has ended
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from sphinx_ros import __version__
from sphinx_ros.checkpoint.convert import entries_of, write
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.low_rank import adapter_of
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.tuned import STATE, Tuned

SAVE_SECONDS = 60.0
"""Between two saved states, beside those at the end of each epoch."""

PLAN, LOG, RESULTS, BAD = "plan.json", "log.jsonl", "results.json", "bad_rows.jsonl"


def tune(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    kind: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Teach a checkpoint; the contents of ``results.json``.

    Args:
        folder: the run's, RUN above. resume: go on from what is there; what has ended is told
            again. device, kind: where the network is, and its number type; factors and what
            learns are float32.

    Raises:
        BadRequest: data or settings that can't be used; a folder that holds another run.
        CheckpointError: the checkpoint can't be used, or the training diverged.
        KeyboardInterrupt: on Ctrl-C, after the state was saved.
    """
    load_torch()
    begun = (folder / STATE).exists() or (folder / PLAN).exists()
    if begun and not resume:
        raise BadRequest(
            f"{folder} holds a run already: add --resume to go on with it, or name another folder"
        )
    if (folder / RESULTS).exists():
        before = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        plan.check_goes_on(before["plan"])
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    tuned = Tuned(plan, folder, device or torch.device("cpu"), kind)
    tuned.data.write_bad(folder / BAD)
    if (folder / STATE).exists():
        tuned.restore()
    else:
        versions = {"sphinx_ros": __version__, "torch": torch.__version__}
        said = {"plan": plan.as_json(), "base": tuned.base, **versions}
        write_text(folder / PLAN, json.dumps(said, indent=1) + "\n")
        tuned.check()
        tuned.save()
    learn_all(tuned, Log(folder / LOG, tuned.step))
    return finish(tuned)


class Log:
    """Lines of ``log.jsonl``; those of steps after the saved state are taken back."""

    def __init__(self, path: Path, step: int):
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    kept += [line] if json.loads(line)["step"] <= step else []
                except (ValueError, KeyError, TypeError):
                    continue  # cut off by the end of the process
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._path = path

    def write(self, values: dict[str, float]) -> None:
        """One more line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) for k, v in values.items()}) + "\n")


def learn_all(tuned: Tuned, log: Log) -> None:
    """Steps up to the end of the run, with a progress bar; the state is saved again and again."""
    saved = time.monotonic()
    shown: dict[str, str] = {}
    with Progress(tuned.steps, "tuning", "step", tuned.step) as bar:
        try:
            while not tuned.ended:
                loss = tuned.learn()
                log.write({"step": tuned.step, "loss": loss})
                if tuned.epoch_ends:
                    found = tuned.check()
                    log.write({f"held_{k}" if k != "step" else k: v for k, v in found.items()})
                    shown = {k: f"{found[k]:.3f}" for k in ("loss", "f1") if k in found}
                    shown = {f"held-out {name}": value for name, value in shown.items()}
                if tuned.epoch_ends or time.monotonic() - saved > SAVE_SECONDS:
                    tuned.save()
                    saved = time.monotonic()
                bar.reach(tuned.step, loss=f"{loss:.3f}", **shown)
        except KeyboardInterrupt:
            tuned.save()
            raise


def finish(tuned: Tuned) -> dict[str, Any]:
    """Write the best weights as the result, and what came of it."""
    plan, folder = tuned.plan, tuned.folder
    tuned.take_best()
    total = sum(p.numel() for name, p in tuned.model.named_parameters() if ".lora_" not in name)
    if plan.full:
        result = write_whole(tuned, folder / "checkpoint")
        taught = sum(p.numel() for p in tuned.learning)
    else:
        named = plan.checkpoint, plan.rank, plan.alpha
        adapter = adapter_of(tuned.model, named[1], named[2], tuned.base, named[0])
        result, taught = adapter.write(folder / "adapter"), adapter.size
    lowest = min(tuned.checks, key=lambda one: one.get("loss", -one["step"]))
    results = {
        "result": str(result),
        "checkpoint": str(result) if plan.full else f"{plan.checkpoint}+{result}",
        "pictures": len(tuned.data.images),
        "examples": len(tuned.data.examples),
        "formats": dict(tuned.data.formats),
        "bad_rows": len(tuned.data.bad),
        "rows": len(tuned.rows),
        "steps": tuned.step,
        "minutes": round(tuned.seconds / 60, 3),
        "share": taught / total,
        "before": tuned.checks[0],
        "after": lowest,
    }
    write_text(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    return results


def write_whole(tuned: Tuned, target: Path) -> Path:
    """The taught weights as a checkpoint of safetensors, in the type of the one it began with."""
    stored = open_checkpoint(tuned.plan.checkpoint)
    values = dict(tuned.model.named_parameters())

    def tensors(order: Any) -> Any:
        """What was taught, and all else as it was."""
        for entry in order:
            taught = values.get(entry.key)
            if taught is not None and taught.requires_grad:
                yield taught.detach().to("cpu", entry.dtype)
            else:
                yield stored.mapped(entry.key)

    return write(stored, entries_of(stored), tensors, target, None)
