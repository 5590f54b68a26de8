"""Intervals of AP, of ratios and of MME, the truth that D3 counts, joints that are near."""

import contextlib
import io
import math
from pathlib import Path

import numpy as np
import pytest

from sphinx_ros.benchmarks.intervals import interval95
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.benchmarks.scoring import scores
from sphinx_ros.benchmarks.worst_answers import rightness

SIZE = (64, 48)
JOINTS = 17


@pytest.fixture
def library():
    return pytest.importorskip(
        "faster_coco_eval", reason="faster-coco-eval is missing: the extra [eval]"
    )


def sample(number, family, dataset, split="val", **more):
    picture = Picture(Path(f"{number}.png"), f"{number}.png")
    return Sample(dataset, split, str(number), picture, family, "thing", **more)


def named(asked):
    return {one.name: one for one in scores(asked)}


def random_data(seed, pose, images=20, kinds=3):
    """Truth and answers in COCO's form: crowds, equal scores, people without a joint."""
    draw = np.random.default_rng(seed)
    truth, found = [], []
    for image in range(1, images + 1):
        for kind in range(1, kinds + 1):
            for _ in range(draw.integers(0, 4)):
                box = [*draw.uniform(0, 60, 2), *draw.uniform(5, 40, 2)]
                shown = draw.integers(0, 3, JOINTS) * (draw.random() < 0.9)
                at = np.array(box[:2]) + draw.uniform(0, 1, (JOINTS, 2)) * box[2:]
                row = {"image_id": image, "category_id": kind, "bbox": box}
                joints = np.concatenate([at, shown[:, None]], 1).ravel().tolist()
                thing = row | {"id": len(truth) + 1, "area": box[2] * box[3] * 0.7,
                               "iscrowd": int(draw.random() < 0.15)}  # fmt: skip
                more = {"keypoints": joints, "num_keypoints": int((shown > 0).sum())}
                truth.append(thing | more if pose else thing)
                for _ in range(draw.integers(0, 3)):
                    near = [*(np.array(box[:2]) + draw.normal(0, 2, 2)), *box[2:]]
                    score = float(draw.choice([0.1, 0.5, 0.9, draw.random()]))
                    answer = row | {"bbox": near, "score": score}
                    moved = np.concatenate([at + draw.normal(0, 1.5, at.shape), shown[:, None]], 1)
                    found.append(answer | ({"keypoints": moved.ravel().tolist()} if pose else {}))
    kinds = [{"id": n, "name": str(n), "keypoints": ["j"] * JOINTS, "skeleton": []}
             for n in range(1, kinds + 1)]  # fmt: skip
    size = {"width": 100, "height": 100}
    return {
        "images": [{"id": n, **size} for n in range(1, images + 1)],
        "annotations": truth,
        "categories": kinds,
    }, found


@pytest.mark.parametrize("pose", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_every_picture_once_is_the_librarys_own_ap(seed, pose, library):
    from sphinx_ros.benchmarks.precision_interval import ap_interval, categories, mean_precision

    truth, found = random_data(seed, pose)
    with contextlib.redirect_stdout(io.StringIO()):
        known = library.COCO(truth)
        judged = library.COCOeval_faster(
            known, known.loadRes(found), "keypoints" if pose else "bbox"
        )
        judged.run()
    once = mean_precision(categories(judged), np.ones(20), judged.params)
    assert once == pytest.approx(judged.stats[0], abs=1e-12) and 0.02 < once < 0.98
    low, high = ap_interval(judged)
    assert low < once < high


def detected(number, true, found, kind=1, dataset="coco-detect", **more):
    given = {"image": number, "category": kind, "size": SIZE, "crowd": [0] * len(true)}
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in true]
    split = "full" if dataset == "d3" else "val"
    one = sample(number, Family.DETECT, dataset, split, boxes=tuple(true),
                 more=given | {"area": area} | more)  # fmt: skip
    line = {"text": "", "status": "OK", "size": list(SIZE), "boxes": [list(b) for b in found]}
    return one, line | {"scores": [0.5] * len(found)}


BOX = (2.0, 2.0, 20.0, 20.0)


def test_ap_and_f1_have_intervals_by_pictures(library):
    asked = [detected(n, [BOX], [BOX] if n % 2 else []) for n in range(40)]
    table = named(asked)
    for name in ("ap", "ap_constant", "f1"):
        score = table[f"coco-detect.val.{name}"]
        assert 0.3 < score.low < score.correct < score.high < 0.9, name
    empty = named([detected(n, [], [BOX] if n % 2 else []) for n in range(40)])
    score = empty["coco-detect.val.none_acc"]
    assert 0.3 < score.low < score.correct == 0.5 < score.high < 0.7
    assert math.isnan(empty["coco-detect.val.ap"].low)


def test_crowds_are_not_to_be_found_and_what_is_in_them_is_not_wrong(library):
    crowd, other = (30.0, 10.0, 60.0, 40.0), (0.0, 30.0, 10.0, 40.0)
    inside = (32.0, 12.0, 40.0, 20.0)
    one = detected(1, [BOX, crowd], [BOX, inside], crowd=[0, 1])
    alone = detected(2, [crowd], [inside], crowd=[1])
    table = named([one, alone])
    for name in ("ap", "f1"):
        score = table[f"coco-detect.val.{name}"]
        assert (score.correct, score.correct_n) == (pytest.approx(1.0), 1), name
    # where there is a crowd "none" would be no right answer, and no wrong one
    assert table["coco-detect.val.none_acc"].correct_n == 0
    wrong = named([detected(1, [BOX, crowd], [BOX, other], crowd=[0, 1])])
    assert wrong["coco-detect.val.f1"].correct == pytest.approx(2 / 3)
    twice = named([detected(1, [BOX, BOX], [BOX], crowd=[0, 1])])
    assert twice["coco-detect.val.f1"].correct == 1.0


def test_people_without_a_labelled_joint_are_not_to_be_found(library):
    shown, hidden = [v for n in range(JOINTS) for v in (10.0 + n, 12.0 + n % 5, 2)], [0.0] * 51
    more = {"image": 1, "size": SIZE, "keypoints": [shown, hidden, shown], "crowd": [0, 0, 1],
            "area": [900.0] * 3}  # fmt: skip
    one = sample(0, Family.POSE, "coco-pose", boxes=(BOX,) * 3, more=more)
    joints = [[10.0 + n, 12.0 + n % 5] for n in range(JOINTS)]
    line = {"text": "", "status": "OK", "size": list(SIZE), "boxes": [], "scores": []}
    score = named([(one, line | {"poses": [{"joints": joints, "score": 0.5}]})])
    assert score["coco-pose.val.ap"].correct == pytest.approx(1.0)
    assert score["coco-pose.val.ap"].correct_n == 1 == len(one.sought)
    assert rightness(one, line | {"poses": [{}]}) == 1.0


def test_d3_officially_counts_what_is_true_of_sentences_that_were_not_asked(library):
    """Its files have the things of all groups; only the sentences of a picture's own are asked."""
    beside = [(2, BOX, 324.0, ["pres"]), (3, BOX, 324.0, ["abs"])]
    asked = [
        detected(1, [BOX], [BOX], 1, "d3", halves=["pres"], unasked=beside),
        detected(2, [], [], 2, "d3", halves=["pres"], unasked=[]),
    ]
    table = named(asked)
    full, pres = table["d3.full.ap"], table["d3.pres.ap"]
    assert (full.correct, full.correct_n) == (pytest.approx(1.0), 1)
    # one sentence is found, those of two others are missed
    assert (full.official, full.official_n) == (pytest.approx(1 / 3), 3)
    assert (pres.official, pres.official_n) == (pytest.approx(1 / 2), 2)


def test_joints_are_near_within_a_tenth_of_the_box_each_pose_for_one_person(library):
    shown = [v for n in range(JOINTS) for v in (10.0 + n, 12.0, 2 if n < 10 else 0)]
    far = [v + 30 if n % 3 == 0 else v for n, v in enumerate(shown)]
    box, other = (5.0, 5.0, 35.0, 25.0), (35.0, 5.0, 65.0, 25.0)
    more = {"image": 1, "size": SIZE, "keypoints": [shown, far], "crowd": [0, 0],
            "area": [600.0, 600.0]}  # fmt: skip
    one = sample(0, Family.POSE, "coco-pose", boxes=(box, other), more=more)
    pose = [[10.0 + n, 12.0 + (4 if n < 5 else 2.9)] for n in range(JOINTS)]
    line = {"text": "", "status": "OK", "size": list(SIZE), "boxes": [], "scores": []}
    twice = line | {"poses": [{"joints": pose, "score": 0.5}] * 2}
    score = named([(one, twice)])["coco-pose.val.pck"]
    # five of ten joints of the first; the second person has the second pose, which is not near
    assert (score.correct, score.correct_n) == (0.25, 20)
    unknown = {"joints": [[None, None]] * JOINTS, "score": None}
    assert named([(one, line | {"poses": [unknown]})])["coco-pose.val.pck"].correct == 0.0


def test_the_interval_of_a_ratio_divides_by_what_was_drawn():
    hits, whole = [1.0, 0.0] * 50, [1.0, 3.0] * 50
    pictures = [str(n // 2) for n in range(100)]
    assert interval95(hits, pictures, whole) == pytest.approx((0.25, 0.25))
    alone = interval95(hits, [str(n) for n in range(100)], whole)
    assert alone[0] < 0.25 < alone[1]
    assert all(map(math.isnan, interval95([0.0], ["a"], [0.0])))


def test_f1_and_mme_have_intervals():
    asked = []
    for number in range(80):
        true, said = ("yes", "no")[number % 2], ("Yes", "No", "No")[number % 3]
        for dataset, family, more in (
            ("pope", Family.YES_NO, {}),
            ("mme", Family.PAIRS, {"group": ("color", "OCR")[number // 2 % 2]}),
        ):
            one = sample(number // 2, family, dataset, "test", answers=(true,), **more)
            asked.append((one, {"text": said, "status": "OK", "size": list(SIZE), "boxes": []}))
    table = named(asked)
    for name in ("pope.test.f1", "pope.test.yes_rate", "pope.test.precision", "mme.color.acc",
                 "mme.color.acc_plus", "mme.OCR.score", "mme.perception.score"):  # fmt: skip
        score = table[name]
        assert score.low < score.correct < score.high, name
    wide = [table[f"mme.{n}.score"].high - table[f"mme.{n}.score"].low for n in ("color", "OCR")]
    whole = table["mme.perception.score"]
    # parts are drawn apart: their spreads add up as squares
    assert whole.high - whole.low == pytest.approx(math.hypot(*wide), rel=0.15)
