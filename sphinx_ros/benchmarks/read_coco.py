"""COCO's annotations of boxes and of people -> samples.

Every category of the file is asked about every picture, also those that are not in it: who asks
for what is there alone tells the model half of the answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.coco_truth import NUMBERS, CocoFile, Thing
from sphinx_ros.benchmarks.each_row import each
from sphinx_ros.benchmarks.json_files import field, read_json
from sphinx_ros.benchmarks.samples import Family, Picture, PictureFiles, Reading, Sample
from sphinx_ros.errors import BadRequest

_KIND = {Family.DETECT: "instances", Family.POSE: "person_keypoints"}
NO_JOINTS = [0.0] * NUMBERS

OF_LABEL = ("annotations.json", "labels.json")
"""Files of a folder that `sphinx-ros label` made. Where both are there, its other files of COCO
say the same once more, or what is in doubt.
"""


def find(bench: Benchmark, folder: Path) -> list[Path]:
    """The annotations of the splits; of one's own folder every file in this form."""
    if bench.name == "mine":
        if all((folder / name).is_file() for name in OF_LABEL):
            return [folder / OF_LABEL[0]]
        files = sorted({*folder.glob("*.json"), *folder.glob("annotations/*.json")})
        return [path for path in files if _is_coco(path)]
    found = []
    for split in bench.splits:
        for place in (folder / "annotations", folder):
            found += sorted(place.glob(f"{_KIND[bench.family]}_{split}*.json"))[:1]
    return found[: len(bench.splits)]


def _is_coco(path: Path) -> bool:
    try:
        values = read_json(path)
    except BadRequest:
        return False
    return isinstance(values, dict) and {"images", "annotations"} <= set(values)


def read(bench: Benchmark, files: list[Path], pictures: PictureFiles, into: Reading) -> None:
    """All pictures of the files."""
    for path, title in _titles(files).items():
        file = CocoFile(path, into)
        split = next((s for s in bench.splits if f"_{s}" in path.stem), bench.splits[0])
        asking = _Asking(bench, split, title, pictures, file, _kinds(file), file.posed)
        each(path, enumerate(file.images), asking.samples, into, "image")


def _titles(files: Sequence[Path]) -> dict[Path, str]:
    """What tells files apart: their names; of equal ones the inner has its folder's before it."""
    stems, outer = Counter(path.stem for path in files), min(len(path.parts) for path in files)
    return {
        path: path.stem
        if stems[path.stem] == 1 or len(path.parts) == outer
        else f"{path.parent.name}.{path.stem}"
        for path in files
    }


def _kinds(file: CocoFile) -> dict[str, list[int]]:
    """Name -> its categories: several of one name are one question."""
    found: dict[str, list[int]] = defaultdict(list)
    for category, name in file.names.items():
        found[name].append(category)
    return found


Given = tuple[str, str, Picture, Family, str]
"""Split, id, picture, family and text of a sample."""


@dataclass(frozen=True)
class _Asking:
    """What is asked about the pictures of one file. title: of it."""

    bench: Benchmark
    split: str
    title: str
    pictures: PictureFiles
    file: CocoFile
    kinds: dict[str, list[int]]
    posed: set[int]

    @property
    def own(self) -> bool:
        """Whether they are a user's own: several files may use the same numbers."""
        return self.bench.name == "mine"

    def samples(self, image: Any) -> list[Sample]:
        """The samples of an image's row. Raises BadRequest."""
        picture = self.pictures.find(field(image, "file_name", str))
        id, size, things = self.file.about(image)
        told = {"size": size, "image": (self.title, id) if self.own else id}
        name = f"{self.title}.{id}" if self.own else str(id)
        found = []
        if self.own or self.bench.family is Family.DETECT:
            split = "detect" if self.own else self.split
            for kind, categories in self.kinds.items():
                category = kind if self.own else categories[0]
                given = split, f"{name}.{category}", picture, Family.DETECT, kind
                these = [one for one in things if one.category in categories]
                found.append(self._sample(given, these, told | {"category": category}))
        seen = any(v > 0 for one in things for v in (one.joints or ())[2::3])
        if self.bench.family is Family.POSE or (self.own and seen):
            split = "pose" if self.own else self.split
            people = [one for one in things if one.category in self.posed]
            joints = [list(one.joints or NO_JOINTS) for one in people]
            given = split, name, picture, Family.POSE, "person"
            found.append(self._sample(given, people, told | {"keypoints": joints}))
        return found

    def _sample(self, given: Given, things: Sequence[Thing], more: dict[str, Any]) -> Sample:
        more = more | {
            "crowd": [int(one.crowd) for one in things],
            "area": [one.area for one in things],
        }
        boxes = tuple(one.box for one in things)
        return Sample(self.bench.name, *given, boxes=boxes, more=more)
