"""`sphinx-ros <verb> ...`: finds the verb, and turns every outcome into an exit code.

A verb is a function from its words to an exit code; each has its own parser and loads what is
heavy when it runs. Knows no tensor and no picture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from sphinx_ros import __version__
from sphinx_ros.commands import (
    bag,
    calibrate,
    checkpoints,
    compare,
    eval,
    find,
    inspect,
    label,
    look,
    mcp,
    serve,
    train,
    tune,
    world,
)
from sphinx_ros.commands.arguments import INTERRUPTED, OK
from sphinx_ros.errors import BAD_INPUT, DEFECT, SphinxError
from sphinx_ros.runtime.memory import memory_error, out_of_memory
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.tasks import ROWS

VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    **{name: verb.run for name, verb in look.VERBS.items()},
    "inspect": inspect.run,
    "compare": compare.run,
    "bag": bag.run,
    "find": find.run,
    **checkpoints.VERBS,
    "serve": serve.run,
    "mcp": mcp.run,
    "label": label.run,
    "tune": tune.run,
    "train": train.run,
    "eval": eval.run,
    "calibrate": calibrate.run,
    "world": world.run,
}
"""Verb -> function from the words behind it to an exit code."""

LOOKING = "\n".join(
    f"  {f'{task.value} IMAGE {look.PLACES[row.takes]}':22} {row.about}"
    for task, row in ROWS.items()
)

OVERVIEW = f"""usage: sphinx-ros VERB ... | sphinx-ros VERB --help | sphinx-ros --version

Ask a picture. IMAGE is a file, a folder, - for standard input, or the number of a webcam; several
may follow each other.
{LOOKING}

Ask a recording (MCAP or sqlite3; no ROS is needed).
  bag IN OUT             the bag with the node's answers about its pictures
  find BAG TEXT          where and when something is seen in it

Serve it to others.
  serve                  a page, a door for each task and OpenAI's chat door over HTTP
  mcp                    a tool for each task, for agents, by the Model Context Protocol

Teach it your own objects.
  label BAG|FOLDER       a recording or pictures -> labels by its own answers, to be reviewed
  tune DATA --out RUN    pictures with answers -> an adapter, used as X+RUN/adapter

Checkpoints.
  inspect X              what a checkpoint is, whether it is whole, what memory it needs
  compare                its visual encoders beside those of open_clip, timm and transformers
  fetch X                download a published checkpoint, or hf://owner/repo/folder
  convert X OUT          to safetensors without repetitions, or back to the released layout
  merge X+ADAPTER OUT    a checkpoint and what `tune` taught it, as one checkpoint
  mix X X OUT            a weighted sum of checkpoints of one variant

Measure a checkpoint; make the demonstration model.
  world SEED             draw one scene of the simulated tabletop with everything true about it
  train                  train the demonstration model from scratch on simulated scenes
  eval world             scores of a checkpoint on simulated scenes it has never seen
  eval NAME DIR          scores on RefCOCO, VQAv2, POPE, COCO ... or on your own labelled pictures
  calibrate              what a checkpoint's scores are worth, measured and kept beside it

Examples
  sphinx-ros world 7 --save scene.png
  sphinx-ros detect scene.png --save seen.png
  sphinx-ros ground scene.png "the ball on the left" --json
  sphinx-ros ask scene.png "how many cubes are there?"

Exit codes: 0 answered, 1 not found in any picture, 2 bad usage or input, 3 no usable answer (time
limit, memory, unreadable words), 70 a defect of this package, 130 Ctrl-C; of several pictures the
worst. Version {__version__}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code and never raises for what a user did.

    argv: the words behind the program's name, default those of the command line. A defect is one
    line too, unless SPHINX_ROS_TRACEBACK is set in the environment.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter gets its code
            stream.reconfigure(errors="backslashreplace")
    try:
        code = dispatch(words)
        sys.stdout.flush()  # a full disk shows here, not when the interpreter ends
        return code
    except SystemExit as stop:  # argparse, after printing a help text
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except Exception as error:
        return explained(error, words)


def explained(error: Exception, words: list[str]) -> int:
    """The line and the exit code of an error."""
    if isinstance(error, SphinxError):
        return fail(one_line(error), error.status.exit_code)
    if isinstance(error, BrokenPipeError):  # the reader of our output has gone, as `| head` does
        _drop_output()
        return OK
    if out_of_memory(error):
        return explained(memory_error(f"running {words[0]}", error), words)
    if isinstance(error, OSError) and error.strerror and not os.environ.get(TRACEBACK):
        _drop_output()
        where = "" if error.filename is None else f"{file_name(error.filename)}: "
        return fail(f"{where}{error.strerror}", BAD_INPUT)
    if os.environ.get(TRACEBACK):
        raise error
    what = f"{type(error).__name__}: {one_line(error)}"
    return fail(f"a defect: {what}; {TRACEBACK}=1 shows where", DEFECT)


TRACEBACK = "SPHINX_ROS_TRACEBACK"
"""Environment variable: set, defects end with Python's own traceback."""


def _drop_output() -> None:
    """Let nothing more be written to standard output, also not when the interpreter ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # it is no file
        return


def dispatch(words: list[str]) -> int:
    """The verb's own exit code, or that of the overview."""
    if words and words[0] in VERBS:
        return VERBS[words[0]](words[1:])
    if words and words[0] == "--version":
        print(__version__)
        return OK
    if words and words[0] in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
        return OK
    said = f"there is no verb {words[0]!r}" if words else "a verb is missing"
    return fail(f"{said}; use one of {', '.join(VERBS)}, or --help", BAD_INPUT)


def fail(message: str, code: int) -> int:
    """One line on stderr; returns the code."""
    print(f"sphinx-ros: {message}", file=sys.stderr)
    return code
