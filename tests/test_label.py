"""Labels by a model's own answers: kept, put aside, dropped; in three formats; corrected."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from process_support import until

from sphinx_ros.bags.bag_answers import Answering
from sphinx_ros.bags.bag_reader import Shot
from sphinx_ros.commands.cli import main
from sphinx_ros.commands.label_shots import check_topics
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.teach.dataset import read_data
from sphinx_ros.teach.label_folder import read_sheets, write_folder
from sphinx_ros.teach.labelling import (
    KEEP,
    REVIEW,
    Found,
    Sheet,
    check_limits,
    checked_queries,
    counts,
    kind_of,
    sheet_of,
)
from sphinx_ros.teach.said import Writing
from sphinx_ros.types import Detection, Results

SIZE = (64, 48)
ROOT = Path(__file__).parents[1]
CLIP = ROOT / "sphinx_ros" / "assets" / "tabletop.mcap"


class Model:
    """Answers what it is told to: kind -> boxes with scores, or an error."""

    def __init__(self, answers):
        self.answers = answers

    def look(self, rgb, after=None):
        return self

    def answer(self, queries, return_errors):
        out = []
        for query in queries:
            told = self.answers.get(kind_of(query), [])
            if isinstance(told, Exception):
                out.append(told)
                continue
            # a box for each score, or (score, box); what is denied is in a Results already
            if isinstance(told, Results):
                out.append(told)
                continue
            pairs = [one if isinstance(one, tuple) else (one, (n, 2.0, n + 20.0, 40.0))
                     for n, one in enumerate(told, 1)]  # fmt: skip
            boxes = [Detection(kind_of(query), box, score) for score, box in pairs]
            out.append(Results(tuple(boxes)))
        return out


def labelled(answers, keep=KEEP, review=REVIEW, lines=("detect: mugs", "ground: the can")):
    queries = checked_queries(lines)
    shot = Shot("a.png", 0, 0, 0, None, lambda: np.zeros((48, 64, 3), np.uint8))
    entry = Answering(Model(answers), queries, {}).entry(shot)
    return sheet_of("a.png", json.loads(json.dumps(entry)), queries, keep, review)


def test_boxes_are_kept_put_aside_and_dropped_by_their_scores():
    sheet = labelled({"mug": [0.9, 0.5, 0.1], "can": [float("nan")]}, keep=0.8, review=0.4)
    assert counts([sheet, sheet]) == {"kept": 2, "in_doubt": 4, "dropped": 2}
    assert [(one.kind, one.score) for one in sheet.kept] == [("mug", 0.9)]
    assert [one.kind for one in sheet.doubted] == ["mug", "can"] and not sheet.sure
    assert sheet.size == (64, 48) and not sheet.trouble


def test_what_two_queries_find_is_one_thing_and_goes_back_in(tmp_path):
    """A folder with the same thing twice, or a box without area, could not be read again."""
    answers = {"mug": [(0.9, (2.0, 2.0, 22.0, 40.0)), (0.4, (2.0, 2.001, 22.001, 40.0)),
                       (float("nan"), (30.0, 5.0, 50.0, 40.0)), (0.8, (9.0, 9.0, 9.004, 30.0))],
               "blue mug": [(0.8, (2.0, 2.0, 22.0, 40.0))]}  # fmt: skip
    lines = ["detect: mugs", "ground: the mug", "detect: all_mugs", "detect: blue_mug"]
    sheet = labelled(answers, lines=lines)
    assert [(one.kind, one.score) for one in sheet.kept] == [("mug", 0.9), ("blue mug", 0.8)]
    assert len(sheet.doubted) == 1 and sheet.dropped == 1
    sheet.doubted = []
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((48, 64, 3), np.uint8))
    write_folder(tmp_path, [sheet], ["mug", "blue mug"], "coco", Writing(2))
    read, kinds = read_sheets(tmp_path / "annotations.json")
    assert read == [Sheet("a.png", SIZE, sheet.kept)] and kinds == ["mug", "blue mug"]


@pytest.mark.parametrize("score", [0.95, 0.5, float("nan")])
def test_a_box_of_what_the_model_denies_is_in_doubt(score):
    """Judged by its presence it is not there, and the picture counted as sure."""
    denied = (Detection("can", (1.0, 2.0, 20.0, 40.0), score),)
    sheet = labelled({"mug": [0.9], "can": Results((), Status.NOT_FOUND, denied=denied)})
    assert [one.kind for one in sheet.kept] == ["mug"] and not sheet.sure
    assert [one.box for one in sheet.doubted] == [denied[0].box]


def test_a_denied_box_that_scores_too_little_is_dropped_and_counted():
    denied = (Detection("can", (1.0, 2.0, 20.0, 40.0), 0.1),)
    sheet = labelled({"can": Results((), Status.NOT_FOUND, denied=denied)})
    assert sheet.sure and counts([sheet]) == {"kept": 0, "in_doubt": 0, "dropped": 1}


def test_a_picture_that_could_not_be_answered_says_why():
    sheet = labelled({"mug": SphinxError("no box in 'sure'")})
    assert sheet.trouble == "detect: mugs: no box in 'sure'" and not sheet.kept


def test_a_model_that_is_gone_ends_the_run_and_marks_no_picture():
    with pytest.raises(SphinxError, match="the server is gone"):
        labelled({"mug": SphinxError("the server is gone", status=Status.NOT_ACTIVE)})


@pytest.mark.parametrize(
    "lines, said",
    [
        ([], "there is no query"),
        (["caption"], "gives no boxes of one kind"),
        (["describe: 1,2,3,4"], "gives no boxes of one kind"),
        (["detect: _"], "gives no boxes of one kind"),
    ],
)
def test_queries_that_label_nothing_are_refused(lines, said):
    with pytest.raises(BadRequest, match=said):
        checked_queries(lines)


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(BadRequest, match=r"--review 0.8 is above --keep 0.5"):
        check_limits(keep=0.5, review=0.8)


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
        for grey, sheet in enumerate(sheets()):  # equal pictures would count as one
            rgb = np.full((48, 64, 3), grey, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / sheet.name), rgb)
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


def test_a_folder_of_pictures_is_labelled(tmp_path, capsys):
    source = tmp_path / "pictures"
    source.mkdir()
    assert main(["world", "3", "--save", str(source / "3.png")]) == 0
    (source / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    words = ["label", str(source), "--query", "detect: mug", "--query", "detect: cube"]
    limits = ["--keep", "0.2", "--review", "0.1"]
    assert main([*words, "--out", str(out), *limits]) in (0, 1)
    told = json.loads((out / "labels.json").read_text())
    assert told["pictures"] == 1 and told["queries"] == ["detect: mug", "detect: cube"]
    assert (told["keep"], told["review"], told["failed"]) == (0.2, 0.1, 1)
    assert (out / "images" / "3.png").read_bytes() == (source / "3.png").read_bytes()
    said = capsys.readouterr()
    assert "broken.jpg" in said.err and "1 pictures not answered" in said.out
    assert main([*words, "--out", str(out)]) == 2
    assert main([*words, "--out", str(out), "--resume", *limits]) in (0, 1)
    assert capsys.readouterr().out.splitlines()[-1] == said.out.splitlines()[-1]
    for other, named in (
        (words, "keep 0.2 and not 0.7"),
        ([*words, *limits, "--query", "detect: can"], "queries ['detect: mug', 'detect: cube']"),
        ([*words, *limits, "--format", "yolo"], "format 'coco' and not 'yolo'"),
        ([*words, *limits, "--checkpoint", "sphinx-tiny-1k"], "checkpoint 'demo'"),
    ):
        assert main([*other, "--out", str(out), "--resume"]) == 2
        assert f"is finished, and was labelled with {named}" in capsys.readouterr().err


def test_pictures_that_would_share_a_file_are_refused_before_anything_is_asked(tmp_path, capsys):
    source, out = tmp_path / "pictures", tmp_path / "out"
    source.mkdir()
    for name in ("desk.jpg", "desk.png"):
        (source / name).touch()
    words = ["label", str(source), "--query", "detect: mug", "--format", "yolo", "--out", str(out)]
    assert main(words) == 2 and not out.exists()
    assert "desk.jpg and desk.png would share the file labels/desk.txt" in capsys.readouterr().err
    with pytest.raises(BadRequest, match="/cam/left and /cam_left would both be called cam_left_"):
        check_topics(["/cam/left", "/front", "/cam_left"])


def files(folder):
    found = sorted(one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


def test_a_killed_run_on_a_bag_goes_on_to_the_same_files(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rosbags")
    words = ["label", str(CLIP), "--query", "detect: mug", "--query", "ground: the can"]
    words += ["--every", "1s", "--out"]
    assert main([*words, str(tmp_path / "whole")]) in (0, 1)
    command = [sys.executable, "-m", "sphinx_ros", *words, "killed"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    journal = tmp_path / "killed" / "journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "labels.json").exists()
    with pytest.raises(BadRequest, match="has not ended"):
        read_data([tmp_path / "killed"], Writing(3))
    with journal.open("ab") as file:
        file.write(b'{"topic": "cut o')
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main([*words, "killed"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "killed", "--resume", "--every", "2s"]) == 2
    assert "was begun with every 1" in capsys.readouterr().err
    assert main([*words, "killed", "--resume"]) in (0, 1)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    told = json.loads((tmp_path / "whole" / "labels.json").read_text())
    names = [one.name for one in (tmp_path / "whole" / "images").iterdir()]
    assert told["pictures"] == len(names) == 8 and all(name.endswith(".png") for name in names)
