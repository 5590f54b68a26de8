"""Spreads of numbers, presence, calibration: scores that one can act on."""

import json
import math

import numpy as np
import pytest
from small_network import ANSWERS, picture, taught_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.answer.coordinates import span_spreads, spread
from sphinx_ros.answer.judge import Judge, better_box, evidence_of
from sphinx_ros.answer.presence import YesNo
from sphinx_ros.answer.score_calibration import (
    Calibration,
    Evidence,
    fit_sigma,
    fit_threshold,
    fit_weights,
)
from sphinx_ros.answer.written import Written
from sphinx_ros.checkpoint.layout import CALIBRATION
from sphinx_ros.errors import BadRequest, CheckpointError, Status
from sphinx_ros.evaluate.trust import auroc, calibration_of, refer_row, trust
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.results import to_detections
from sphinx_ros.prompt.scores import span_scorer
from sphinx_ros.prompt.wording import presence_question, question
from sphinx_ros.tasks import Task
from sphinx_ros.types import Cost, Detection, Results, ScoreSource

SQUARE = (1000, 1000)
SURE = [[float(digit == d) for digit in range(10)] for d in range(10)]


def test_a_sure_number_has_the_spread_of_its_last_digit():
    known = spread([3, 0, 7], [SURE[3], SURE[0], SURE[7]])
    assert known.mean == pytest.approx(0.307) and known.deviation == pytest.approx(
        0.001 / math.sqrt(12)
    )
    assert spread([5], [SURE[5]], whole=1).mean == pytest.approx(1.5)


def test_the_expected_number_lies_between_the_likely_ones():
    half = [0.0] * 10
    half[4] = half[5] = 0.5
    assert spread([2, 4], [SURE[2], half]).mean == pytest.approx(0.245, abs=0.006)
    wide = spread([2, 4], [[0.1] * 10, SURE[4]])
    assert wide.deviation > 0.2 and abs(wide.mean - 0.45) < 0.1


def test_a_decade_border_is_no_wide_spread():
    border = [0.0, 0.0, 0.45, 0.55, *[0.0] * 6]  # 0.29.. or 0.30..
    near = spread([3, 0, 0], [border, SURE[0], SURE[0]])
    assert near.deviation < 0.03 and 0.28 < near.mean < 0.31


def test_unknown_digits_give_an_unknown_spread():
    for shares in ([()], [[0.0] * 10], [[0.1] * 9]):
        assert math.isnan(spread([1], shares).mean)
    assert math.isnan(spread([], []).deviation)


def test_numbers_of_a_span():
    ids, texts = [0, 1, 2, 3, 4, 5, 6], ["[0.", "1", "2", ",0.", "7", "5", "]"]
    shares = [(), SURE[1], SURE[2], (), SURE[7], SURE[5], ()]
    spreads = span_spreads(ids, shares, lambda some: "".join(texts[i] for i in some))
    assert [one.mean for one in spreads((0, 99))] == pytest.approx([0.12, 0.75])
    assert [one.mean for one in spreads((6, 99))] == pytest.approx([0.75])


def test_yes_and_no_in_any_spelling():
    both = YesNo((3, 9), (4,))
    assert both.presence((0.2, 0.1, 0.1)) == pytest.approx(0.75)
    assert math.isnan(both.presence((0.0, 0.0, 0.0))) and math.isnan(both.presence(()))
    assert math.isnan(YesNo((), ()).presence(()))


def evidence(count, seed=0):
    """Boxes that are right the more often, the higher presence and the smaller error."""
    draw = np.random.default_rng(seed)
    made, right = [], []
    for _ in range(count):
        presence, error = draw.random(), 10 ** draw.uniform(-2, 0)
        made.append(Evidence(draw.uniform(0.3, 1), presence, error, draw.uniform(0.05, 0.5)))
        chance = 1 / (1 + math.exp(-(4 * (presence - 0.4) - 2 * math.log10(error) - 2)))
        right.append(draw.random() < chance)
    return made, right


def test_calibrated_scores_are_probabilities():
    made, right = evidence(4000)
    calibration = Calibration(fit_weights(made, right), 0.5, 1.0)
    fresh, truth = evidence(4000, seed=1)
    scores = np.array([calibration.score(one) for one in fresh])
    truth = np.array(truth)
    for low in np.arange(0, 1, 0.2):
        inside = (scores >= low) & (scores < low + 0.2)
        if inside.sum() > 100:
            assert truth[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.06)


def test_weights_stay_finite_where_all_is_right():
    made, _ = evidence(50)
    weights = fit_weights(made, [True] * 50)
    assert all(map(math.isfinite, weights))
    assert Calibration(weights, 0.5, 1).score(made[0]) > 0.9
    assert math.isnan(Calibration(weights, 0.5, 1).score(Evidence(math.nan, 1, 1, 1)))


def test_the_threshold_keeps_what_is_there():
    there, absent = [0.9, 0.95, 0.99, 0.97] * 25, [0.01, 0.02, 0.2, 0.1] * 25
    assert fit_threshold(there + absent, [True] * 100 + [False] * 100) == 0.5
    low = fit_threshold([0.3] * 100 + [0.1] * 50, [True] * 100 + [False] * 50)
    assert 0.1 < low < 0.3
    assert fit_threshold([], []) == 0.5


def test_sigma_covers_its_share():
    draw = np.random.default_rng(0)
    deviations = draw.uniform(1, 5, 20_000)
    errors = draw.standard_normal(20_000) * deviations * 3
    assert fit_sigma(errors, deviations) == pytest.approx(3, rel=0.05)


def test_the_file_beside_a_checkpoint(tmp_path):
    assert Calibration.read(tmp_path) is None
    made = Calibration((0.1, 1.0, 2.0, -1.0, 0.5), 0.4, 1.7, True, 100, "a test")
    made.write(tmp_path)
    assert Calibration.read(tmp_path) == made
    for broken in ("{", "[]", json.dumps({"weights": [1], "present": 0.5, "sigma": 1})):
        (tmp_path / CALIBRATION).write_text(broken)
        with pytest.raises(CheckpointError, match=r"calibrate"):
            Calibration.read(tmp_path)


def test_a_calibration_that_can_not_be_read_is_not_passed_over(tmp_path):
    path = tmp_path / CALIBRATION
    path.symlink_to("gone")
    with pytest.raises(CheckpointError, match="link to gone, which is not there.*calibrate"):
        Calibration.read(tmp_path)
    path.unlink()
    path.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deeply.*calibrate"):
        Calibration.read(tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(CheckpointError, match="git-lfs pointer"):
        Calibration.read(tmp_path)
    assert Calibration.read(tmp_path / ("x" * 5000)) is None


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sigma", 0, "sigma is 0"),
        ("sigma", -1.5, "sigma is -1.5"),
        ("sigma", math.nan, "sigma is nan"),
        ("sigma", math.inf, "sigma is inf"),
        ("present", math.nan, "present is nan"),
        ("questions", math.inf, "OverflowError"),
        ("questions", -3, "questions is -3"),
        ("weights", [1, 2, 3, 4, math.inf], "weights are .*inf"),
        ("weights", [1] * 4, "expected 5"),
        ("weights", "12345", "weights is '1', not a number"),
        ("sigma", "1.7", "sigma is '1.7', not a number"),
        ("present", True, "present is True, not a number"),
        ("expected", "false", "expected is 'false', not true or false"),
        ("expected", 1, "expected is 1, not true or false"),
    ],
)
def test_numbers_that_no_calibration_has(tmp_path, key, value, says):
    good = {"weights": [0.1, 1, 2, -1, 0.5], "present": 0.4, "sigma": 1.7, "questions": 9}
    (tmp_path / CALIBRATION).write_text(json.dumps(good | {key: value}))
    with pytest.raises(CheckpointError, match=rf"{CALIBRATION}.*{says}.*sphinx-ros calibrate"):
        Calibration.read(tmp_path)


def test_exact_boxes_give_a_calibration_that_can_be_read(tmp_path):
    sigma = fit_sigma([0.0, 0.0], [1.0, 2.0])
    Calibration((0.1, 1.0, 2.0, -1.0, 0.5), 0.4, sigma).write(tmp_path)
    assert Calibration.read(tmp_path).sigma == sigma > 0


@pytest.fixture(scope="module")
def taught():
    """Answers yes where it is asked for the red mug, and no for the green one, which it boxes."""
    more = tuple(
        (question(Task.ASK, presence_question(f"the {colour} mug")), word)
        for colour, word in (("red", "yes"), ("green", "no"))
    )
    green = (question(Task.GROUND, "the green mug"), ANSWERS[question(Task.GROUND, "the red mug")])
    return Sphinx.from_pretrained(taught_checkpoint((*more, green)), device="cpu")


def test_presence_is_asked_beside_the_box(taught):
    seen = taught.look(picture(64, 48))
    (red,), (green,) = seen.ground("the red mug"), seen.ground("the green mug")
    if math.isnan(red.presence):
        pytest.skip("yes and no are no pieces of this tokenizer")
    assert red.presence > 0.8 > 0.2 > green.presence
    assert math.isnan(seen.ground("the red mug", verify=False)[0].presence)
    assert all(sigma > 0 for sigma in red.sigma) and red.score_source is (
        ScoreSource.TOKEN_PROBABILITY
    )


def test_what_is_denied_is_not_found_and_its_box_is_kept(taught):
    calibration = Calibration((0.0, 1.0, 1.0, 0.0, 0.0), 0.5, 2.0)
    sphinx = Sphinx(taught.model, taught.tokenizer, calibration=calibration)
    seen = sphinx.look(picture(64, 48))
    red, green = seen.answer(["ground: the red mug", "ground: the green mug"])
    if math.isnan((red.items or red.denied)[0].presence):
        pytest.skip("yes and no are no pieces of this tokenizer")
    assert red.status is Status.OK and red[0].score_source is ScoreSource.CALIBRATED
    assert green.status is Status.NOT_FOUND and not green and len(green.denied) == 1
    assert green.denied[0].score < red[0].score
    raw = taught.look(picture(64, 48)).ground("the red mug")[0]
    assert red[0].sigma == pytest.approx(tuple(2 * s for s in raw.sigma), rel=1e-3)


def test_expected_coordinates_are_beside_the_digits_and_in_their_place_where_better(taught):
    seen = taught.look(picture(64, 48))
    (greedy,), (expected,) = (
        seen.ground("the red mug", coordinates=how) for how in ("greedy", "expected")
    )
    assert expected.box == pytest.approx(greedy.expected) and expected.box != greedy.box
    assert np.abs(np.subtract(expected.box, greedy.box)).max() < 2, "by heart means being sure"
    better = Calibration((0.0, 1.0, 1.0, 0.0, 0.0), 0.5, 2.0, expected=True)
    sphinx = Sphinx(taught.model, taught.tokenizer, calibration=better)
    usual = sphinx.look(picture(64, 48)).ground("the red mug")[0]
    assert usual.box == pytest.approx(expected.box, abs=1e-4)
    with pytest.raises(BadRequest, match="greedy or expected"):
        seen.ground("the red mug", coordinates="best")


def test_where_the_model_wavers_between_two_things_a_point_is_on_the_written_one():
    left, right, middle = (0, 0, 20, 20), (60, 0, 80, 20), (30, 0, 50, 20)
    assert better_box(left, (1, 0, 21, 21)) == (1, 0, 21, 21)
    assert better_box(left, middle) == left and better_box(right, middle) == right


def test_trust_in_scores():
    rows = []
    draw = np.random.default_rng(0)
    for _ in range(3000):
        score = draw.random()
        right = draw.random() < score
        rows.append(
            {"there": True, "kept": True, "score": score, "iou": float(right), "iou_expected": 0.5}
        )
    rows += [{"there": False, "kept": number < 2} for number in range(10)]
    found = trust(rows)
    assert found["ece"] < 0.03 and 0.8 < found["auroc"] < 0.87
    assert found["absent_acc"] == pytest.approx(0.8) and found["present_kept"] == 1.0
    assert math.isnan(trust([])["auroc"]) and math.isnan(trust([])["ece"])
    ranks = auroc(np.array([0.9, 0.8, 0.3, 0.3]), np.array([True, True, False, True]))
    assert ranks == pytest.approx((1 + 1 + 0.5) / 3)


def test_a_calibration_of_rows(tmp_path):
    """Rows whose scores say nothing and whose presence says all."""
    rows, place = [], Letterbox.of(100, 100)
    for number in range(200):
        there = number % 2 == 0
        box = (10.0, 10.0, 30.0, 30.0)
        found = Detection(
            "mug",
            box,
            0.6,
            sigma=(2.0,) * 4,
            expected=(11.0, 10.0, 31.0, 30.0),
            presence=0.9 if there else 0.1,
        )
        true = (11.0, 10.0, 31.0, 30.0) if there else None
        rows.append(refer_row(Results((found,)), true, place))
    made = calibration_of(rows, "a test")
    assert made.expected and made.present == 0.5 and made.questions == 200
    good, bad = (Evidence(0.6, presence, 0.14, 0.2) for presence in (0.9, 0.1))
    assert made.score(good) > 0.9 > 0.1 > made.score(bad)
    assert calibration_of([{"there": True}], "nothing known") is None


def read_box(text, doubts, calibration=None):
    """The box of a bracket, a character a token. doubts: place of a digit -> {other: share}."""
    ids = [ord(letter) for letter in text]
    shares, probabilities = [], []
    for place, letter in enumerate(text):
        row = list(SURE[int(letter)]) if letter.isdigit() else []
        for other, share in doubts.get(place, {}).items():
            row[other], row[int(letter)] = share, 1 - share
        shares.append(row)
        probabilities.append(row[int(letter)] if row else 1.0)

    def decode(some):
        return "".join(map(chr, some))

    score, spreads = span_scorer(ids, probabilities, decode), span_spreads(ids, shares, decode)
    said = Written(text, score, spreads, math.nan, (), (), Cost())
    judge, place = (
        Judge(YesNo((), ()), calibration, calibration is not None),
        Letterbox.of(*SQUARE),
    )
    finish = judge.finish(said, place, 0.95)
    (found,), _, unread = to_detections(parse(text), place, "mug", score, finish)
    assert not unread
    return found


def test_expected_coordinates_keep_the_sign_of_a_number():
    found = read_box("[-0.050,0.200,0.300,0.400]", {})
    assert found.expected == pytest.approx((0, 200, 300, 400), abs=1)
    assert min(found.sigma) < 1


def test_percentages_have_the_score_of_their_hundredths_and_no_spread():
    found = read_box("[10.2%,20.3%,90.4%,41.5%]", {1: {9: 0.5}, 4: {9: 0.9}})
    assert found.box == pytest.approx((102, 203, 904, 415))
    assert math.isnan(found.expected[0]) and math.isnan(found.sigma[0])
    assert found.score == pytest.approx(0.5 ** (1 / 8))  # of "10", "20", "90", "41"


def test_deviations_stand_at_the_sides_of_an_inverted_box():
    found = read_box("[0.800,0.200,0.100,0.400]", {3: {1: 0.4}})
    assert found.box == (100, 200, 800, 400)
    assert found.sigma[2] > 100 > 1 > max(found.sigma[0], found.sigma[1], found.sigma[3])


def test_a_calibrated_score_is_of_the_box_that_was_written():
    calibration = Calibration((0.0, 1.0, 1.0, -1.0, 2.0), 0.3, 1.0)
    text, doubts = "[0.450,0.400,0.500,0.450]", {3: {1: 0.4}}
    raw = read_box(text, doubts)
    found = read_box(text, doubts, calibration)
    assert found.box != raw.box and found.box == found.expected
    evidence = evidence_of(raw, Letterbox.of(*SQUARE))
    assert found.score == pytest.approx(calibration.score(evidence))
