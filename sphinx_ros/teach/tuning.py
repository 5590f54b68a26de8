"""A plan and a folder -> a checkpoint that was taught: an adapter, or a whole checkpoint.

RUN/plan.json      settings and versions          RUN/log.jsonl     losses and checks
RUN/state.pt       to go on from                  RUN/best.pt       lowest held-out loss so far
RUN/bad_rows.jsonl rows that can't be used        RUN/results.json  before and after
RUN/adapter/ (or RUN/checkpoint/)                 the result; there when the run has ended
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sphinx_ros import __version__
from sphinx_ros.checkpoint.convert import entries_of, write
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.interrupts import load_torch, noted
from sphinx_ros.runtime.peers import Peers
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.low_rank import adapter_of
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.states import read_state
from sphinx_ros.teach.tuned import ALONE, BEST, STATE, Tuned

SAVE_SECONDS = 60.0
"""Between two saved states, beside those at the end of each epoch."""

PLAN, LOG, RESULTS, BAD = "plan.json", "log.jsonl", "results.json", "bad_rows.jsonl"

REMEDY = "start the same command with --resume to go on"


def tune(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    kind: torch.dtype = torch.float32,
    peers: Peers = ALONE,
) -> dict[str, Any]:
    """Teach a checkpoint; the contents of ``results.json``.

    Args:
        folder: the run's, RUN above. resume: go on from what is there; what has ended is told
            again. device, kind: where the network is, and its number type; factors and what
            learns are float32. peers: the processes that teach together, see
            :func:`sphinx_ros.runtime.peers.joined`; all call this, and see one folder.

    Raises:
        BadRequest: data or settings that can't be used; a folder that holds another run.
        CheckpointError: the checkpoint can't be used, or the training diverged.
        SphinxError: NOT_ACTIVE: another of the processes was lost.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the state was saved.
    """
    load_torch()
    with peers.in_step(REMEDY):
        ended = None
        with peers.agreed():
            if peers.leads:
                ended = looked_into(folder, plan, resume)
        ended = peers.first(ended)
        if ended is not None:
            return ended
        tuned = Tuned(plan, folder, device or torch.device("cpu"), kind, peers)
        begin(tuned)
        learn_all(tuned)
        results = finish(tuned) if peers.leads else {}
        return peers.first(results)


def looked_into(folder: Path, plan: Plan, resume: bool) -> dict[str, Any] | None:
    """Make a run's folder; the results of a run that has ended there.

    Raises:
        BadRequest: it holds a run that is not to go on, or one with other settings.
    """
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
    return None


def begin(tuned: Tuned) -> None:
    """Go on from what was saved; where nothing was, score the checkpoint as it is."""
    folder, peers = tuned.folder, tuned.peers
    if peers.leads:
        tuned.data.write_bad(folder / BAD)
    if peers.first((folder / STATE).exists()):
        tuned.restore()
        return
    if peers.leads:
        versions = {"sphinx_ros": __version__, "torch": torch.__version__}
        said = {"plan": tuned.plan.as_json(), "base": tuned.base, **versions}
        write_text(folder / PLAN, json.dumps(said, indent=1) + "\n")
    tuned.check()
    tuned.save()


class Log:
    """Lines of ``log.jsonl``; those of steps after the saved state are taken back.

    path: None where another process writes it.
    """

    def __init__(self, path: Path | None, step: int):
        kept = []
        self._path = path
        if path is None:
            return
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    kept += [line] if json.loads(line)["step"] <= step else []
                except (ValueError, KeyError, TypeError):
                    continue  # cut off by the end of the process
        write_text(path, "".join(f"{line}\n" for line in kept))

    def write(self, lines: Sequence[dict[str, float]]) -> None:
        """Some more lines."""
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                for one in lines:
                    file.write(json.dumps({k: round(v, 6) for k, v in one.items()}) + "\n")


def learn_all(tuned: Tuned) -> None:
    """Steps up to the end of the run, with a progress bar; the state is saved again and again.

    Raises:
        KeyboardInterrupt: one of the processes was told to stop. The step under way is made, the
            state saved; told twice it stops at once. SystemExit: in processes that do not lead.
    """
    peers = tuned.peers
    log = Log(tuned.folder / LOG if peers.leads else None, tuned.step)
    saved = time.monotonic()
    shown: dict[str, str] = {}
    bar = Progress(tuned.steps, "tuning", "step", tuned.step, shown=peers.leads)
    with bar, noted() as told:
        while not tuned.ended:
            loss = tuned.learn()
            lines = [{"step": float(tuned.step), "loss": loss}]
            if tuned.epoch_ends:
                found = tuned.check()
                lines.append({f"held_{k}" if k != "step" else k: v for k, v in found.items()})
                shown = {f"held-out {k}": f"{found[k]:.3f}" for k in ("loss", "f1") if k in found}
            log.write(lines)
            due = peers.leads and time.monotonic() - saved > SAVE_SECONDS
            stop, due = (n > 0 for n in peers.sum(bool(told), due))  # all do the same
            if stop or due or tuned.epoch_ends:
                tuned.save()
                saved = time.monotonic()
            bar.reach(tuned.step, loss=f"{loss:.3f}", **shown)
            if stop and not tuned.ended:
                raise KeyboardInterrupt if peers.leads else SystemExit(1)


def finish(tuned: Tuned) -> dict[str, Any]:
    """Write the best weights as the result, and what came of it; the leader's work."""
    plan, folder, data = tuned.plan, tuned.folder, tuned.data
    taught = read_state(folder / BEST)
    if plan.full:
        target = folder / "checkpoint"
        if target.exists():  # of a run that was killed just behind this
            shutil.rmtree(target)
        result = write_whole(plan.checkpoint, taught, target)
    else:
        alpha = plan.strength * plan.alpha
        made = adapter_of(taught, plan.rank, alpha, tuned.base, plan.checkpoint)
        result = made.write(folder / "adapter")
    lowest = min(tuned.checks, key=lambda one: one.get("loss", -one["step"]))
    results = {
        "result": str(result),
        "checkpoint": str(result) if plan.full else f"{plan.checkpoint}+{result}",
        "pictures": len(data.images),
        "examples": len(data.examples),
        "formats": dict(data.formats),
        "bad_rows": len(data.bad),
        "left_out": dict(data.left_out),
        "rows": len(tuned.rows.learnt),
        "steps": tuned.step,
        "minutes": round(tuned.seconds / 60, 3),
        "share": sum(one.numel() for one in taught.values()) / tuned.numbers,
        "before": tuned.checks[0],
        "after": lowest,
    }
    write_text(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    return results


def write_whole(checkpoint: str, taught: dict[str, torch.Tensor], target: Path) -> Path:
    """The taught weights as a checkpoint of safetensors, in the type of the one it began with."""
    stored = open_checkpoint(checkpoint)

    def tensors(order: Any) -> Iterator[torch.Tensor]:
        """What was taught, and all else as it was."""
        for entry in order:
            value = taught.get(entry.key)
            yield stored.mapped(entry.key) if value is None else value.to(entry.dtype)

    return write(stored, entries_of(stored), tensors, target, None)
