"""labels.json of a folder of labels -> what it tells, and how boxes are written in its texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.checkpoint.names import SCHEME
from sphinx_ros.errors import BadRequest

if TYPE_CHECKING:
    from sphinx_ros.teach.said import Writing

MOST_TOLD = 5
"""Pictures or rows that failed, of which the reason is told."""


def read_told(folder: Path) -> dict[str, Any]:
    """What labels.json of a folder tells. Raises BadRequest: it can't be read."""
    from sphinx_ros.teach.conversation_rows import read_json
    from sphinx_ros.teach.label_folder import TOLD

    told = read_json(folder / TOLD)
    if not isinstance(told, dict) or not {"format", "checkpoint"} <= set(told):
        raise BadRequest(
            f"{folder / TOLD} is not what `sphinx-ros label` wrote: expected an object with the "
            "keys format and checkpoint"
        )
    return told


def writing(options: Any) -> Writing:
    """How boxes are written in LLaVA's texts: as the model's configuration says."""
    from sphinx_ros.teach.said import Writing

    if options.format != "llava" or options.server:
        return Writing()
    from sphinx_ros.checkpoint.stored import open_checkpoint

    given = {"variant": options.variant, "tokenizer": options.tokenizer}
    return Writing(open_checkpoint(options.checkpoint, **given).config.coordinate_decimals)


def writing_before(told: dict[str, Any], options: Any) -> Writing:
    """How boxes are written in a folder, by what its labels.json tells."""
    from sphinx_ros.teach.said import Writing

    if "decimals" in told and "comma" in told:
        return Writing(told["decimals"], told["comma"])
    options.format, options.checkpoint = told["format"], told["checkpoint"]
    options.server = options.checkpoint if is_server(str(options.checkpoint)) else ""
    return writing(options)


def is_server(name: str) -> bool:
    """Whether what labels.json calls the checkpoint is the address of a server."""
    return "://" in name and not name.startswith(SCHEME)
