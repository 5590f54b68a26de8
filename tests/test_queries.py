"""The grammar of query lines, and what is checked of a query."""

import pytest

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.prompt.checks import checked_box, checked_seconds, checked_text, checked_tokens
from sphinx_ros.prompt.queries import MAX_STANDING, Query, read_queries, read_query
from sphinx_ros.tasks import Task

LINES = {
    "ground: the red mug": Query(Task.GROUND, "the red mug"),
    "GROUND :  the mug: red one ": Query(Task.GROUND, "the mug: red one"),
    "detect: mug": Query(Task.DETECT, "mug"),
    "pose": Query(Task.POSE),
    "pose: [1, 2, 30.5, 40]": Query(Task.POSE, box=(1, 2, 30.5, 40)),
    "describe: 1,2,30,40": Query(Task.DESCRIBE, box=(1, 2, 30, 40)),
    "caption": Query(Task.CAPTION),
    "read_text": Query(Task.READ_TEXT),
    "ask: what is 1:2?": Query(Task.ASK, "what is 1:2?"),
}


@pytest.mark.parametrize("line, query", LINES.items())
def test_query_lines(line, query):
    assert read_query(line) == query
    assert read_query(query.line()) == query


@pytest.mark.parametrize(
    "line, says",
    [
        ("find: mug", "is not a query"),
        ("grond: mug", 'did you mean "ground"'),
        ("the red mug", "is not a query"),
        ("ground:", "empty"),
        ("caption: now", "takes no text"),
        ("describe", "box is needed"),
        ("describe: 1,2,3", "four finite numbers"),
        ("describe: a,b,c,d", "four finite numbers"),
        ("pose: 9,9,1,1", "x0 < x1"),
        ("pose: nan,0,1,1", "finite"),
        ("x" * 5000, "..."),
    ],
)
def test_bad_query_lines_are_named(line, says):
    with pytest.raises(SphinxError, match=says) as caught:
        read_query(line)
    assert caught.value.status is Status.BAD_REQUEST and len(str(caught.value)) < 300


def test_standing_queries_are_numbered_and_bounded():
    ids = [q.id for q in read_queries(["", "pose", " ", "caption"])]
    assert ids == ["standing/0", "standing/1"]
    with pytest.raises(SphinxError, match="limit"):
        read_queries(["pose"] * (MAX_STANDING + 1))


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "\ud800", None, 7])
def test_texts_that_are_none(text):
    with pytest.raises(BadRequest, match="text"):
        checked_text(text)


@pytest.mark.parametrize(
    "box", [(), (1, 2, 3), (1, 2, 3, float("inf")), ("a", 1, 2, 3), None, 5, (4, 4, 4, 9)]
)
def test_boxes_that_are_none(box):
    with pytest.raises(BadRequest, match="box"):
        checked_box(box)


def test_a_box_must_reach_into_the_picture():
    assert checked_box((-5, -5, 3, 3), (10, 8)) == (-5, -5, 3, 3)
    for box in ((10, 0, 12, 4), (0, 8, 4, 9), (-5, 0, 0, 4), (0, -5, 4, 0)):
        with pytest.raises(BadRequest, match="outside the picture of 10x8"):
            checked_box(box, (10, 8))


def test_numbers_that_are_no_limits():
    for seconds in (0, -1, float("nan"), float("inf"), 86401):
        with pytest.raises(BadRequest, match="86400"):
            checked_seconds(seconds)
    for tokens in (-1, 4097, 0.5):
        with pytest.raises(BadRequest, match="4096"):
            checked_tokens(tokens)
    assert checked_seconds(86400) == 86400.0 and checked_tokens(0) == 0
