"""Scores of given answers: as the official scripts count, and as every question counts."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_support import as_written, some_scenes

from sphinx_ros.benchmarks.box_scores import official_iou
from sphinx_ros.benchmarks.catalogue import BENCHMARKS
from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.published import NAMES, published
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.benchmarks.score_tables import as_json, markdown, plain_table
from sphinx_ros.benchmarks.scoring import scores
from sphinx_ros.benchmarks.trusting import calibration
from sphinx_ros.benchmarks.word_scores import (
    normalised,
    official_choice,
    official_mme,
    official_pope,
    official_vqa,
    vqa_score,
    yes_or_no,
)
from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.results import to_detections
from sphinx_ros.types import COCO_KEYPOINTS

needs_coco = pytest.mark.skipif(
    find_spec("faster_coco_eval") is None,
    reason='faster-coco-eval is missing: pip install "sphinx_ros[eval]"',
)
SIZE = (64, 48)
PLACE = Letterbox.of(*SIZE)


def sample(number, family=Family.BOXES, dataset="refcoco", split="val", text="the mug", **more):
    picture = Picture(Path(f"{number // 2}.png"), f"{number // 2}.png")
    given = (dataset, split, str(number), picture, family, text)
    return Sample(*given, **({"key": f"{number}"} | more))


def written(text, **more):
    """An answer as a run writes it, with the boxes that are read from its text."""
    boxes, _, _ = to_detections(parse(text), PLACE)
    line = {"text": text, "status": "OK" if boxes else "PARSE_FAILED", "size": list(SIZE)}
    return line | {"boxes": [list(d.box) for d in boxes], "scores": [0.9] * len(boxes)} | more


def named(asked, checkpoint=""):
    return {one.name: one for one in scores(asked, checkpoint)}


# boxes


def by_the_formula(text, true, size):
    """What the official evaluation computes, step by step with torch."""
    import re

    width, height = size
    found = re.findall(r"\[(.*?)\]", text) or [text.split("]")[0]]
    try:
        parts = [float(part) for part in found[0].split(",")]
        assert len(parts) == 4
    except (ValueError, AssertionError):
        parts = [0.0] * 4
    x, y = max(height - width, 0) // 2, max(width - height, 0) // 2
    read = torch.tensor(parts, dtype=torch.float32) * max(width, height)
    gold = torch.tensor([true[0] + x, true[1] + y, true[2] + x, true[3] + y], dtype=torch.float32)
    sides = (torch.minimum(read[2:], gold[2:]) - torch.maximum(read[:2], gold[:2])).clamp(min=0)
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (read, gold)]
    return (sides.prod() / (area[0] + area[1] - sides.prod())).item()


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (500, 333), (33, 32)])
def test_the_official_overlap_is_that_of_the_official_formula(size):
    draw = np.random.default_rng(1)
    for _ in range(300):
        x0, x1 = np.sort(draw.uniform(0, size[0], 2))
        y0, y1 = np.sort(draw.uniform(0, size[1], 2))
        true = (x0, y0, x1 + 1, y1 + 1)
        box = np.array(Letterbox.of(*size).box_to_square(true)) + draw.normal(0, 0.05, 4)
        text = "[" + ",".join(f"{v:.2f}" for v in box) + "] and more]"
        assert official_iou(text, true, size) == by_the_formula(text, true, size)


UNREAD = ["", "no box", "[0.1,0.2,0.3]", "[0.1,0.2,0.3,0.4;0.1,0.2,0.3,0.4]", "[a,b,c,d]", "[]"]


@pytest.mark.parametrize("text", UNREAD)
def test_what_the_official_script_can_not_read_is_no_overlap(text):
    assert official_iou(text, (0, 0, 20, 20), SIZE) == 0.0
    assert official_iou(text, (0, 0, 20, 20), SIZE) == by_the_formula(text, (0, 0, 20, 20), SIZE)


def test_text_before_the_first_closing_bracket_is_read_officially_as_well():
    box = (8.0, 8.0, 40.0, 40.0)
    text = as_written(box, PLACE)[1:]
    assert official_iou(text, box, SIZE) > 0.9


def test_true_boxes_score_full_marks_and_lost_ones_none():
    scenes = some_scenes()
    asked = []
    for scene in scenes:
        place = Letterbox.of(*scene.size)
        for words, box, _ in scene.expressions:
            text = as_written(box, place)
            found, _, _ = to_detections(parse(text), place)
            line = written("") | {"text": text, "status": "OK", "size": list(scene.size)}
            line |= {"boxes": [list(found[0].box)], "scores": [0.9]}
            asked.append((sample(len(asked), text=words, boxes=(box,)), line))
    table = named(asked)
    assert table["refcoco.val.acc50"].correct == 1.0 == table["refcoco.val.acc50"].official
    assert table["refcoco.val.centre"].correct == 1.0
    assert table["refcoco.val.miou"].correct > 0.95
    table = named([(one, written("no idea")) for one, _ in asked])
    for name in ("acc50", "acc75", "acc90", "macc", "miou", "centre"):
        assert table[f"refcoco.val.{name}"].correct == 0.0
    assert table["refcoco.val.parse_failed"].correct == 1.0


def shifted(iou):
    """A true box, and the text of a box that overlaps it so much."""
    return (0.0, 0.0, 32.0, 32.0), f"[0.0,0.125,{0.5 * iou},0.625]"


def test_columns_where_they_differ():
    right, almost = shifted(1.0), shifted(0.25)
    asked = [
        (sample(0, boxes=(right[0],), key="same"), written(right[1])),
        (sample(1, boxes=(almost[0],), key="same"), written(almost[1])),
        (sample(2, boxes=(right[0],)), written(f"[[0,0,0]] {right[1]}")),
        (sample(3, boxes=(right[0],)), written("", status="TIMEOUT", error="too slow")),
    ]
    table = named(asked, "sphinx-1k")
    score = table["refcoco.val.acc50"]
    # ours: the second row counts, and the third has a box that can be read
    assert (score.correct, score.correct_n) == (0.5, 4)
    # officially the second row is lost, and only the first bracket is read
    assert (score.official, score.official_n) == (pytest.approx(1 / 3), 3)
    assert (score.published, score.source[:8]) == (0.9105, "SPHINX-X")
    assert table["refcoco.val.parse_failed"].correct == 0.25
    assert score.low <= score.correct <= score.high


def test_the_threshold_itself_counts_and_strictly_it_does_not():
    true, text = shifted(0.5)
    asked = [(sample(0, boxes=(true,)), written(text))]
    table = named(asked)
    assert table["refcoco.val.miou"].correct == 0.5
    assert table["refcoco.val.acc50"].correct == 1.0 == table["refcoco.val.acc50"].official
    assert table["refcoco.val.strict50"].correct == 0.0
    (strict,) = [s for s in scores([(sample(0, dataset="ref-l4", boxes=(true,)), written(text))])
                 if s.name == "ref-l4.val.acc50"]  # fmt: skip
    assert (strict.correct, strict.official) == (1.0, 0.0)


def test_ref_l4_is_scored_as_a_whole_as_well():
    true, text = shifted(1.0)
    asked = [
        (sample(0, dataset="ref-l4", split="val", boxes=(true,)), written(text)),
        (sample(1, dataset="ref-l4", split="test", boxes=(true,)), written("")),
    ]
    table = named(asked, "sphinx-1k")
    assert table["ref-l4.val.acc50"].correct == 1.0 and table["ref-l4.test.acc50"].correct == 0.0
    assert (table["ref-l4.all.acc50"].correct, table["ref-l4.all.acc50"].published) == (
        0.5,
        0.7852,
    )


def test_sizes_and_things_that_are_not_there():
    big = [0, 0, 640, 640]
    line = written("[0,0,1,1]") | {"size": [640, 640], "boxes": [big]}
    asked = [
        (sample(0, boxes=((0, 0, 64, 64),)), line),
        (sample(1, boxes=((0, 0, 200, 200),)), line),
        (sample(2, boxes=((0, 0, 640, 640),)), line),
        (sample(3), written("There is no mug.", status="NOT_FOUND")),
        (sample(4), line),
    ]
    table = named(asked)
    for name, value in (("small", 0.0), ("medium", 0.0), ("large", 1.0)):
        score = table[f"refcoco.val.{name}_acc50"]
        assert (score.correct, score.correct_n) == (value, 1)
    assert (table["refcoco.val.absent_acc"].correct, table["refcoco.val.acc50"].correct_n) == (
        0.5,
        3,
    )
    assert table["refcoco.val.none"].correct == pytest.approx(0.2)
    assert table["refcoco.val.parse_failed"].correct == 0.0


def test_refused_questions_count_nowhere():
    true, text = shifted(1.0)
    asked = [(sample(0, boxes=(true,)), written(text)), (sample(1), {"refused": "no picture"})]
    assert named(asked)["refcoco.val.acc50"].correct_n == 1


def test_calibrated_scores_are_told_from_answers_with_presence():
    true, text = shifted(1.0)
    asked = []
    for number in range(60):
        there = number % 3 > 0
        line = written(text, presence=0.9 if there else 0.2, sigma=[[1.0] * 4])
        line["expected"], line["scores"] = line["boxes"], [0.8 if there else 0.3]
        asked.append((sample(number, boxes=(true,) if there else ()), line))
    table = named(asked)
    assert table["refcoco.val.auroc"].correct == 1.0
    assert table["refcoco.val.present_kept"].correct == 1.0
    # each is told with the answers that it is of
    unread = [(sample(60 + n, boxes=(true,)), written("no box")) for n in range(5)]
    counts = {name: one.correct_n for name, one in named([*asked, *unread]).items()}
    assert [counts[f"refcoco.val.{name}"] for name in ("auroc", "ece")] == [60, 60]
    assert [counts[f"refcoco.val.{name}"] for name in ("present_kept", "miou_expected")] == [
        45,
        45,
    ]
    assert counts["refcoco.val.coverage90"] == 40
    made = calibration(asked, "test")
    assert made.questions == 60 and 0.2 < made.present <= 0.9
    assert calibration([(one, written(text)) for one, _ in asked], "test") is None


# intervals


def test_the_interval_holds_whole_pictures():
    values = [1.0, 0.0] * 200
    alone = interval95(values, [str(n) for n in range(400)])
    pairs = interval95([1.0] * 200 + [0.0] * 200, [str(n // 40) for n in range(400)])
    assert alone[0] < 0.5 < alone[1] and pairs[1] - pairs[0] > 3 * (alone[1] - alone[0])
    assert interval95(values, [str(n) for n in range(400)]) == alone, "no chance in it"
    assert all(map(math.isnan, interval95([], [])))
    # 95 % of a binomial's mean: about 1.96 sqrt(p (1 - p) / n) on either side
    assert (alone[1] - alone[0]) / 2 == pytest.approx(1.96 * 0.5 / 20, rel=0.15)


# words


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("The dog.", "dog"),
        ("Two dogs", "2 dogs"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("'ow'sat", "'ow's'at"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("black and white!", "black and white"),
        ("t-shirt", "t shirt"),
        ("  a\nred\tcar ", "red car"),
    ],
)
def test_answers_are_normalised_as_vqa_does(said, plain):
    assert normalised(said) == plain


def test_agreement_with_people_is_min_of_n_over_3_with_one_left_out():
    for count, value in ((0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)):
        people = ["red"] * count + ["blue"] * (10 - count)
        assert vqa_score("Red.", people) == pytest.approx(value)


def test_the_official_script_of_vqa_normalises_people_by_halves():
    """LLaMA2-Accessory, utils/vqa_eval.py: punctuation alone, and nothing where all agree."""
    for said, people, ours, theirs in (
        ("2", ["two"] * 10, 1.0, 0.0),
        ("coca cola", ["coca-cola"] * 10, 1.0, 0.0),
        ("the dog", ["the dog"] * 9 + ["cat"], 1.0, 0.0),
        ("t-shirt", ["t-shirt"] * 9 + ["shirt"], 1.0, 1.0),
        ("somebody'd", ["somebody'd"] * 9 + ["x"], 1.0, 0.0),
    ):
        assert vqa_score(said, people) == pytest.approx(ours)
        assert official_vqa(said, people) == pytest.approx(theirs)


def test_vqa_is_officially_rounded_to_two_digits_of_percent():
    asked = [
        (sample(n, Family.VQA, "vqav2", answers=("red",) * 10), written("red" if n else "blue"))
        for n in range(3)
    ]
    score = named(asked)["vqav2.val.acc"]
    assert score.correct == pytest.approx(2 / 3) and score.official == 0.6667


def test_exact_words_and_loosely_the_same():
    asked = [
        (sample(0, Family.EXACT, "gqa", "testdev", answers=("Yes",)), written("yes.")),
        (sample(1, Family.EXACT, "gqa", "testdev", answers=("dog",)), written("a dog")),
        (sample(2, Family.EXACT, "gqa", "testdev", answers=("cat",), key="1"), written("cat")),
    ]
    table = named(asked)
    assert table["gqa.testdev.acc"].correct == pytest.approx(2 / 3)
    assert table["gqa.testdev.loose_acc"].correct == 1.0
    assert (table["gqa.testdev.acc"].official, table["gqa.testdev.acc"].official_n) == (0.5, 2)


def test_choices_are_read_and_never_drawn_by_lot():
    given = {"choices": ("cat", "dog", "cow"), "answers": ("B",)}
    answers = ["B", "B. dog", "dog", "The answer is B.", "C", "I do not know", "E"]
    asked = [
        (sample(n, Family.CHOICE, "scienceqa", "test", **given), written(text))
        for n, text in enumerate(answers)
    ]
    table = named(asked)
    assert table["scienceqa.test.acc"].correct == pytest.approx(4 / 7)
    assert table["scienceqa.test.unparsed"].correct == pytest.approx(2 / 7)
    official = [official_choice(text, "B") for text in answers]
    assert official == [1.0, 1.0, 0.2, 0.2, 0.0, 0.2, 0.0]
    assert table["scienceqa.test.acc"].official == pytest.approx(sum(official) / 7)


# yes and no


def test_yes_and_no_are_read_in_three_ways():
    for text, ours, pope, mme in (
        ("Yes", "yes", "yes", "yes"),
        ("no.", "no", "no", "no"),
        ("There is not.", "", "no", ""),
        ("Maybe", "", "yes", ""),
        ("No, there is a dog", "no", "no", "no"),
        (" - yes", "yes", "yes", ""),
    ):
        assert (yes_or_no(text), official_pope(text), official_mme(text)) == (ours, pope, mme)


def test_pope_with_the_share_of_yes():
    asked = []
    for split in ("random", "popular"):
        for number, (true, text) in enumerate(
            [("yes", "Yes"), ("yes", "No"), ("no", "no"), ("no", "Perhaps")]
        ):
            one = sample(number, Family.YES_NO, "pope", split, answers=(true,))
            asked.append((one, written(text)))
    table = named(asked, "sphinx-1k")
    assert table["pope.random.acc"].correct == 0.5 == table["pope.all.acc"].correct
    assert table["pope.random.unparsed"].correct == 0.25
    assert table["pope.random.yes_rate"].correct == 0.25
    assert table["pope.random.precision"].correct == 1.0
    assert table["pope.random.f1"].correct == pytest.approx(2 / 3)
    # POPE's own script takes "Perhaps" for yes
    assert table["pope.random.yes_rate"].official == 0.5
    assert table["pope.random.precision"].official == 0.5
    assert table["pope.all.acc"].correct_n == 8
    assert table["pope.all.f1"].published == 0.908


def test_mme_counts_pictures_of_which_both_answers_are_right():
    said = ["Yes", "No", "Yes", "Yes"]
    true = ["yes", "no", "yes", "no"]
    asked = [
        (sample(n, Family.PAIRS, "mme", "test", answers=(true[n],), group="color"),
         written(said[n])) for n in range(4)
    ]  # fmt: skip
    table = named(asked, "sphinx")
    assert table["mme.color.acc"].correct == 0.75
    assert table["mme.color.acc_plus"].correct == 0.5
    assert table["mme.perception.score"].correct == 125.0
    assert table["mme.perception.score"].published == 1476.1
    assert "mme.cognition.score" not in table


# average precision


def detected(things):
    """Two pictures of one category with two true boxes each; given boxes with scores."""
    true = ((2.0, 2.0, 20.0, 20.0), (30.0, 10.0, 50.0, 40.0))
    more = {"category": 1, "size": SIZE, "crowd": [0, 0], "area": [324.0, 600.0]}
    asked = []
    for image in (1, 2):
        one = sample(2 * image, Family.DETECT, "coco-detect", boxes=true,
                     more=more | {"image": image})  # fmt: skip
        line = written("") | {"boxes": [list(b) for b, _ in things], "status": "OK"}
        asked.append((one, line | {"scores": [score for _, score in things]}))
    return true, asked


@needs_coco
def test_average_precision_by_scores_and_by_one_constant():
    true, asked = detected([])
    assert named(asked)["coco-detect.val.ap"].correct == 0.0
    _, asked = detected([(box, 0.9) for box in true])
    table = named(asked)
    assert table["coco-detect.val.ap"].correct == pytest.approx(1.0)
    assert table["coco-detect.val.f1"].correct == 1.0
    wrong = (0.0, 30.0, 10.0, 47.0)
    _, asked = detected([(wrong, 0.1), *((box, 0.9) for box in true)])
    table = named(asked)
    assert table["coco-detect.val.ap"].correct == pytest.approx(1.0), "the wrong box comes last"
    assert table["coco-detect.val.ap_constant"].correct < 0.95
    assert table["coco-detect.val.f1"].correct == pytest.approx(0.8)


@needs_coco
def test_d3_by_halves_and_officially_by_one_constant():
    box = (2.0, 2.0, 20.0, 20.0)
    asked = []
    for number, (half, found) in enumerate((("pres", [box]), ("abs", []))):
        more = {"category": number + 1, "size": SIZE, "crowd": [0], "area": [324.0], "image": 1,
                "halves": [half]}  # fmt: skip
        one = sample(number, Family.DETECT, "d3", "full", boxes=(box,), more=more)
        line = written("") | {"boxes": [list(b) for b in found], "scores": [0.4] * len(found)}
        asked.append((one, line))
    table = named(asked, "sphinx")
    assert [table[f"d3.{part}.ap"].correct for part in ("full", "pres", "abs")] == pytest.approx(
        [0.5, 1.0, 0.0]
    )
    assert table["d3.full.ap"].official == pytest.approx(0.5)
    assert table["d3.full.ap"].published == 0.106


@needs_coco
def test_average_precision_of_poses():
    joints = [v for n in range(17) for v in (10.0 + n, 12.0 + n % 5, 2)]
    more = {"image": 1, "size": SIZE, "keypoints": [joints], "crowd": [0], "area": [900.0 * 4]}
    one = sample(0, Family.POSE, "coco-pose", boxes=((5.0, 5.0, 40.0, 40.0),), more=more)
    pose = {"joints": [[10.0 + n, 12.0 + n % 5] for n in range(len(COCO_KEYPOINTS))], "score": 0.7}
    far = {"joints": [[x + 30, y] for x, y in pose["joints"]], "score": 0.2}
    table = named([(one, written("", poses=[far, pose]))])
    assert table["coco-pose.val.ap"].correct == pytest.approx(1.0)
    assert named([(one, written("", poses=[far]))])["coco-pose.val.ap"].correct == 0.0


# tables


def test_tables_for_people_and_programs():
    true, text = shifted(1.0)
    found = scores([(sample(0, boxes=(true,)), written(text))], "SPHINX")
    plain, marked = plain_table(found), markdown(found, ["2 rows refused"])
    assert "refcoco.val.acc50" in plain and "0.8915" in plain
    assert "| refcoco.val.acc50 | 1.0000 |" in marked and "- 2 rows refused" in marked
    assert "README of LLaMA2-Accessory" in marked
    values = json.loads(json.dumps(as_json(found)))
    assert values["refcoco.val.acc50"]["correct"] == 1.0
    assert values["refcoco.val.acc50"]["published"] == 0.8915
    assert {"questions", "interval95", "official", "counted", "source"} <= set(
        values["refcoco.val.acc50"]
    )


def test_what_is_published_belongs_to_released_checkpoints_and_known_benchmarks():
    assert set(NAMES) <= set(RELEASED)
    assert published("sphinx-1k", "refcocog.test.acc50") == (
        0.8835,
        "SPHINX-X, arXiv 2402.05935v3, table 5",
    )
    assert published("sphinx-v2-1k", "ref-l4.val.macc")[0] == pytest.approx(0.6539)
    assert published("demo", "refcoco.val.acc50") is None
    for name in NAMES:
        for bench in BENCHMARKS.values():
            for split in bench.splits:
                for metric in ("acc50", "acc", "macc", "ap"):
                    known = published(name, f"{bench.name}.{split}.{metric}")
                    assert known is None or (0 < known[0] < 1 and known[1])
