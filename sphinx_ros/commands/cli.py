"""`sphinx-ros <verb> ...`: finds the verb, and turns every outcome into an exit code.

A verb is a function from its words to an exit code; each has its own parser and loads what is
heavy when it runs. Knows no model and no picture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from sphinx_ros import __version__
from sphinx_ros.commands import checkpoints, eval, inspect, look, train, world
from sphinx_ros.commands.arguments import BAD_INPUT, INTERRUPTED, OK, one_line
from sphinx_ros.errors import SphinxError

VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    **{name: verb.run for name, verb in look.VERBS.items()},
    "inspect": inspect.run,
    **checkpoints.VERBS,
    "train": train.run,
    "eval": eval.run,
    "world": world.run,
}
"""Verb -> function from the words behind it to an exit code."""

DEFECT = 70
"""Exit code of a defect of this package, as sysexits.h numbers it."""

OVERVIEW = f"""usage: sphinx-ros VERB ... | sphinx-ros VERB --help | sphinx-ros --version

Ask a picture. IMAGE is a file, a folder, or the number of a webcam.
  ground IMAGE TEXT      the box of what a sentence describes: "the red mug"
  detect IMAGE [KIND]    a box for each thing of a kind: "mug", "red mugs"; default "objects"
  pose IMAGE [BOX]       the 17 joints of everybody, or of the person in x0,y0,x1,y1
  describe IMAGE BOX     words for what is in the box x0,y0,x1,y1
  caption IMAGE          a sentence on the picture, with boxes
  ask IMAGE QUESTION     any question, answered in a word or phrase

Checkpoints.
  inspect X              what a checkpoint is, whether it is whole, what memory it needs
  fetch X                download a published checkpoint, or hf://owner/repo/folder
  convert X OUT          to safetensors without repetitions, or back to the released layout
  mix X X OUT            a weighted sum of checkpoints of one variant

Make and measure the demonstration model.
  world SEED             draw one scene of the simulated tabletop with everything true about it
  train                  train the demonstration model from scratch on simulated scenes
  eval world             scores of a checkpoint on simulated scenes it has never seen

Examples
  sphinx-ros world 7 --save scene.png
  sphinx-ros detect scene.png --save seen.png
  sphinx-ros ground scene.png "the ball on the left" --json
  sphinx-ros ask scene.png "how many cubes are there?"

Exit codes: 0 answered, 1 not found in any picture, 2 bad usage or input, 3 no usable answer (time
limit, memory, unreadable words), 130 Ctrl-C. Version {__version__}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code and never raises for what a user did.

    argv: the words behind the program's name, default those of the command line. A defect is one
    line too, unless SPHINX_ROS_TRACEBACK is set in the environment.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return dispatch(words)
    except SystemExit as stop:  # argparse, after printing a help text
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SphinxError as error:
        return fail(one_line(error), BAD_INPUT)
    except Exception as error:
        if os.environ.get("SPHINX_ROS_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {one_line(error)}"
        return fail(f"a defect: {what}; SPHINX_ROS_TRACEBACK=1 shows where", DEFECT)


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
