"""A phrase to a point: the model's own, else the middle of the box; and who denies it."""

import math

import pytest
from small_network import CAN, MUG, fresh, picture, taught_checkpoint

from sphinx_ros import Found, Sphinx
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.types import Points, PointSource, ScoreSource

PLACE = Letterbox.of(64, 48)
DENYING = Calibration((0.0, 1.0, 0.0, 0.0, 0.0), present=1.1, sigma=1.0)
TRUSTING = Calibration((0.0, 1.0, 0.0, 0.0, 0.0), present=0.0, sigma=1.0)


@pytest.fixture(scope="module")
def pointing():
    """A checkpoint that was taught to point."""
    said = {
        "the tip": "[0.500,0.250]",
        "the ends": "<p>left end</p>[0.250,0.500] and <p>right end</p>[0.750,0.500]",
        "the can": f"[0.500,0.500] in [{','.join(f'{v:.3f}' for v in CAN)}]",
    }
    pairs = tuple((question(Task.POINT, text), answer) for text, answer in said.items())
    return Sphinx.from_pretrained(taught_checkpoint(pairs))


def spots(points):
    return [(one.name, round(one.x, 3), round(one.y, 3)) for one in points]


def test_the_middle_of_the_grounded_box(taught):
    seen = taught.look(picture(64, 48))
    points, (box,) = seen.point("the red mug"), seen.ground("the red mug")
    (point,) = points
    x0, y0, x1, y1 = PLACE.box_to_source(MUG)
    assert (point.x, point.y) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.1)
    assert points.source is PointSource.BOX and points.status is Status.OK
    assert points.detections[0].box == box.box and point.score == points.detections[0].score
    assert point.name == "the red mug" and points.keypoints == (point,)
    assert points == [point] and points[:0].boxes == () and len(points[:1].boxes) == 1


def test_the_point_that_the_model_writes(pointing):
    seen = pointing.look(picture(64, 48))
    points = seen.point("the tip")
    assert spots(points) == [("the tip", 32, 8)] and 0 < points[0].score <= 1
    assert points.source is PointSource.MODEL and points.detections == ()
    points = seen.point("the ends")
    assert spots(points) == [("left end", 16, 24), ("right end", 48, 24)]
    assert not points.unread


def test_a_point_goes_before_a_box_beside_it(pointing):
    """The box is no result, and not lost."""
    points = pointing.look(picture(64, 48)).point("the can")
    assert spots(points)[:1] == [("the can", 32, 24)] and points.source is PointSource.MODEL
    assert points.boxes == () and "px" in points.unread[-1]


def test_a_model_that_writes_points_goes_on_to_do_so(pointing):
    """What its answers are like is learnt from the first ones; the others cost less."""
    sphinx = fresh(pointing)
    answers = [sphinx.look(picture(64, 48, seed)).point("the tip") for seed in range(4)]
    assert all(spots(one) == [("the tip", 32, 8)] for one in answers)
    assert answers[-1].cost.passes < answers[0].cost.passes


def test_nothing_there_is_not_found(taught):
    points = taught.look(picture(64, 48)).point("the blue ball")
    assert points.status is Status.NOT_FOUND and points == []
    assert points.source is PointSource.NONE and points.raw_text


@pytest.mark.parametrize(("network", "text"), [("taught", "the red mug"), ("pointing", "the tip")])
def test_what_the_model_denies_is_not_pointed_at(request, network, text):
    sphinx = fresh(request.getfixturevalue(network), DENYING)
    seen = sphinx.look(picture(64, 48))
    points = seen.point(text)
    assert points.status is Status.NOT_FOUND and points == [] and points.detections == ()
    assert len(points.denied) == (network == "taught") and points.raw_text
    assert len(seen.point(text, verify=False)) == 1


def test_presence_and_the_score_of_the_box_are_those_of_ground(taught):
    seen = fresh(taught, TRUSTING).look(picture(64, 48))
    (box,) = seen.point("the red mug").detections
    (grounded,) = seen.ground("the red mug")
    assert box.score_source is ScoreSource.CALIBRATED and 0 <= box.presence <= 1
    assert box.presence == pytest.approx(grounded.presence, abs=1e-5)
    assert math.isnan(seen.point("the red mug", verify=False).detections[0].presence)


def test_points_are_told_as_they_are_written(taught, pointing):
    for network, text in ((taught, "the red mug"), (pointing, "the ends")):
        seen = network.look(picture(64, 48))
        events = list(seen.stream(f"point: {text}"))
        told = [event.item for event in events if isinstance(event, Found)]
        result = events[-1].result
        assert isinstance(result, Points) and spots(told) == spots(result) and told


@pytest.mark.parametrize("text", ["", " ", "a\0b", None])
def test_words_are_needed(taught, text):
    with pytest.raises(BadRequest, match="text"):
        taught.look(picture(64, 48)).point(text)
