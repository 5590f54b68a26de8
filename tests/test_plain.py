"""What people read of the model's words: no tags, no coordinates, nothing else changed."""

import time

import pytest

from sphinx_ros.prompt.plain import plain

BOX = "[0.270,0.512,0.401,0.688]"


@pytest.mark.parametrize(
    "written, read",
    [
        (f"<p>large blue mug</p>{BOX}", "large blue mug"),
        (f"<p>mug</p>{BOX}.", "mug."),
        (
            f"There are 2 objects: <p>red mug</p>{BOX}, <p>can</p> {BOX} .",
            "There are 2 objects: red mug, can.",
        ),
        (f"A man{BOX} and two dogs[{BOX[1:-1]};{BOX[1:-1]}] play", "A man and two dogs play"),
        (f"<p>mug</p>{BOX}<p>can</p>{BOX}", "mug can"),
        (f"a<p>mug</p>and (<p>can</p>{BOX})", "a mug and (can)"),
        ("<p>nose</p>[0.10,0.20]<p>left eye</p>[[0.1,0.2]]", "nose left eye"),
        ("a mug [0.27,0.5", "a mug"),
        ("a <p>mug", "a mug"),
        (f"first {BOX}\nsecond line", "first \nsecond line"),
    ],
)
def test_tags_and_coordinates_are_left_out(written, read):
    assert plain(written) == read and plain(read) == read


@pytest.mark.parametrize(
    "text",
    ["", "2", "yes", "two  mugs , so", "a [red] mug", "note [3]", "x < p > y", BOX, "[", " a"],
)
def test_other_words_stay_as_they_are(text):
    assert plain(text) == text


@pytest.mark.parametrize(
    "part", ["[", "[1", "<p>", "[ ", "]", "1,", "[1,2]", " ", "a ", "[1,[", "</p>"]
)
def test_endless_texts_take_linear_time(part):
    begun = time.process_time()
    plain(part * 100_000 + "x")
    assert time.process_time() - begun < 10, "a square would take hours"
