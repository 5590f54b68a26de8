"""Reading answers: against the official demo and evaluation, and against hostile text."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.results import to_detections, to_poses
from sphinx_ros.types import COCO_KEYPOINTS, ScoreSource, iou

OFFICIAL = json.loads((Path(__file__).parent / "data" / "coords.json").read_text())

DELIBERATE = {
    # The official pattern for a number wants digits, a point and digits.
    "[0,0,1,1]": ("integers are numbers", [("", (0, 0, 1, 1))], 0),
    "[0,0.5,1,0.9]": ("official loses 0 and 1 and makes it a point", [("", (0, 0.5, 1, 0.9))], 0),
    "[.5,.5,.9,.9]": ("official loses all four", [("", (0.5, 0.5, 0.9, 0.9))], 0),
    "[-0.1,0.2,0.3,0.4]": ("just outside: clipped later", [("", (-0.1, 0.2, 0.3, 0.4))], 0),
    "[0.1..2,0.3,0.4,0.5]": ("official takes 0.1, loses 2", [], 1),
    "[0.1.2,0.3,0.4,0.5]": ("official takes 0.1, loses .2", [], 1),
    "[10.5,20.25,30.125,40.0]": ("no fractions: official draws far outside", [], 1),
    # Labels.
    "<p>outer <p>inner</p>[0.1,0.2,0.3,0.4]": (
        "a label holds no tag", [("inner", (0.1, 0.2, 0.3, 0.4))], 0
    ),
    "<p>line\nbreak</p>[0.1,0.2,0.3,0.4]": (
        "a label may be wrapped", [("line break", (0.1, 0.2, 0.3, 0.4))], 0
    ),
    # The demo's own mark for brackets that it has dealt with; a model does not write it.
    "|||[0.1,0.2,0.3,0.4]": ("no mark of the model's", [("", (0.1, 0.2, 0.3, 0.4))], 0),
}  # fmt: skip
"""Text -> (why ours differs, what ours reads, how many unread parts)."""


def read(text):
    """Ours as [(label, numbers)] in reading order."""
    found = []
    for item in parse(text).items:
        spans = (*item.box_spans, *item.point_spans)
        pairs = sorted(zip(spans, (*item.boxes, *item.points), strict=True))
        found += [(item.label, values) for _, values in pairs]
    return found


def official(case):
    """The official result as [(label, numbers)]; it comes last bracket first, named ones first."""
    return [
        (label, tuple(values))
        for label, lists, _ in reversed(case["result"])
        for values in lists
        if len(values) in (2, 4)  # other counts are ignored when it draws
    ]


@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: repr(case["text"][:40]))
def test_as_the_official_demo(case):
    text = case["text"]
    if text in DELIBERATE:
        _why, expected, unread = DELIBERATE[text]
        assert read(text) == expected != official(case)
        assert len(parse(text).unread) == unread
        return
    ours, theirs = read(text), official(case)
    if any(not label for label, _ in theirs) and any(label for label, _ in theirs):
        # The official order is not the reading order where named and bare ones are mixed.
        assert sorted(ours) == sorted(theirs)
    else:
        assert ours == theirs
    dropped = sum(len(values) not in (2, 4) for _, lists, _ in case["result"] for values in lists)
    if dropped and not ours:
        assert parse(text).unread  # what the official demo drops silently


def flat(rows):
    """All numbers of the sorted rows."""
    return [value for row in sorted(rows) for value in row]


@pytest.mark.parametrize("number", range(5))
def test_source_pixels_as_the_official_demo(number):
    """Boxes and points come out where the official demo draws them, for five picture sizes."""
    compared = 0
    for case in OFFICIAL["cases"]:
        if case["text"] in DELIBERATE:
            continue
        draw = case["draw"][number]
        place = Letterbox.of(*draw["size_wh"])
        items = parse(case["text"]).items
        boxes = [place.box_to_source(box) for item in items for box in item.boxes]
        points = [place.to_source(*point) for item in items for point in item.points]
        drawn = [values for shape, values, *_ in draw["ops"] if shape == "rectangle"]
        rings = [values for shape, values, *_ in draw["ops"] if shape == "ellipse"]
        if "error" in draw:  # it stopped at the first inverted box
            assert any(b[2] < b[0] or b[3] < b[1] for b in boxes)
            continue
        assert flat(boxes) == pytest.approx(flat(map(tuple, drawn)))
        middles = [((a + c) / 2, (b + d) / 2) for a, b, c, d in rings]
        assert flat(points) == pytest.approx(flat(middles))
        compared += len(boxes) + len(points)
    assert compared > 60


def test_all_the_official_results_are_compared():
    assert len(OFFICIAL["cases"]) == 67
    assert set(DELIBERATE) <= {case["text"] for case in OFFICIAL["cases"]}


@pytest.mark.parametrize("case", OFFICIAL["rec_eval"], ids=lambda case: repr(case["answer"][:30]))
def test_as_the_official_rec_evaluation(case):
    place = Letterbox.of(case["width"], case["height"])
    detections, _, unread = to_detections(parse(case["answer"]), place, "mug")
    if not any(case["pred_normalised"]):
        # It reads one box of four numbers or none; ours also reads two boxes in a bracket.
        assert len(detections) == (2 if ";" in case["answer"] else 0)
        assert bool(unread) == ("[" in case["answer"] and not detections)
        return
    assert detections[0].label == "mug" and math.isnan(detections[0].score)
    # Ours is clipped to the picture, which can only bring a box nearer to the truth.
    ours = iou(detections[0].box, case["gt_box_pixels"])
    assert ours >= case["iou"] - 1e-5
    assert (ours >= 0.5) == case["correct"] or ours > case["iou"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("[12%, 20%,30 %,40%]", []),
        ("[12%, 20%, 30%, 40%]", [("", (0.12, 0.2, 0.3, 0.4))]),
        ("[0.47, 0.44, 0.49, 0.50]", [("", (0.47, 0.44, 0.49, 0.5))]),
        (
            "[[0.1,0.2,0.3,0.4],[0.5,0.6,0.7,0.8]]",
            [("", (0.1, 0.2, 0.3, 0.4)), ("", (0.5, 0.6, 0.7, 0.8))],
        ),
        ("[0.1,,0.3,0.4]", []),
        ("[0.1,0.2,0.3,0.4,]", [("", (0.1, 0.2, 0.3, 0.4))]),
        ("<p>a [1] b</p>[0.1,0.2]", [("a [1] b", (0.1, 0.2))]),
        (
            "There are two text[0.1,0.2,0.3,0.4;0.1,0.5,0.3,0.6] and title[0.1,0.7,0.3,0.8].",
            [
                ("text", (0.1, 0.2, 0.3, 0.4)),
                ("text", (0.1, 0.5, 0.3, 0.6)),
                ("title", (0.1, 0.7, 0.3, 0.8)),
            ],
        ),
        (
            'There are "Virtual[0.25,0.30,0.52,0.38], Office[0.1,0.2,0.3,0.4]',
            [("Virtual", (0.25, 0.3, 0.52, 0.38)), ("Office", (0.1, 0.2, 0.3, 0.4))],
        ),
        ("There is a tallest building [0.1,0.2,0.3,0.4] here", [("", (0.1, 0.2, 0.3, 0.4))]),
    ],
)
def test_other_forms(text, expected):
    assert read(text) == expected
    assert bool(parse(text).unread) == (not expected or "[1]" in text)


def test_a_good_and_a_bad_box_in_one_bracket():
    parsed = parse("<p>mug</p>[0.1,0.2,0.3,0.4;0.5,0.6,0.7]")
    assert parsed.n_boxes == 1 and parsed.unread == ("[0.5,0.6,0.7]",)


def test_spans_point_at_the_numbers():
    text = "See <p>a</p>[0.1,0.2,0.3,0.4; 0.5,0.6] and [0.7,0.8]"
    first, second = parse(text).items
    assert text[slice(*first.span)] == "[0.1,0.2,0.3,0.4; 0.5,0.6]"
    assert text[slice(*first.box_spans[0])] == "0.1,0.2,0.3,0.4"
    assert text[slice(*first.point_spans[0])] == " 0.5,0.6"
    assert text[slice(*second.span)] == "[0.7,0.8]"


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            "[",
            "]",
            "0.1",
            "0.25,",
            ",",
            ";",
            "-",
            "%",
            ".",
            "<p>",
            "</p>",
            "nose",
            " ",
            "\n",
            "1",
            "(",
            ")",
            "[0.1,0.2,0.3,0.4]",
            "1e9",
            "\u0661.\u0662",
            "\u00b2",
            "9" * 400,
            "nan",
            "[0.5,0.6]",
            "left eye",
            "\0",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=150)
@given(st.one_of(FRAGMENTS, st.text(max_size=200)))
def test_any_text_can_be_read(text):
    parsed = parse(text)
    for item in parsed.items:
        assert text[item.span[0]] == "[" and text[item.span[1] - 1] == "]"
        assert len(item.boxes) == len(item.box_spans)
        assert len(item.points) == len(item.point_spans)
    place = Letterbox.of(640, 480)
    detections, keypoints, unread = to_detections(parsed, place)
    # Nothing vanishes: each box and point is a result or is reported.
    found = len(detections) + len(keypoints) + len(unread)
    assert found == parsed.n_boxes + parsed.n_points + len(parsed.unread)
    for x0, y0, x1, y1 in (detection.box for detection in detections):
        assert 0 <= x0 <= x1 <= 640 and 0 <= y0 <= y1 <= 480
    for point in keypoints:
        assert 0 <= point.x <= 640 and 0 <= point.y <= 480
    poses, unread = to_poses(parsed, place)
    for pose in poses:
        assert [joint.name for joint in pose.keypoints] == list(COCO_KEYPOINTS)
    joints = sum(not math.isnan(joint.x) for pose in poses for joint in pose.keypoints)
    boxes = sum(pose.box is not None for pose in poses)
    assert joints + boxes + len(unread) == parsed.n_boxes + parsed.n_points + len(parsed.unread)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        "[ " * 500_000,
        "<p>" * 333_000,
        "<p>[1" * 40_000,
        "1" * 10**6 + "]",
        "(1," * 333_000,
        "[0.1," * 40_000,
        "[" + "1" * 10**6 + "]",
        "a" * 10**6 + "[1]",
        "[" + "0.1," * 250_000,
        " " * 10**6 + "[",
        "]" * 100_000,
        "1]" * 40_000,
    ],
    ids=lambda text: f"{text[:6]!r} {len(text)}",
)
def test_hostile_text_takes_linear_time(text):
    began = time.process_time()
    assert parse(text).items == ()
    assert time.process_time() - began < 5, "a square would take hours"


PLACE = Letterbox.of(640, 480)


def detect(text, **options):
    return to_detections(parse(text), PLACE, **options)


def test_inverted_corners_are_ordered_and_boxes_clipped():
    detections, _, unread = detect("[0.75,0.75,0.25,0.25][0.0,0.0,1.0,1.0]")
    assert [d.box for d in detections] == [(160, 80, 480, 400), (0, 0, 640, 480)]
    assert unread == ()


def test_what_lies_in_the_border_is_reported():
    detections, keypoints, unread = detect("<p>mug</p>[0.1,0.0,0.2,0.1] [0.5,0.02] [0.5,0.124]")
    assert detections == ()
    assert [(p.x, p.y) for p in keypoints] == [(320.0, 0.0)]  # 0.6 px outside: rounding
    assert unread == ("<p>mug</p>[0.1,0,0.2,0.1]", "[0.5,0.02]")


def test_a_box_of_no_width_stays():
    (detection,), _, unread = detect("[0.5,0.5,0.5,0.6]")
    assert detection.box == pytest.approx((320, 240, 320, 304)) and unread == ()


def test_scores_come_from_the_characters_of_a_box():
    text = "<p>a</p>[0.1,0.3,0.3,0.4;0.5,0.6,0.7,0.8] [0.2,0.3,0.3,0.5]"
    scores = {"0.1,0.3,0.3,0.4": 0.5, "0.5,0.6,0.7,0.8": 0.25}
    detections, _, _ = detect(text, score=lambda s: scores.get(text[slice(*s)], math.nan))
    assert [d.score for d in detections[:2]] == [0.5, 0.25]
    assert [d.score_source for d in detections] == [1, 1, ScoreSource.NONE]


@pytest.mark.parametrize(
    "text",
    [
        "<p>mug</p>[0.26,0.23,0.52,0.82]" * 12,
        "<p>mug</p>[" + ";".join(["0.26,0.23,0.52,0.82"] * 12) + "]",
        "mug[0.26,0.23,0.52,0.82]<p>mug</p>[0.52,0.82,0.26,0.23]",
        "mug[0.26,0.23,0.52,0.82]<p>mug</p>[0.261,0.23,0.52,0.82]",
        "<p>mug</p>[0.2,0.2]" * 3,
    ],
    ids=["brackets", "one bracket", "corners", "a thousandth", "points"],
)
def test_what_is_said_again_is_one_thing_and_reported(text):
    detections, keypoints, unread = detect(text)
    assert len(detections) + len(keypoints) == 1
    assert len(unread) == parse(text).n_boxes + parse(text).n_points - 1
    assert all(part.startswith("<p>mug</p>[0.") or "mug" in part for part in unread)
    assert all(part.endswith(" (repeated)") for part in unread)


def test_what_is_said_again_is_known_also_where_the_boxes_are_moved():
    """As by expected coordinates, which lie beside the digits that were written."""

    def moved(found, span):
        return replace(found, box=tuple(value + 40 for value in found.box))

    detections, _, unread = detect("<p>mug</p>[0.26,0.23,0.52,0.82]" * 3, finish=moved)
    assert len(detections) == 1 and len(unread) == 2


def test_boxes_of_other_names_or_places_are_other_things():
    detections, _, unread = detect(
        "<p>mug</p>[0.26,0.23,0.52,0.82]<p>cup</p>[0.26,0.23,0.52,0.82]"
        "<p>mug</p>[0.36,0.23,0.62,0.82]<p>dot</p>[0.5,0.5,0.5,0.5]<p>dot</p>[0.5,0.6,0.5,0.6]"
    )
    assert len(detections) == 5 and unread == ()


@pytest.mark.parametrize(
    "text, label",
    [
        ("[0.1,0.3,0.3,0.4]", "unicorn"),
        ("It is at [0.1,0.3,0.3,0.4].", "unicorn"),
        ("The bounding box is [0.1,0.3,0.3,0.4]", "unicorn"),
        ("The box of the unicorn: [0.1,0.3,0.3,0.4]", "unicorn"),
        ("<p> [0.1,0.3,0.3,0.4]", "unicorn"),
        ("This is what you asked for, as far as I can see it [0.1,0.3,0.3,0.4]", "unicorn"),
        ("x" * 200 + " mug [0.1,0.3,0.3,0.4]", "unicorn"),
        ("white mug</p>[0.1,0.3,0.3,0.4]", "white mug"),
        (" white mug</p> [0.1,0.3,0.3,0.4]", "white mug"),
        ("<p>white mug[0.1,0.3,0.3,0.4]", "white mug"),
        ("<p>white mug [0.1,0.3,0.3,0.4]", "white mug"),
        ("<p>white mug</p> at [0.1,0.3,0.3,0.4]", "white mug"),
        ("white mug [0.1,0.3,0.3,0.4]", "white mug"),
        ("A white mug: [0.1,0.3,0.3,0.4]", "white mug"),
        ("**white mug** [0.1,0.3,0.3,0.4]", "white mug"),
        ("There is a white mug at [0.1,0.3,0.3,0.4].", "white mug"),
        ("I can see two white mugs [0.1,0.3,0.3,0.4]", "white mugs"),
    ],
)
def test_the_label_is_the_models_own_words_where_it_wrote_some(text, label):
    (detection,), _, _ = detect(text, default_label="unicorn")
    assert detection.label == label


def test_lost_tags_in_a_row_keep_their_own_words():
    text = (
        "white mug</p>[0.1,0.3,0.3,0.4]black can</p>[0.6,0.6,0.7,0.7] and a cone [0.2,0.3,0.3,0.5]"
    )
    assert [d.label for d in detect(text)[0]] == ["white mug", "black can", "cone"]
    (one,), _, _ = detect("the mug [0.1,0.3,0.3,0.4]", default_label="the red mug")
    assert one.label == "the red mug"


@pytest.mark.parametrize(
    "words, asked, label",
    [
        ("There is a mug", "the Mug, red", "the Mug, red"),
        ("a cat at", "caterpillar", "cat"),
        ("There is a red mug", "the mug", "red mug"),
        ("a can", "the white candle", "can"),
    ],
)
def test_words_that_say_something_else_than_the_question_are_kept(words, asked, label):
    (one,), _, _ = detect(f"{words} [0.1,0.3,0.3,0.4]", default_label=asked)
    assert one.label == label
