"""Questions about a region of a picture, asked of the bundled model."""

import pytest
from ros_support import clip_pictures

from sphinx_ros import Sphinx
from sphinx_ros.errors import BadRequest


@pytest.fixture(scope="module")
def looked():
    rgb, truth = clip_pictures(1)[0]
    return Sphinx.from_pretrained("demo", device="cpu").look(rgb), truth


def test_what_is_this_about_each_thing(looked):
    seen, truth = looked
    things = [one for one in truth["objects"] if one["kind"] != "person"]
    answers = [seen.ask("What is this?", box=one["box"]).text for one in things]
    right = [
        one["kind"] in said and one["colour"] in said
        for one, said in zip(things, answers, strict=True)
    ]
    assert len(set(answers)) == len(things) and sum(right) >= len(things) - 1


def test_another_question_is_the_turn_after_the_description(looked):
    seen, truth = looked
    things = [one for one in truth["objects"] if one["kind"] != "person"]
    answers = [seen.ask("What color is it?", box=one["box"]) for one in things]
    right = [one["colour"] == said.text for one, said in zip(things, answers, strict=True)]
    assert sum(right) >= len(things) - 1
    for answer in answers:
        described, said = answer.raw_text.split("\n")
        assert said.strip() == answer.text and described, "nothing that was written is lost"
        assert answer.tokens == answer.cost.tokens > 0


def test_the_same_as_a_query_line(looked):
    seen, truth = looked
    box = truth["objects"][0]["box"]
    line = f"ask: What is this? @ {','.join(map(str, box))}"
    (answer,) = seen.answer([line])
    assert answer.text == seen.ask("What is this?", box=box).text


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (-50, -50, -10, -10), (9000, 0, 9900, 50)])
def test_a_region_that_is_not_in_the_picture_is_refused(looked, box):
    with pytest.raises(BadRequest, match="box"):
        looked[0].ask("What is this?", box=box)
