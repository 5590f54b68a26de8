"""The grammar of query lines, and what is checked of a query."""

import numpy as np
import pytest

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.prompt.checks import (
    LEAST_SECONDS,
    checked_box,
    checked_ids,
    checked_seconds,
    checked_seed,
    checked_stop,
    checked_temperature,
    checked_text,
    checked_tokens,
    checked_top_p,
    read_box,
    written_box,
)
from sphinx_ros.prompt.queries import MAX_STANDING, Query, read_queries, read_query
from sphinx_ros.tasks import Task

NAN, INF = float("nan"), float("inf")
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
    "box",
    [
        (),
        (1, 2, 3),
        (1, 2, 3, INF),
        (NAN, 2, 3, 4),
        (0, 0, 10**400, 4),
        ("a", 1, 2, 3),
        ("1", "2", "3", "4"),
        "1234",
        (False, False, True, True),
        np.array(5.0),
        np.ones((4, 4)),
        None,
        5,
        (4, 4, 4, 9),
    ],
)
def test_boxes_that_are_none(box):
    with pytest.raises(BadRequest, match="box"):
        checked_box(box)


def test_a_box_must_reach_into_the_picture():
    assert checked_box((-5, -5, 3, 3), (10, 8)) == (-5, -5, 3, 3)
    for box in ((10, 0, 12, 4), (0, 8, 4, 9), (-5, 0, 0, 4), (0, -5, 4, 0)):
        with pytest.raises(BadRequest, match="outside the picture of 10x8"):
            checked_box(box, (10, 8))


@pytest.mark.parametrize(
    "box", [(1, 2, 3, 4), (12345.678, 0.1, 98765.4321, 1e7), (-0.5, 1e-7, 1 / 3, 2 / 3)]
)
def test_a_box_is_written_digit_for_digit(box):
    assert read_box(written_box(box)) == box
    query = Query(Task.DESCRIBE, box=box)
    assert read_query(query.line()) == query


def test_a_box_of_another_library_is_a_box():
    assert checked_box(np.array([0, 0, 3, 3.5], np.float32)) == (0, 0, 3, 3.5)
    assert written_box((1.0, 2.5, 3, 4)) == "1,2.5,3,4"


NO_NUMBERS = (NAN, INF, -INF, -1, "5", "many", None, True, [1], 10**400, np.bool_(True), b"1")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, LEAST_SECONDS / 2, 86401])
def test_what_is_no_time_limit(value):
    with pytest.raises(BadRequest, match="timeout is .* at least 0.001 and at most 86400"):
        checked_seconds(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 4097, 0.5, 64.0])
def test_what_is_no_limit_of_tokens(value):
    with pytest.raises(BadRequest, match="max_new_tokens is .*4096"):
        checked_tokens(value)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_temperature(value):
    with pytest.raises(BadRequest, match="temperature is .* finite"):
        checked_temperature(value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.001])
def test_what_is_no_top_p(value):
    with pytest.raises(BadRequest, match=r"top_p is .* 0\.\.1"):
        checked_top_p(value)


@pytest.mark.parametrize("value", [*(v for v in NO_NUMBERS if v is not None), 0.5, 2**63])
def test_what_is_no_seed(value):
    with pytest.raises(BadRequest, match=f"seed is .*{2**63 - 1}"):
        checked_seed(value)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([], "at least one"),
        (None, "at least one"),
        (7, "at least one"),
        ("ab", r"\[0\] is 'a'"),
        ([1, 512], r"\[1\] is 512; .*0\.\.511"),
        ([1, -1], r"\[1\] is -1"),
        ([1, True], r"\[1\] is True"),
        ([1.0], r"\[0\] is 1.0"),
        ([[1, 2]], r"\[0\]"),
    ],
)
def test_what_are_no_token_ids(ids, says):
    with pytest.raises(BadRequest, match=says) as caught:
        checked_ids(ids, 512)
    assert caught.value.status is Status.BAD_REQUEST and len(str(caught.value)) < 300


def test_texts_that_end_an_answer():
    assert checked_stop("END") == ("END",) and checked_stop(iter("ab")) == ("a", "b")
    assert checked_stop(None) == checked_stop([]) == ()
    for bad in (5, 0.5, [5], [""], ["x" * 101], ["x"] * 17, b"x", [None]):
        with pytest.raises(BadRequest, match="stop"):
            checked_stop(bad)


def test_a_task_by_its_name():
    assert Query("ground", "the mug") == Query(Task.GROUND, "the mug")
    for bad in ("find", 5, None, ["ground"]):
        with pytest.raises(BadRequest, match="ask, ground, detect"):
            Query(bad, "the mug")


def test_numbers_at_their_limits():
    assert checked_seconds(86400) == 86400.0 and checked_seconds(LEAST_SECONDS) == LEAST_SECONDS
    assert (checked_tokens(0), checked_tokens(np.int64(4096))) == (0, 4096)
    assert checked_temperature(0) == 0.0 and checked_temperature(np.float32(0.5)) == 0.5
    assert (checked_top_p(0), checked_top_p(1)) == (0.0, 1.0)
    assert (checked_seed(None), checked_seed(0), checked_seed(2**63 - 1)) == (None, 0, 2**63 - 1)
    assert checked_ids(np.array([0, 511]), 512) == [0, 511]
