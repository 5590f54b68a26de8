"""Perfect answers score 1, wrong ones do not, and batched questions answer as single ones."""

import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_network import ANSWERS, picture, taught_checkpoint
from synthetic import random_observation as observation

from sphinx_ros import Sphinx
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.checkpoint.layout import ASSETS
from sphinx_ros.commands.cli import main
from sphinx_ros.evaluate import metrics as s
from sphinx_ros.evaluate.label_file import read_labels
from sphinx_ros.evaluate.tabletop import BARS, report, with_people, write
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.tasks import Language, Task
from sphinx_ros.types import COCO_KEYPOINTS, Keypoint, Points, iou
from sphinx_ros.world.exercises import turns

EVERYTHING = {
    kind: 2
    for kind in (
        "attribute",
        "size",
        "ordinal",
        "relation",
        "superlative",
        "detect",
        "detect_none",
        "detect_all",
        "pose",
        "describe",
        "count",
        "colour",
        "exist",
        "relation_yesno",
        "what_relation",
    )
}


def asked(number: int = 40):
    """(turn, observation) pairs of random tabletops."""
    for seed in range(number):
        seen = observation(seed)
        for turn in turns(seen, np.random.default_rng(seed), EVERYTHING):
            yield turn, seen


def test_true_answers_score_full_marks():
    table = s.table([s.score(turn, turn.answer, seen) for turn, seen in asked()])
    assert table["refer.acc50"] == 1.0 and table["refer.miou"] > 0.97  # three decimals
    assert table["detect.f1"] == 1.0 and table["detect.none_acc"] == 1.0
    assert table["pose.pck"] == 1.0
    assert table["qa.acc"] == 1.0 and table["describe.acc"] == 1.0
    assert set(BARS) <= set(table)
    assert all(table[f"{group}.n"] > 10 for group in ("refer", "detect", "pose", "qa"))


@pytest.mark.parametrize("answer", ["", "maybe", "[0.1,0.1,0.1]", "<p>mug</p>", "[", "\x00"])
def test_useless_answers_score_nothing(answer):
    rows = [s.score(turn, answer, seen) for turn, seen in asked(10) if turn.answer != answer]
    table = s.table(rows)
    assert table["refer.acc50"] == table["detect.f1"] == table["pose.pck"] == 0.0
    assert table["detect.none_acc"] == 0.0 and table["qa.acc"] == 0.0


def test_denying_everything_only_earns_none():
    table = s.table([s.score(t, "There is no mug in the image.", o) for t, o in asked(10)])
    assert table["detect.none_acc"] == 1.0
    assert table["detect.f1"] == table["refer.acc50"] == table["qa.acc"] == 0.0


def test_a_point_counts_where_a_pixel_of_its_thing_is():
    turn, seen = next((t, o) for t, o in asked() if t.kind == "attribute")
    (index,) = turn.target["objects"]
    pixels = np.zeros((seen.camera.height, seen.camera.width), np.uint8)
    pixels[20:30, 40:50] = index + 1
    seen, rows = replace(seen, segmentation=pixels), []
    for x, y in ((40, 20), (50, 20)):
        found = Points((Keypoint("mug", float(x), float(y)),))
        rows.append(s.score_point(turn, found, seen))
    rows.append(s.score_point(turn, Points(), seen))
    assert [row["inside"] for row in rows] == [True, False, False]
    table = s.table(rows)
    assert table["point.inside"] == pytest.approx(1 / 3) and table["point.given_inside"] == 0.5
    assert table["point.n"] == 3


def test_iou_and_match():
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0
    true = [("mug", (0, 0, 10, 10)), ("mug", (20, 0, 30, 10))]
    assert s.match([("mug", (1, 0, 10, 10)), ("mug", (0, 0, 10, 10))], true) == (1, 1, 1)
    assert s.match([("can", (0, 0, 10, 10))], true) == (0, 1, 2)
    assert s.match([], true) == (0, 0, 2)


def test_a_joint_counts_within_a_tenth_of_the_box():
    turn, seen = next((t, o) for t, o in asked() if t.task is Task.POSE)
    person = seen.objects[turn.target["person"]]
    limit = 0.1 * max(person.box[2] - person.box[0], person.box[3] - person.box[1])
    place = Letterbox.of(seen.camera.width, seen.camera.height)
    index = int(np.flatnonzero(person.keypoints[:, 2] > 0)[0])
    for factor, near in ((0.9, True), (1.1, False)):
        x, y = person.keypoints[index, :2]
        x = x + factor * limit * (1 if x < seen.camera.width / 2 else -1)
        u, v = place.to_square(float(x), float(y))
        text = f"<p>{COCO_KEYPOINTS[index]}</p>[{u:.5f},{v:.5f}]"
        assert s.score_pose(parse(text), place, person)["near"][index] is near


def test_scenes_with_people_are_counted_once():
    rows = [s.score(turn, turn.answer, seen) for turn, seen in asked(20)]
    people = {seen.seed for turn, seen in asked(20) if turn.task is Task.POSE}
    assert with_people(rows) == len(people) > 3


def test_report_and_json(tmp_path):
    table = s.table([s.score(turn, turn.answer, seen) for turn, seen in asked(5)])
    text = report(table)
    assert "refer.acc50" in text and "reached" in text
    table["pose.pck"] = math.nan
    write(table, tmp_path / "scores.json", checkpoint="x")
    read = json.loads((tmp_path / "scores.json").read_text())
    assert read["checkpoint"] == "x" and read["pose.pck"] is None
    assert read["refer.acc50"] == 1.0


def test_batched_questions_answer_as_single_ones():
    import torch

    from sphinx_ros.evaluate.asker import BatchAsker
    from sphinx_ros.image.pixels import preprocess

    sphinx = Sphinx.from_pretrained(taught_checkpoint())
    pictures = [picture(64, 48, 1), picture(48, 64, 2), picture(40, 40, 3)]
    size = sphinx.config.image_size
    asker = BatchAsker(sphinx.model, sphinx.tokenizer)
    asker.look(torch.from_numpy(np.stack([preprocess(p, size) for p in pictures])))
    questions = list(ANSWERS)
    for turn in range(0, len(questions) - 2, 2):  # questions of different lengths side by side
        mixed = questions[turn : turn + 3]
        single = [
            sphinx.chat([(q, None)], p, max_new_tokens=300)
            for q, p in zip(mixed, pictures, strict=True)
        ]
        asked = [(number, q, Language.FREE) for number, q in enumerate(mixed)]
        assert asker.ask(asked) == single


def test_calibrate_writes_what_a_checkpoint_reads(tmp_path, capsys):
    words = ["calibrate", "--out", str(tmp_path), "--scenes", "6", "--processes", "1"]
    assert main(words) == 0
    made = Calibration.read(tmp_path)
    assert made is not None and made.questions > 10 and 0 < made.present < 1
    assert "questions" in capsys.readouterr().out


def labels_file(folder, *rows):
    cv2.imwrite(str(folder / "one.png"), picture(64, 48, 1)[:, :, ::-1])
    cv2.imwrite(str(folder / "other.png"), picture(48, 64, 2)[:, :, ::-1])
    path = folder / "labels.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_calibrate_takes_one_s_own_labels(tmp_path, capsys):
    """The taught network writes the same box for the same words, wherever they are right."""
    right = Sphinx.from_pretrained(taught_checkpoint()).look(picture(64, 48, 1))
    box = list(right.ground("the red mug")[0].box)
    path = labels_file(
        tmp_path,
        {"image": "one.png", "text": "the red mug", "box": box},
        {"image": "other.png", "text": "the red mug", "box": [0, 0, 3, 3]},
        "",
        {"image": "one.png", "text": "the blue ball", "box": None},
    )
    words = ["calibrate", "--labels", str(path), "--out", str(tmp_path / "made"), "--checkpoint"]
    assert main([*words, str(taught_checkpoint())]) == 0
    made = Calibration.read(tmp_path / "made")
    assert made is not None and made.questions == 3
    assert made.source == "labels.jsonl, 3 expressions"
    assert "from 3 questions" in capsys.readouterr().out


@pytest.mark.parametrize(
    "row, said",
    [
        ("no JSON", "line 2: 'no JSON' is no JSON object"),
        ("[" * 9999, "line 2: "),
        ({"image": "one.png", "text": "a mug"}, "has not the keys image, text and box"),
        ({"image": "gone.png", "text": "a mug", "box": None}, "there is no file 'gone.png'"),
        ({"image": "one.png", "text": " ", "box": None}, "line 2: the text is empty"),
        ({"image": "one.png", "text": "a mug", "box": [9, 9, 3, 3]}, "it must be x0 < x1"),
        ({"image": "one.png", "text": "a mug", "box": "here"}, "is not four finite numbers"),
        ({"image": "one.png", "text": "a mug", "box": [70, 70, 90, 90]}, "outside the picture"),
        ({"image": "one.png", "text": "a mug", "box": [1, 1, 9, 999]}, "reaches beyond the pict"),
        ({"image": "labels.jsonl", "text": "a mug", "box": None}, "line 2, labels.jsonl: "),
        ({"image": "x" * 300, "text": "a mug", "box": None}, "line 2: there is no file 'xxx"),
    ],
)
def test_what_is_wrong_with_labels_is_said_by_line(tmp_path, capsys, row, said):
    path = labels_file(tmp_path, {"image": "one.png", "text": "the red mug", "box": None}, row)
    words = ["calibrate", "--labels", str(path), "--out", str(tmp_path), "--checkpoint"]
    assert main([*words, str(taught_checkpoint())]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "calibration.json").exists()


def test_a_question_that_fails_is_said_by_its_own_line(tmp_path, capsys):
    """Though all about a picture are asked together."""
    texts = "the red mug", "a mug " * 4000, "the can"
    rows = [{"image": "one.png", "text": text, "box": None} for text in texts]
    words = ["calibrate", "--labels", str(labels_file(tmp_path, *rows)), "--out", str(tmp_path)]
    assert main([*words, "--checkpoint", str(taught_checkpoint())]) == 2
    assert "line 2, one.png: " in capsys.readouterr().err


def test_a_line_of_labels_ends_where_json_lines_do(tmp_path):
    """Other programs take more characters for line ends, and some editors begin with a mark."""
    path = labels_file(tmp_path)
    row = '{"image": "one.png", "text": "the red\u2028mug", "box": null}'
    path.write_bytes(f"\ufeff{row}\r\n{row}\n".encode())
    assert [one.line for one in read_labels(path)] == [1, 2]


def test_a_file_of_labels_that_is_none(tmp_path, capsys):
    empty, binary = tmp_path / "empty.jsonl", tmp_path / "binary.jsonl"
    empty.write_text("\n\n"), binary.write_bytes(b"\xff\xfe\x00")
    for path, said in ((empty, "has no line"), (binary, "not UTF-8"), (tmp_path, "can't be read")):
        assert main(["calibrate", "--labels", str(path)]) == 2
        assert said in capsys.readouterr().err


def test_the_bundled_calibration_is_not_overwritten(tmp_path, capsys):
    path = labels_file(tmp_path, {"image": "one.png", "text": "the red mug", "box": None})
    before = (ASSETS / "demo" / "calibration.json").read_bytes()
    assert main(["calibrate", "--labels", str(path)]) == 2
    assert "is the bundled model" in capsys.readouterr().err
    assert (ASSETS / "demo" / "calibration.json").read_bytes() == before
