"""`sphinx-ros label DIR --corrections FILE`: a folder of labels, corrected by a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.commands.arguments import OK
from sphinx_ros.commands.label_told import MOST_TOLD, read_told, writing_before
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.files import write_text
from sphinx_ros.teach.labelling import KEEP, Sheet

if TYPE_CHECKING:
    from sphinx_ros.teach.label_corrections import Corrected

CORRECTING = ("source", "corrections", "empty_is_none", "resume", "variant", "tokenizer")
"""What counts where corrections are put in; --resume changes nothing then."""


def correct(options: Any, given: Sequence[str]) -> int:
    """Put corrections into a folder of labels; returns the exit code. given: the names of options
    that were given.

    Raises:
        BadRequest: an option would be passed over, or folder or file can't be used.
    """
    from sphinx_ros.teach.label_corrections import corrected
    from sphinx_ros.teach.label_folder import KEPT, TOLD, write_folder

    others = [one for one in given if one not in CORRECTING]
    if others:
        raise BadRequest(
            f"--{others[0]} is for labelling: with --corrections the folder's own settings count, "
            "leave it out"
        )
    folder = Path(options.source)
    if not (folder / KEPT).is_file() or not (folder / TOLD).is_file():
        raise BadRequest(
            f"{folder} is no folder of `sphinx-ros label`: it has no {KEPT} and {TOLD}"
        )
    told = read_told(folder)
    made = corrected(folder, Path(options.corrections), options.empty_is_none)
    write_folder(folder, made.sheets, made.kinds, told["format"], writing_before(told, options))
    told |= counted_anew(made.sheets, told)
    write_text(folder / TOLD, json.dumps(told, indent=1) + "\n")
    tell(folder, made)
    return OK


def counted_anew(sheets: Sequence[Sheet], told: dict[str, Any]) -> dict[str, Any]:
    """The counts of labels.json that corrections change. What was dropped and not answered stays:
    it is what the model did.
    """
    keep, before = told.get("keep", KEEP), told.get("boxes", {})
    waiting = [found for sheet in sheets for found in sheet.doubted]  # some of them were kept
    kept = sum(len(sheet.kept) for sheet in sheets) + sum(one.score >= keep for one in waiting)
    in_doubt = sum(not one.score >= keep for one in waiting)  # NaN too
    return {
        "to_review": sum(not sheet.sure for sheet in sheets),
        "boxes": {**before, "kept": kept, "in_doubt": in_doubt},
    }


def tell(folder: Path, made: Corrected) -> None:
    """What came of it, for people."""
    for one in made.bad.bad[:MOST_TOLD]:
        print(f"sphinx-ros: {one.where}: {one.why}", file=sys.stderr)
    if made.new and made.untouched:
        print(
            f"sphinx-ros: nobody has looked for {', '.join(made.new)} in the {made.untouched} "
            "pictures that were not corrected: they count as having none",
            file=sys.stderr,
        )
    if made.spared:
        print(
            f"sphinx-ros: {made.spared} pictures with kept boxes have none in the file, and are "
            "as they were; where there is nothing in them, say so by --empty-is-none",
            file=sys.stderr,
        )
    left, bad = sum(not sheet.sure for sheet in made.sheets), len(made.bad.bad)
    print(
        f"{folder}: {made.count} pictures corrected, {left} still to be reviewed"
        + (f"; {bad} rows could not be used" if bad else "")
    )
