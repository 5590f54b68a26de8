"""Scenes with questions and exact truth -> files as the field's data sets have them.

Knows no model.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.exported_scenes import Scene
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.extras import extra
from sphinx_ros.runtime.files import write_bytes, write_text
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.truth import KINDS

SPLIT = "val"


def _pictures(folder: Path, chosen: Sequence[Scene]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scene in chosen:
        write_bytes(folder / scene.file, scene.png)


def _json(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values) + "\n")
    return path


def _xywh(box: Sequence[float]) -> list[float]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _instances(chosen: Sequence[Scene]) -> dict[str, Any]:
    """All things of all scenes, in COCO's form."""
    images, rows = [], []
    for scene in chosen:
        width, height = scene.size
        images.append(
            {"id": scene.number, "file_name": scene.file, "width": width, "height": height}
        )
        for index, thing in enumerate(scene.seen.objects):
            area = int((scene.seen.segmentation == index + 1).sum())
            row = {
                "id": 100 * scene.number + index,
                "image_id": scene.number,
                "category_id": KINDS.index(thing.kind) + 1,
                "bbox": _xywh([float(v) for v in thing.box]),
                "area": area,
                "iscrowd": 0,
            }
            if thing.keypoints is not None:
                joints = [[round(float(x), 2), round(float(y), 2), int(v)]
                          for x, y, v in thing.keypoints]  # fmt: skip
                row |= {
                    "keypoints": [value for joint in joints for value in joint],
                    "num_keypoints": sum(joint[2] > 0 for joint in joints),
                }
            rows.append(row)
    names: list[dict[str, Any]] = [{"id": n + 1, "name": kind} for n, kind in enumerate(KINDS)]
    return {"images": images, "annotations": rows, "categories": names}


def refer(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """RefCOCO as `refer` keeps it: a pickle of protocol 2, instances.json, images/train2014."""
    refs: list[dict[str, Any]] = []
    number = 0
    for scene in chosen:
        things: dict[int, list[str]] = {}
        for words, _, index in scene.expressions:
            things.setdefault(index, []).append(words)
        for index, said in things.items():
            sentences = [
                {"raw": words, "sent": words, "sent_id": number + place, "tokens": words.split()}
                for place, words in enumerate(said)
            ]
            number += len(said)
            refs.append(
                {
                    "ref_id": len(refs),
                    "ann_id": 100 * scene.number + index,
                    "image_id": scene.number,
                    "category_id": KINDS.index(scene.seen.objects[index].kind) + 1,
                    "file_name": scene.file.replace(".png", f"_{index}.png"),
                    "split": SPLIT,
                    "sent_ids": [one["sent_id"] for one in sentences],
                    "sentences": sentences,
                }
            )
    _pictures(folder / "images" / "train2014", chosen)
    known = _json(folder / "refcoco" / "instances.json", _instances(chosen))
    path = folder / "refcoco" / "refs(unc).p"
    write_bytes(path, pickle.dumps(refs, protocol=2))
    return [path, known]


def eval_mm(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """The official evaluation's JSON of RefCOCO and of VQAv2."""
    boxes, words = [], []
    for scene in chosen:
        width, height = scene.size
        path = f"train2014/{scene.file}"
        for text, box, _ in scene.expressions:
            boxes.append(
                {
                    "image_path": path,
                    "question": text,
                    "question_id": f"height{height}_width{width}",
                    "dataset_name": f"refcoco_{SPLIT}",
                    "gt_answers": list(box),
                }
            )
        for number, (text, answer) in enumerate(scene.questions):
            words.append(
                {
                    "image_path": path,
                    "question": text,
                    "question_id": 100 * scene.number + number,
                    "dataset_name": f"vqav2_{SPLIT}",
                    "gt_answers": [answer] * 10,
                }
            )
    _pictures(folder / "train2014", chosen)
    return [
        _json(folder / f"refcoco_{SPLIT}.json", boxes),
        _json(folder / f"vqav2_{SPLIT}.json", words),
    ]


def parquet(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """RefCOCO as the hub keeps it: a row for each thing, its expressions in ``answer``."""
    with extra("eval", "the layout parquet"):
        import pyarrow
        from pyarrow import parquet as files
    rows: list[dict[str, Any]] = []
    for scene in chosen:
        things: dict[int, list[str]] = {}
        for words, _, index in scene.expressions:
            things.setdefault(index, []).append(words)
        for index, said in things.items():
            box = [float(value) for value in scene.seen.objects[index].box]
            rows.append(
                {
                    "question_id": str(len(rows)),
                    "image": {"bytes": scene.png, "path": None},
                    "question": "Please describe the thing in the box.",
                    "answer": said,
                    "bbox": _xywh(box),
                    "file_name": scene.file.replace(".png", f"_{index}.png"),
                }
            )
    path = folder / "data" / f"{SPLIT}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    held = io.BytesIO()
    files.write_table(pyarrow.Table.from_pylist(rows), held, row_group_size=4)
    write_bytes(path, held.getvalue())
    return [path]


def tsv(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """RefCOCO as VLMEvalKit keeps it: pictures as base64, corners of boxes in pixels."""
    held = io.StringIO(newline="")
    names = ("index", "image", "question", "category", "width", "height", "bbox_x1", "bbox_y1",
             "bbox_x2", "bbox_y2")  # fmt: skip
    table = csv.writer(held, delimiter="\t", lineterminator="\n")
    table.writerow(names)
    number = 0
    for scene in chosen:
        image = base64.b64encode(scene.png).decode()
        for text, box, _ in scene.expressions:
            table.writerow((number, image, text, f"RefCOCO_{SPLIT}", *scene.size, *box))
            number += 1
    path = folder / "RefCOCO.tsv"
    write_text(path, held.getvalue())
    return [path]


def coco(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """COCO's instances and people of 2017."""
    values = _instances(chosen)
    people = {
        "images": values["images"],
        "annotations": [row for row in values["annotations"] if "keypoints" in row],
        "categories": [
            {"id": KINDS.index("person") + 1, "name": "person", "keypoints": COCO_KEYPOINTS}
        ],
    }
    _pictures(folder / f"{SPLIT}2017", chosen)
    place = folder / "annotations"
    return [
        _json(place / f"instances_{SPLIT}2017.json", values),
        _json(place / f"person_keypoints_{SPLIT}2017.json", people),
    ]


def vqa(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """VQAv2's questions and annotations: ten people of one mind."""
    questions, annotations = [], []
    for scene in chosen:
        for number, (text, answer) in enumerate(scene.questions):
            id = 100 * scene.number + number
            questions.append({"image_id": scene.number, "question": text, "question_id": id})
            people = [{"answer": answer, "answer_id": n + 1} for n in range(10)]
            annotations.append({"question_id": id, "image_id": scene.number, "answers": people})
    place = folder / f"{SPLIT}2014"
    place.mkdir(parents=True)
    for scene in chosen:
        write_bytes(place / f"COCO_{SPLIT}2014_{scene.number:012d}.png", scene.png)
    return [
        _json(
            folder / f"v2_OpenEnded_mscoco_{SPLIT}2014_questions.json", {"questions": questions}
        ),
        _json(folder / f"v2_mscoco_{SPLIT}2014_annotations.json", {"annotations": annotations}),
    ]


def mine(folder: Path, chosen: Sequence[Scene]) -> list[Path]:
    """Lines as one writes them for one's own pictures."""
    lines: list[dict[str, Any]] = []
    for scene in chosen:
        lines += [
            {"image": scene.file, "text": text, "box": list(box)}
            for text, box, _ in scene.expressions
        ]
        lines += [{"image": scene.file, "text": text, "box": None} for text in scene.absent]
        lines += [
            {"image": scene.file, "question": text, "answer": answer}
            for text, answer in scene.questions
        ]
    _pictures(folder, chosen)
    path = folder / "labels.jsonl"
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return [path]


LAYOUTS: dict[str, Callable[[Path, Sequence[Scene]], list[Path]]] = {
    "refer": refer,
    "eval_mm": eval_mm,
    "parquet": parquet,
    "tsv": tsv,
    "coco": coco,
    "vqa": vqa,
    "mine": mine,
}
"""Name -> writer."""


def export(layout: str, folder: str | Path, make: Callable[[], Sequence[Scene]]) -> list[Path]:
    """Write a data set; its files of annotations. make: called for the scenes.

    Raises:
        BadRequest: an unknown layout, or a folder that holds something.
    """
    if layout not in LAYOUTS:
        raise BadRequest(f"there is no layout {layout!r}; use one of {', '.join(LAYOUTS)}")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRequest(f"{folder} holds something already: give a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[layout](folder, make())
