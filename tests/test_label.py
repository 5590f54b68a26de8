"""Labels by a model's own answers: kept, put aside, dropped; in three formats; corrected."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.teach.dataset import read_data
from sphinx_ros.teach.label_folder import corrected, write_folder
from sphinx_ros.teach.labelling import Found, Labeller, Sheet, checked_queries, kind_of
from sphinx_ros.teach.said import Writing
from sphinx_ros.types import Detection, Results

SIZE = (64, 48)


class Model:
    """Answers what it is told to: kind -> boxes with scores, or an error."""

    def __init__(self, answers):
        self.answers = answers

    def look(self, rgb):
        return self

    def answer(self, queries, return_errors):
        out = []
        for query in queries:
            told = self.answers.get(kind_of(query), [])
            if isinstance(told, Exception):
                out.append(told)
                continue
            boxes = [Detection(kind_of(query), (1.0, 2.0, 30.0, 40.0), s) for s in told]
            out.append(Results(tuple(boxes)))
        return out


def labelled(answers, **scores):
    labeller = Labeller(
        Model(answers), checked_queries(["detect: mugs", "ground: the can"]), **scores
    )
    return labeller, labeller.sheet("a.png", np.zeros((48, 64, 3), np.uint8))


def test_boxes_are_kept_put_aside_and_dropped_by_their_scores():
    labeller, sheet = labelled(
        {"mug": [0.9, 0.5, 0.1], "can": [float("nan")]}, keep=0.8, review=0.4
    )
    assert labeller.counts == {"kept": 1, "review": 2, "dropped": 1, "failed": 0}
    assert [(one.kind, one.score) for one in sheet.kept] == [("mug", 0.9)]
    assert [one.kind for one in sheet.doubted] == ["mug", "can"] and not sheet.sure


def test_a_picture_that_could_not_be_answered_is_counted_and_left_out():
    labeller, sheet = labelled({"mug": SphinxError("no box in 'sure'")})
    assert sheet is None and labeller.counts["failed"] == 1 and "a.png" in labeller.troubles[0]


@pytest.mark.parametrize(
    "lines, said",
    [
        ([], "there is no query"),
        (["caption"], "gives no boxes of one kind"),
        (["describe: 1,2,3,4"], "gives no boxes of one kind"),
    ],
)
def test_queries_that_label_nothing_are_refused(lines, said):
    with pytest.raises(BadRequest, match=said):
        checked_queries(lines)


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(BadRequest, match=r"--review 0.8 is above --keep 0.5"):
        labelled({}, keep=0.5, review=0.8)


def sheets() -> list[Sheet]:
    box = (10.0, 12.0, 30.0, 40.0)
    return [
        Sheet("sure.png", SIZE, kept=[Found("mug", box, 0.9), Found("can", (1, 2, 9, 9), 0.8)]),
        Sheet("empty.png", SIZE),
        Sheet("doubt.png", SIZE, [Found("mug", box, 0.9)], [Found("mug", (2, 2, 20, 20), 0.5)]),
    ]


@pytest.fixture
def folder(tmp_path):
    def make(format):
        (tmp_path / "images").mkdir()
        for sheet in sheets():
            cv2.imwrite(str(tmp_path / "images" / sheet.name), np.zeros((48, 64, 3), np.uint8))
        write_folder(tmp_path, sheets(), ["mug", "can"], format, Writing(2))
        told = {"format": format, "checkpoint": "demo"}
        (tmp_path / "labels.json").write_text(json.dumps(told))
        return tmp_path

    return make


def test_coco_has_what_is_sure_and_review_has_the_pictures_in_doubt(folder):
    made = folder("coco")
    kept, review = (
        json.loads((made / n).read_text()) for n in ("annotations.json", "review.json")
    )
    assert [one["file_name"] for one in kept["images"]] == ["images/sure.png", "images/empty.png"]
    assert [one["bbox"] for one in kept["annotations"]] == [[10, 12, 20, 28], [1, 2, 8, 7]]
    assert [one["score"] for one in review["annotations"]] == [0.9, 0.5]
    assert review["categories"] == [{"id": 1, "name": "mug"}, {"id": 2, "name": "can"}]


def test_tune_reads_what_label_wrote_once_and_not_what_is_in_doubt(folder):
    for_each = {}
    made = folder("llava")
    data = read_data([made], Writing(2))
    assert not data.bad and {one.image.name for one in data.examples} == {"sure.png", "empty.png"}
    rows = json.loads((made / "conversations.json").read_text())
    said = [tuple(turn["value"].removeprefix("<image>\n") for turn in row["conversations"])
            for row in rows]  # fmt: skip
    for one in data.examples:
        for_each.setdefault(one.image.name, []).append(one.rounds[0])
    assert said[: len(for_each["sure.png"])] == for_each["sure.png"]
    assert ("Detect all mugs shown in the image.", "<p>mug</p>[0.16,0.31,0.47,0.75]") in said


def test_yolo_has_fractions_of_the_picture(folder):
    made = folder("yolo")
    assert yaml.safe_load((made / "data.yaml").read_text())["names"] == {0: "mug", 1: "can"}
    lines = (made / "labels" / "sure.txt").read_text().splitlines()
    assert lines[0] == "0 0.312500 0.541667 0.312500 0.583333"
    assert (made / "labels" / "empty.txt").read_text() == ""
    assert not (made / "labels" / "doubt.txt").exists()
    (made / "annotations.json").unlink()
    data = read_data([made / "data.yaml"], Writing(2))
    assert not data.bad and data.formats == {"YOLO": len(data.examples)}


@pytest.mark.parametrize("name", ["doubt.png", "images/doubt.png", "0a1b2c3d-doubt.png"])
def test_corrections_settle_what_was_in_doubt(folder, name, capsys):
    made = folder("coco")
    fixed = {
        "images": [{"id": 7, "file_name": name}],
        "categories": [{"id": 3, "name": "mug"}, {"id": 4, "name": "plate"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 4, "bbox": [3, 4, 10, 11]}],
    }
    file = made / "export.json"
    file.write_text(json.dumps(fixed))
    assert main(["label", str(made), "--corrections", str(file)]) == 0
    assert "1 pictures corrected, 0 still to be reviewed" in capsys.readouterr().out
    kept, review = (
        json.loads((made / n).read_text()) for n in ("annotations.json", "review.json")
    )
    assert [one["file_name"] for one in kept["images"]][-1] == "images/doubt.png"
    assert kept["annotations"][-1]["bbox"] == [3, 4, 10, 11] and not review["images"]
    assert [one["name"] for one in kept["categories"]] == ["mug", "can", "plate"]
    assert [one["score"] for one in kept["annotations"]][:2] == [0.9, 0.8]


def test_corrections_of_other_pictures_are_refused(folder):
    made = folder("coco")
    file = made / "export.json"
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "x.png"}], "annotations": [],
                                "categories": []}))  # fmt: skip
    with pytest.raises(BadRequest, match=r"has the picture 'x.png'"):
        corrected(made, file)


def test_a_folder_of_pictures_is_labelled(tmp_path, capsys):
    source = tmp_path / "pictures"
    source.mkdir()
    assert main(["world", "3", "--save", str(source / "3.png")]) == 0
    (source / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    words = ["label", str(source), "--query", "detect: mug", "--query", "detect: cube"]
    assert main([*words, "--out", str(out), "--keep", "0.2", "--review", "0.1"]) in (0, 1)
    told = json.loads((out / "labels.json").read_text())
    assert told["pictures"] == 1 and told["queries"] == ["detect: mug", "detect: cube"]
    assert (out / "images" / "3.png").read_bytes() == (source / "3.png").read_bytes()
    assert "broken.jpg" in capsys.readouterr().err
    assert main([*words, "--out", str(out)]) == 2


def test_pictures_of_a_bag_are_labelled(tmp_path):
    pytest.importorskip("rosbags")
    bag = Path(__file__).parents[1] / "sphinx_ros" / "assets" / "tabletop.mcap"
    out = tmp_path / "out"
    words = ["label", str(bag), "--query", "detect: mug", "--every", "5s", "--out", str(out)]
    assert main(words) in (0, 1)
    told = json.loads((out / "labels.json").read_text())
    names = [one.name for one in (out / "images").iterdir()]
    assert told["pictures"] == len(names) > 0 and all(name.endswith(".png") for name in names)
