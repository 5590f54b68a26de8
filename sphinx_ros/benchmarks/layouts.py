"""A benchmark's name and a folder -> its samples, in whatever layout the data lies there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sphinx_ros.benchmarks import (
    hub_files,
    read_choices,
    read_coco,
    read_d3,
    read_eval_mm,
    read_mine,
    read_refer,
    read_tables,
    read_words,
    read_yes_no,
)
from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.samples import PictureFiles, Reading
from sphinx_ros.errors import BadRequest


class Reader(NamedTuple):
    """find: the files of a benchmark in a folder, none where it is another layout. read: them."""

    find: Callable[[Benchmark, Path], list[Path]]
    read: Callable[[Benchmark, list[Path], PictureFiles, Reading], None]


READERS: dict[str, Reader] = {
    "refer": Reader(read_refer.find, read_refer.read),
    "eval_mm": Reader(read_eval_mm.find, read_eval_mm.read),
    "parquet": Reader(hub_files.find_parquet, read_tables.read_parquet),
    "tsv": Reader(read_tables.find_tsv, read_tables.read_tsv),
    "rows": Reader(read_tables.find_rows, read_tables.read_rows),
    "coco": Reader(read_coco.find, read_coco.read),
    "d3": Reader(read_d3.find, read_d3.read),
    "vqa": Reader(read_words.find_vqa, read_words.read_vqa),
    "gqa": Reader(read_words.find_gqa, read_words.read_gqa),
    "vizwiz": Reader(read_words.find_vizwiz, read_words.read_vizwiz),
    "textvqa": Reader(read_words.find_textvqa, read_words.read_textvqa),
    "ocrvqa": Reader(read_words.find_ocrvqa, read_words.read_ocrvqa),
    "vsr": Reader(read_words.find_vsr, read_words.read_vsr),
    "scienceqa": Reader(read_choices.find_scienceqa, read_choices.read_scienceqa),
    "iconqa": Reader(read_choices.find_iconqa, read_choices.read_iconqa),
    "pope": Reader(read_yes_no.find_pope, read_yes_no.read_pope),
    "mme": Reader(read_yes_no.find_mme, read_yes_no.read_mme),
    "mine": Reader(read_mine.find, read_mine.read),
}
"""Layout -> its reader, by the names in the catalogue's ``files``."""


def read_benchmark(
    bench: Benchmark,
    folder: str | Path,
    *,
    layout: str = "",
    splits: Sequence[str] = (),
    images: str | Path | None = None,
) -> tuple[str, Reading]:
    """(layout, what was read). Of one's own folder all layouts are read that are there.

    Args:
        layout: "" finds it: the first of the benchmark's that has all its files.
        splits: to keep; none keeps all that the benchmark is measured on.
        images: where the pictures are, if not below the folder.

    Raises:
        BadRequest: an unknown split or layout; files that are missing, named with their paths; or
            not one row that can be used.
    """
    folder = Path(folder)
    unknown = [split for split in splits if split not in bench.splits]
    if unknown:
        raise BadRequest(
            f"{bench.name} has no split {unknown[0]!r}; use {', '.join(bench.splits)} or all"
        )
    if layout and layout not in bench.files:
        raise BadRequest(
            f"{bench.name} is read from {', '.join(bench.files)}; there is no layout {layout!r}"
        )
    for place in (folder, *([] if images is None else [Path(images)])):
        if not place.is_dir():
            raise BadRequest(f"{place} is no folder: give the one with {bench.name}'s files")
        try:  # what may not be listed looks empty to a search
            os.scandir(place).close()
        except OSError as error:
            raise BadRequest(f"{place} can't be read: {error.strerror}") from None
    into, used = Reading(), []
    for name in [layout] if layout else bench.files:
        files = READERS[name].find(bench, folder)
        if not files:
            continue
        pictures = PictureFiles(folder, None if images is None else Path(images))
        READERS[name].read(bench, files, pictures, into)
        into.files += files
        used.append(name)
        if bench.name != "mine":
            break
    if not used:
        raise BadRequest(
            f"{folder} has no data of {bench.name}. Expected {missing(bench, folder)}"
        )
    if splits:
        into.samples = [sample for sample in into.samples if sample.split in splits]
    if not into.samples:
        told = f": {into.told[0]}" if into.told else ""
        which = ", ".join(path.name for path in into.files[:3])
        if "missing picture" in into.refused:
            told += "; --images DIR says where the pictures are"
        raise BadRequest(f"no row of {which} can be used. {into.summary or 'None is there'}{told}")
    return "+".join(used), into


def missing(bench: Benchmark, folder: Path) -> str:
    """Which files would make the folder this benchmark's, layout by layout, with their paths."""
    ways = []
    for layout, files in bench.files.items():
        split = bench.splits[0]
        paths = ", ".join(
            str(folder / part.strip()) if "/" in part or "." in part else part.strip()
            for part in files.format(split=split).split(", ")
        ) if "{image" not in files else files  # fmt: skip
        ways.append(f"{layout}: {paths}")
    return "; or ".join(ways)
