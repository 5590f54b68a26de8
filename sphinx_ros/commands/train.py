"""`sphinx-ros train`: render scenes, then train while more are rendered. Knows no network.

folder/tokenizer.model  folder/scenes/  folder/state.pt  folder/log.jsonl  folder/checkpoint/
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from sphinx_ros.checkpoint.names import find
from sphinx_ros.commands.arguments import OK, Parser, add_number
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.runtime.lifeline import end_with_parent
from sphinx_ros.train.recipe import RENDER_SIZES, Schedule, Sizes

ABOUT = """Train the demonstration model from scratch, on the CPU, on simulated scenes.

  sphinx-ros train                                      the whole recipe: 2.4 hours on two cores
  sphinx-ros train --minutes 10 --scenes 2000           a try; the answers will be poor
  sphinx-ros train --folder runs/demo                   the same folder again: goes on

The bundled model had several such runs, each from the weights of the one before:
docs/training.md.

Scenes are rendered in the background while training runs. Ctrl-C saves and stops; the same command
goes on from there. --minutes is the training time of all starts together. FOLDER/checkpoint is a
checkpoint at any time after the first minutes:
  sphinx-ros eval world --checkpoint runs/demo/checkpoint --scenes 200
"""

FIRST_SHARDS = 4
"""Shards that are rendered before training starts: fewer would be learnt by heart."""


def run(argv: Sequence[str]) -> int:
    """Parse, render, train; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.start:
        find(options.start)  # a wrong name need not wait for the scenes
    folder = Path(options.folder)
    try:
        (folder / "scenes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"--folder {folder} can't be made: {error.strerror}") from error
    load_torch()
    from sphinx_ros.train.loop import train
    from sphinx_ros.train.rendered import SHARD, render, render_held_out
    from sphinx_ros.train.run import HELD_OUT_SCENES
    from sphinx_ros.world.demo_tokenizer import train_tokenizer

    for partial in (folder / "scenes").glob("*.tmp"):  # of a renderer that was stopped
        partial.unlink()
    tokenizer = folder / "tokenizer.model"
    if not tokenizer.exists():
        train_tokenizer(tokenizer)
    shards = -(-options.scenes // SHARD)
    first = min(FIRST_SHARDS, shards)
    render(folder / "scenes", range(first), RENDER_SIZES)
    if not (folder / HELD_OUT_SCENES).exists():
        render_held_out(folder / HELD_OUT_SCENES)
    schedule = Schedule(minutes=options.minutes)
    renderer = start_renderer(folder / "scenes", range(first, shards), RENDER_SIZES)
    try:
        train(
            folder,
            folder / "scenes",
            tokenizer,
            schedule,
            processes=options.processes,
            seed=options.seed,
            port=free_port(),
            start=options.start,
        )
    finally:
        if renderer is not None:
            renderer.terminate()
            renderer.join()
    done = folder / "checkpoint"
    print(f"{done}: try `sphinx-ros eval world --checkpoint {done}`", file=sys.stderr)
    return OK


def start_renderer(folder: Path, shards: range, sizes: Sizes) -> BaseProcess | None:
    """A background process that renders what is missing; None where nothing is."""
    import multiprocessing

    from sphinx_ros.train.rendered import shard_path

    missing = [n for n in shards if not shard_path(folder, n).exists()]
    if not missing:
        return None
    # a fresh interpreter: an OpenGL context and torch's threads do not survive a fork
    arguments = (folder, missing, sizes, os.getpid())
    process = multiprocessing.get_context("spawn").Process(
        target=keep_rendering, args=arguments, daemon=True
    )
    process.start()
    return process


def keep_rendering(folder: Path, numbers: list[int], sizes: Sizes, parent: int) -> None:
    """Render shard after shard, out of the way of training, as long as the parent lives."""
    from sphinx_ros.train.rendered import write_shard

    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    os.nice(5)
    for number_ in numbers:
        write_shard(folder, number_, sizes)


def free_port() -> int:
    """A port on which the training processes can meet."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("train", description=ABOUT)
    parser.add_argument(
        "--folder", default="runs/demo", help="where everything is kept (default: runs/demo)"
    )
    time = (0.01, 100_000)
    add_number(parser, "--minutes", time, Schedule.minutes, "training time in all", "M", float)
    scenes = "scenes to render, in shards of 256"
    add_number(parser, "--scenes", (1, 10_000_000), 23_040, scenes)
    add_number(parser, "--processes", (1, 256), 2, "training processes of one thread each")
    parser.add_argument(
        "--start",
        metavar="X",
        help='begin with the weights of "demo" or a checkpoint folder (default: from scratch)',
    )
    add_number(parser, "--seed", (0, 10**9), 0, "of start weights and order of scenes", "S")
    return parser
