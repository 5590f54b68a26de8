"""Pictures and queries -> labels, by answers that are on the disk before the next is asked for.

A run that was killed goes on where it was, and ends with the same labels.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.bags.bag_answers import Answering
from sphinx_ros.bags.bag_journal import Journal
from sphinx_ros.bags.bag_reader import Shot
from sphinx_ros.commands.label_shots import shots_of
from sphinx_ros.commands.model_options import AskedModel, model_options
from sphinx_ros.commands.pictures import write_picture
from sphinx_ros.prompt.queries import Query
from sphinx_ros.runtime.files import replaced
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.label_folder import IMAGES, JOURNAL
from sphinx_ros.teach.labelling import Sheet, sheet_of


def sheets_of(out: Path, queries: Sequence[Query], options: Any, model: AskedModel) -> list[Sheet]:
    """Ask about each picture, and put it into the folder. Each answer is on the disk before the
    next picture is asked about.

    Raises:
        BadRequest: the source can't be used, or the folder was begun with other settings.
        SphinxError: the model can't be loaded, or can't be asked any more.
    """
    stems = options.format == "yolo"  # its files of labels are called by them
    total, shots = shots_of(Path(options.source), options.topic, options.every, stems)
    known = model.identity()
    out.mkdir(parents=True, exist_ok=True)
    sheets: list[Sheet] = []
    asking: Answering | None = None
    latest: dict[str, dict[str, Any]] = {}  # of each topic, what was answered about last
    with (
        Journal(out / JOURNAL, about(queries, options, known), options.resume) as journal,
        Progress(total, "labelling", "picture") as bar,
    ):
        (out / IMAGES).mkdir(exist_ok=True)
        for name, shot, file in shots:
            entry = journal.get((shot.topic, shot.number))
            if entry is None:
                if asking is None:
                    asking = Answering(model(), queries, {})
                    for before in latest.values():
                        asking.remember(before)
                entry = asking.journaled(shot, journal)
                if "width" in entry:
                    keep_picture(out / IMAGES / name, shot, file)
                journal.add(entry)
            if "drafts" in entry:
                latest.pop(shot.topic, None)
                latest[shot.topic] = entry  # the last one of all stands last
            sheets.append(sheet_of(name, entry, queries, options.keep, options.review))
            bar.advance()
    return sheets


def about(queries: Sequence[Query], options: Any, known: Mapping[str, str]) -> dict[str, Any]:
    """What the answers depend on. known: the model's :meth:`AskedModel.identity`."""
    return {
        "source": file_name(options.source),
        "queries": [query.line() for query in queries],
        "topics": sorted(options.topic),
        "every": options.every,
        "checkpoint": options.server or options.checkpoint,
        "model": {name: str(value) for name, value in sorted(model_options(options).items())},
        **known,
    }


def keep_picture(place: Path, shot: Shot, file: Path | None) -> None:
    """A copy of the picture's file; of one that is none, a file of its pixels."""
    if file is None:
        write_picture(place, shot.decode())
        return
    with file.open("rb") as source, replaced(place) as target:
        shutil.copyfileobj(source, target)
