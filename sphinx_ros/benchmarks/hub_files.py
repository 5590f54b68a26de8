"""A clone of a data set of the hub -> which of its parquet files are measured, and their splits.

A clone may hold several forms of a data set, each in a folder, and whoever keeps many clones in
one folder may give that one. Opens no file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sphinx_ros.benchmarks.catalogue import BENCHMARKS, Benchmark
from sphinx_ros.benchmarks.samples import Family
from sphinx_ros.errors import BadRequest

PREFERRED = {"gqa": "balanced", "scienceqa": "img", "pope": "full"}
"""Of several forms of one split that whose folder has this in its name."""

OTHER_NAMES = {"vizwizvqa": "vizwiz", "visualspatialreasoning": "vsr"}
"""Of clones, letters and digits alone, where they are not the benchmark's own."""

REFCOCO = ("refcoco", "refcoco+", "refcocog")
SPLITS = {"validation": "val", "dev": "val"}


def find_parquet(bench: Benchmark, folder: Path) -> list[Path]:
    """The files of all splits; pictures that are kept apart are among them.

    Raises:
        BadRequest: a split is there in several forms, or the folder is another data set's.
    """
    known = {path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}*.parquet")}
    found = [path for path in sorted(known) if split_of(bench, path) is not None]
    if found:
        of_same_kind(bench, folder)
    named = {path: _named(path.relative_to(folder).parts[:-1]) for path in found}
    found = [path for path in found if named[path] in ("", bench.name)]
    found = [path for path in found if named[path] == bench.name] or found
    pictures = [path for path in found if holds_pictures(path)]
    return _one_form(bench, [path for path in found if path not in pictures]) + [
        path for path in pictures if PREFERRED.get(bench.name, "") in path.parent.name.lower()
    ]


def _one_form(bench: Benchmark, found: list[Path]) -> list[Path]:
    forms: dict[str | None, set[Path]] = defaultdict(set)
    for path in found:
        forms[split_of(bench, path)].add(path.parent)
    wanted = PREFERRED.get(bench.name, "")
    for split, folders in forms.items():
        best = {one for one in folders if wanted and wanted in one.name.lower()} or folders
        if len(best) > 1:
            several = " and ".join(map(str, sorted(best)))
            raise BadRequest(f"{several} all have {bench.name}'s {split}: give one of them as DIR")
        forms[split] = best
    return [path for path in found if path.parent in forms[split_of(bench, path)]]


def holds_pictures(path: Path) -> bool:
    """Whether a file holds pictures by their ids, and no questions: GQA's."""
    return path.parent.name.endswith("_images")


def split_of(bench: Benchmark, path: Path) -> str | None:
    """The split that a file's name tells, or its folder's where the file has a number only."""
    words = path.parent.name if path.stem.isdecimal() else path.stem
    parts = [re.sub(r"20\d\d\Z", "", part.lower()) for part in re.split(r"[-_.]", words)]
    parts += [SPLITS[part] for part in parts if part in SPLITS]
    for split in bench.splits:
        if split.lower() in parts:
            return split
    if bench.family is Family.YES_NO and "test" in parts:  # the rows tell
        return bench.splits[0]
    return None


def of_same_kind(bench: Benchmark, folder: Path) -> None:
    """Refuse a folder that is called as another of RefCOCO, + and g, whose files look the same.

    Raises BadRequest.
    """
    if bench.name in REFCOCO:
        other = _named(folder.resolve().parts[-1:])
        if other in REFCOCO and other != bench.name:
            raise BadRequest(
                f"{folder} is called as {other} is, and nothing in such files tells the two apart:"
                f" sphinx-ros eval {other} {folder}, or give the folder another name"
            )


def _named(parts: Iterable[str]) -> str:
    """The benchmark that a folder is called after, or ""."""
    plain = {_plain(name): name for name in BENCHMARKS} | OTHER_NAMES
    return next((plain[_plain(part)] for part in parts if _plain(part) in plain), "")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower().replace("+", "plus"))
