"""Boxes and joints of an answer -> people: whose they are, and nothing lost."""

import json
import math
from pathlib import Path

import pytest

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.results import joint_index, to_poses
from sphinx_ros.prompt.scores import geometric_mean
from sphinx_ros.types import COCO_KEYPOINTS, Visibility

OFFICIAL = json.loads((Path(__file__).parent / "data" / "coords.json").read_text())


def poses(text, place=None, **options):
    return to_poses(parse(text), place or Letterbox.of(100, 100), **options)


def test_named_joints():
    (pose,), unread = poses(
        "<p>nose</p>[0.5,0.1]<p>Left_Shoulder</p>[0.6, 0.3]<p>right ankle</p>[0.4,0.9]",
        region=(1, 2, 3, 4),
        score=lambda span: 0.25,
    )
    assert unread == () and pose.box == (1, 2, 3, 4)
    there = {joint.name: (joint.x, joint.y) for joint in pose.keypoints if not math.isnan(joint.x)}
    expected = {"nose": (50, 10), "left shoulder": (60, 30), "right ankle": (40, 90)}
    assert there == {name: pytest.approx(xy) for name, xy in expected.items()}
    kinds = [joint.visibility for joint in pose.keypoints]
    assert kinds.count(Visibility.UNKNOWN) == 3 and kinds.count(Visibility.ABSENT) == 14
    assert pose.score == pytest.approx(0.25)


def test_a_joint_that_comes_again_is_the_next_person():
    found, unread = poses(
        "<p>person</p>[0.1,0.1,0.4,0.9]<p>nose</p>[0.2,0.2]<p>left hip</p>[0.3,0.5]"
        "<p>nose</p>[0.7,0.2]"
    )
    assert [sum(not math.isnan(joint.x) for joint in pose.keypoints) for pose in found] == [2, 1]
    assert found[0].box == pytest.approx((10, 10, 40, 90)) and found[1].box is None
    assert unread == ()


def test_several_points_in_a_bracket_are_several_people():
    found, _ = poses("<p>nose</p>[0.2,0.2;0.7,0.2]<p>left eye</p>[0.3,0.1;0.8,0.1]")
    assert [pose.keypoints[1].x for pose in found] == pytest.approx([30, 80])


NUMBERS = [round(0.1 + 0.02 * i, 2) for i in range(34)]


@pytest.mark.parametrize(
    "text",
    [
        "human keypoints [" + ", ".join(map(str, NUMBERS)) + "]",
        "[" + ";".join(f"{x},{y}" for x, y in zip(NUMBERS[::2], NUMBERS[1::2], strict=True)) + "]",
        "".join(f"[{x},{y}]" for x, y in zip(NUMBERS[::2], NUMBERS[1::2], strict=True)),
    ],
    ids=["flat", "one bracket", "seventeen brackets"],
)
def test_seventeen_points_without_names(text):
    (pose,), unread = poses(text)
    assert unread == ()
    assert [joint.x for joint in pose.keypoints] == pytest.approx([100 * x for x in NUMBERS[::2]])


def test_a_list_marks_missing_joints_with_zeros():
    values = [0.0, 0.0, *NUMBERS[2:]]
    (pose,), unread = poses("[" + ",".join(map(str, values)) + "]")
    assert pose.keypoints[0].visibility is Visibility.ABSENT and unread == ()


def test_what_is_no_joint_is_reported():
    found, unread = poses("<p>tail</p>[0.2,0.2] <p>nose</p>[0.5,0.5] [0.3,0.3]")
    assert len(found) == 1
    assert unread == ("<p>tail</p>[0.2,0.2]", "[0.3,0.3]")


def test_the_official_example_of_joints():
    text = next(c["text"] for c in OFFICIAL["cases"] if c["text"].count("<p>") == 11)
    (pose,), unread = poses(text)
    absent = [joint.name for joint in pose.keypoints if math.isnan(joint.x)]
    assert unread == () and len(absent) == 6 and "left elbow" in absent


def test_joint_names():
    assert [joint_index(name) for name in COCO_KEYPOINTS] == list(range(17))
    assert joint_index("LEFT_EYE") == 1 and joint_index("left  shoulder") == 5
    assert joint_index("tail") is None


def there(pose):
    """Name -> place of the joints that a pose has."""
    return {joint.name: (joint.x, joint.y) for joint in pose.keypoints if not math.isnan(joint.x)}


FLAT = ",".join(map(str, NUMBERS))
OTHER = ",".join(str(round(1 - value, 2)) for value in NUMBERS)


@pytest.mark.parametrize(
    "text, joints, boxes",
    [
        ("[0,1,1,1]", [], 0),
        ("person[0.1,0.2,0.3,0.4]", [], 0),
        ("nose[0.3,0.3,0.4,0.4]left eye[0.3,0.3]", [1], 0),
        ("person[0.1,0.1,0.4,0.9]person[0.5,0.1,0.9,0.9]<p>nose</p>[0.7,0.2]", [1], 1),
        ("person[0.1,0.1,0.4,0.9]nose[0.2,0.2]person[0.5,0.1,0.9,0.9]nose[0.6,0.2]", [1, 1], 2),
        ("person[0.1,0.1,0.4,0.9;0.5,0.1,0.9,0.9]nose[0.2,0.2;0.7,0.2]", [1, 1], 2),
        ("<p>nose</p>[0.3,0.3]<p>nose</p>[0.4,0.3;0.7,0.4]", [1, 1, 1], 0),
        ("nose[0.1,0.1] nose[0.2,0.2;0.3,0.3]", [1, 1, 1], 0),
        ("nose[0.1,0.5;0.5,0.5]left eye[0.1,0.4]left eye[0.5,0.4]", [2, 2], 0),
        (f"[{FLAT};{OTHER}]", [17, 17], 0),
        (f"person[0.1,0.1,0.9,0.9][{FLAT}][{OTHER}]", [17, 17], 1),
        ("[" + ",".join(["0"] * 34) + "]", [], 0),
        ("tail[0.5,0.5]", [], 0),
    ],
)
def test_whatever_is_written_is_a_joint_a_box_or_unread(text, joints, boxes):
    parsed = parse(text)
    found, unread = poses(text)
    assert [len(there(pose)) for pose in found] == joints
    assert sum(pose.box is not None for pose in found) == boxes
    lost = parsed.n_boxes + parsed.n_points - sum(joints) - boxes
    assert bool(lost) == bool(unread) and len(unread) <= lost


def test_a_joint_belongs_to_the_person_whose_box_it_lies_in():
    text = "person[0.1,0.1,0.4,0.9]person[0.5,0.1,0.9,0.9]"
    (pose,), unread = poses(text + "<p>nose</p>[0.7,0.2]")
    assert pose.box == pytest.approx((50, 10, 90, 90))
    assert unread == ("<p>person</p>[0.1,0.1,0.4,0.9]",)
    one, other = poses(text + "nose[0.7,0.2]left eye[0.7,0.1]nose[0.2,0.2]left eye[0.2,0.1]")[0]
    assert there(one)["nose"] == pytest.approx((20, 20)) and one.box == pytest.approx(
        (10, 10, 40, 90)
    )
    assert there(other)["left eye"] == pytest.approx((70, 10))


@pytest.mark.parametrize(
    "text",
    [
        "<p>nose</p>[0.2,0.2]<p>left hip</p>[0.3,0.5]" * 4,
        "<p>nose</p>[0.2,0.2]<p>left hip</p>[0.3,0.5]" * 4 + "<p>nose</p>[0.2,0.2]",
        "person[0.1,0.1,0.4,0.9]nose[0.2,0.2]left hip[0.3,0.5]" * 3,
        "nose[0.2,0.2]nose[0.2,0.2]left hip[0.3,0.5]",
        f"[{FLAT}]" * 3,
    ],
    ids=["loop", "cut loop", "with boxes", "stutter", "lists"],
)
def test_a_person_said_again_is_one_person_and_reported(text):
    found, unread = poses(text)
    assert len(found) == 1 and unread
    assert all(part.endswith(" (repeated)") for part in unread)


def test_names_with_a_lost_tag_or_a_space():
    (pose,), unread = poses("nose</p>[0.5,0.1]<p>left eye</p>[0.6,0.1] right eye [0.4,0.1]")
    assert list(there(pose)) == ["nose", "left eye", "right eye"] and unread == ()


def test_the_score_of_a_person_is_unknown_or_zero_where_a_joint_is():
    text = "<p>nose</p>[0.5,0.1]<p>left eye</p>[0.6,0.1]"
    scores = iter([0.25, 1.0, 0.25, math.nan])
    assert poses(text, score=lambda span: next(scores))[0][0].score == pytest.approx(0.5)
    assert math.isnan(poses(text, score=lambda span: next(scores))[0][0].score)


def test_geometric_mean():
    assert geometric_mean([0.25, 1.0]) == pytest.approx(0.5)
    assert geometric_mean([0.0, 0.5]) == pytest.approx(0.0, abs=1e-5)
    assert math.isnan(geometric_mean([])) and math.isnan(geometric_mean([0.5, math.nan]))
