"""Answers told while they are written: text, boxes as their brackets close, results."""

import gc
import itertools
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process_support import until
from small_network import ANSWERS, PERSON, fresh, picture

from sphinx_ros import Finished, Found, Piece
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.engine.ending import Ending
from sphinx_ros.errors import BadRequest, Cancelled, Status, TimedOut
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.results import to_detections
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.types import Detection, Keypoint

LINES = ("caption", "detect: mug", "ask: how many mugs are there?", "detect: can", "pose")


def told(events, number=0):
    """Text, items and result of one query."""
    mine = [event for event in events if event.number == number]
    text = "".join(event.text for event in mine if isinstance(event, Piece))
    items = [event.item for event in mine if isinstance(event, Found)]
    assert [event for event in mine if isinstance(event, Finished)] == mine[-1:]
    return text, items, mine[-1].result


def places(items):
    """What of boxes and people does not depend on the last bits of probabilities."""
    return [(getattr(item, "label", ""), item.box) for item in items]


def stripped(result):
    """The model's words, without the spaces around each answer."""
    return "\n".join(part.strip() for part in result.raw_text.split("\n"))


def streams():
    """Threads that answer a stream."""
    return [thread for thread in threading.enumerate() if thread.name == "sphinx_ros stream"]


@pytest.mark.parametrize("line", LINES)
def test_what_is_told_is_what_the_result_holds(taught, line):
    seen = taught.look(picture(64, 48))
    text, items, result = told(list(seen.stream(line)))
    (expected,) = seen.answer([line])
    assert text == stripped(result) == stripped(expected)
    boxes = [item for item in items if isinstance(item, Detection)]
    if line != "pose":
        assert tuple(items) == result.detections
        assert places(items) == places(expected.detections)
    else:
        assert tuple(items[len(boxes) :]) == result.poses and result.poses
        assert places(result.poses) == places(expected.poses)
        assert [box.box for box in boxes] == [pose.box for pose in result.poses]


def test_a_box_comes_with_the_bracket_that_closes_it(taught):
    seen, text, open_boxes = taught.look(picture(64, 48)), "", []
    expected = places(seen.caption().detections)
    for event in seen.stream("caption"):
        if isinstance(event, Piece):
            assert not open_boxes, "a bracket has closed, and no box came before the next text"
            open_boxes = ["]"] * event.text.count("]")
            text += event.text
        elif isinstance(event, Found):
            open_boxes.pop()
            assert places([event.item]) == expected[text.count("]") - 1 :][:1]
    assert text == ANSWERS[question(Task.CAPTION)] and text.count("]") == 2


@pytest.fixture
def dictate(taught, monkeypatch):
    """A function that makes the network write texts: those of each round of questions."""

    def dictated(*rounds):
        tokenizer, real = taught.tokenizer, taught.model.step
        waiting = [
            [iter([*tokenizer.encode(text), tokenizer.eos_id]) for text in texts]
            for texts in rounds
        ]
        live = []

        def writes(*arguments):
            logits = real(*arguments)
            if not live:
                live.extend(waiting.pop(0))
            for row, script in zip(logits, list(live), strict=True):
                token = next(script)
                row[token] = 1e4
                if token == tokenizer.eos_id:
                    live.remove(script)
            return logits

        monkeypatch.setattr(taught.model, "step", writes)

    return dictated


def test_points_in_words_are_told(taught, dictate):
    words = "a [0.25,0.5] and <p>b</p>[0.5,0.75;0.5,0.5]."
    dictate([words])
    text, items, result = told(list(fresh(taught).look(picture(64, 48)).stream("ask: where?")))
    assert text == result.text == words
    assert tuple(items) == result.keypoints and len(items) == 3
    assert isinstance(items[0], Keypoint) and (items[0].x, items[0].y) == (16, 24)


def test_people_are_told_one_after_the_other(taught, dictate):
    """Their joints are written at the same time."""
    two = "<p>person</p>[0.30,0.30,0.60,0.70;0.10,0.30,0.25,0.65]"
    joints = ["<p>nose</p>[0.45,0.40]<p>left eye</p>[0.44,0.38]", "<p>nose</p>[0.2,0.4]"]
    dictate([two], joints)
    events = list(fresh(taught).look(picture(64, 48)).stream("pose"))
    text, items, result = told(events)
    assert text == "\n".join([two, *joints]) == stripped(result)
    assert tuple(items[2:]) == result.poses and len(result.poses) == 2
    assert places(items[:2]) == [("person", pose.box) for pose in result.poses]
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Found") > 10 and kinds[-3:] == ["Piece", "Found", "Finished"]


def test_what_is_judged_at_the_end_comes_with_the_result(taught):
    """A box is told before the model is known to deny that there is such a thing."""
    sure_only = Calibration((0.0, 1.0, 0.0, 0.0, 0.0), present=1.1, sigma=1.0)
    seen = fresh(taught, sure_only).look(picture(64, 48))
    text, items, result = told(list(seen.stream("ground: the red mug")))
    assert len(items) == 1 and result.status is Status.NOT_FOUND and len(result.denied) == 1
    assert items[0].box == result.denied[0].box and items[0].presence != items[0].presence
    assert result.denied[0].presence < 1.1
    (free,) = seen.answer(["ground: the red mug"], verify=False)
    assert places(items) == places(free)


def test_several_queries_are_told_by_number(taught):
    seen = taught.look(picture(64, 48))
    queries = [*LINES, Query(Task.POSE, box=Letterbox.of(64, 48).box_to_source(PERSON))]
    events = list(seen.stream(queries))
    assert [event.number for event in events[-len(queries) :]] == list(range(len(queries)))
    for number, expected in enumerate(seen.answer(queries)):
        text, _, result = told(events, number)
        assert text == stripped(expected) == stripped(result)
        assert places(result.detections) == places(expected.detections)
        assert places(result.poses) == places(expected.poses)
    kinds = [event.number for event in events if isinstance(event, Piece)]
    assert kinds != sorted(kinds), "they are answered at the same time"


def test_nobody_waits_for_who_listens(taught):
    """The question goes on, and others are answered, while the listener does something else."""
    seen = taught.look(picture(64, 48))
    events = seen.stream("caption")
    first = next(events)
    assert seen.ask("how many mugs are there?").text == "2"
    until(lambda: not streams())
    text, items, result = told([first, *events])
    assert text == ANSWERS[question(Task.CAPTION)] and len(items) == 2 and result.tokens > 20


# whole characters


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))
def test_text_grows_by_whole_characters(random_one, text):
    tokenizer = random_one.tokenizer
    ending, ids = Ending(tokenizer.decode, tokenizer.eos_id), tokenizer.encode(text)
    grown = [ending.text_so_far(ids[:size]) for size in range(len(ids) + 1)]
    whole = ending.text(ids).strip()
    for earlier, later in itertools.pairwise([*grown, whole]):
        assert later.startswith(earlier)
    if "\ufffd" not in whole:
        assert "\ufffd" not in "".join(grown)


def test_nonsense_is_told_to_its_last_byte(random_one):
    """Random weights write bytes that are no characters, and half an end signal."""
    for seed in range(4):
        seen = fresh(random_one).look(picture(64, 48, seed))
        text, _, result = told(list(seen.stream("ask: what?", short=False, max_new_tokens=60)))
        assert text == result.text == result.raw_text.strip()


# boxes of a text that grows

PARTS = st.sampled_from(
    ["[0.1,0.2,0.3,0.4", "[", "]", ";", "0.5,0.5,0.6,0.6", "[0.1,0.2,0.3,0.4]", "<p>", "</p>"]
    + ["a mug", " ", ",", "[0.5,0.5]", "0.7", "There is no ", "(0.1,0.2)", "[2,2,3,3]", "nose"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=14))
def test_boxes_that_were_read_stay_whatever_follows(parts):
    place, before = Letterbox.of(64, 48), ((), ())
    for size in range(len(parts) + 1):
        found = to_detections(parse("".join(parts[:size])), place, "mug")[:2]
        for kind in (0, 1):
            assert found[kind][: len(before[kind])] == before[kind]
        before = found


# stopping


@pytest.mark.parametrize("how", ["break", "close", "forgotten", "in a circle"])
def test_who_stops_listening_cancels_the_question(random_one, monkeypatch, how):
    sphinx, passes = fresh(random_one), []
    seen, real = sphinx.look(picture(64, 48)), random_one.model.step

    def slow(*arguments):
        passes.append(1)
        time.sleep(0.01)
        return real(*arguments)

    monkeypatch.setattr(random_one.model, "step", slow)
    events = seen.stream(["caption", "ask: all?"], max_new_tokens=200)
    if how == "break":
        for event in events:
            if isinstance(event, Piece):
                del events
                break
    else:
        next(events)
    if how == "close":
        events.close()
    elif how == "forgotten":
        del events
    elif how == "in a circle":
        circle = [events]
        circle.append(circle)
        del events, circle
        gc.collect()
    stopped = len(passes)
    until(lambda: not streams())
    assert len(passes) <= stopped + 1
    frame = seen._frame
    assert frame.asked == 0 and not frame.owner[frame.start :].any()
    assert seen.ask("what?", max_new_tokens=3).tokens == 3


def test_nothing_is_asked_before_somebody_listens(taught):
    events = taught.look(picture(64, 48)).stream("caption")
    assert not streams()
    events.close()
    assert list(events) == []


def test_the_end_of_the_program_is_an_end_of_listening(random_one, monkeypatch):
    """A main thread that has ended waits for this one."""
    ended = threading.Thread()
    events = fresh(random_one).look(picture(64, 48)).stream("caption", max_new_tokens=200)
    next(events)
    monkeypatch.setattr(threading, "main_thread", lambda: ended)
    with pytest.raises(Cancelled):
        list(events)


def test_errors_are_raised_from_the_iterator(random_one, monkeypatch):
    seen = fresh(random_one).look(picture(64, 48))
    calls, text = iter(range(100)), ""
    with pytest.raises(Cancelled) as stopped:
        for event in seen.stream("caption", cancel=lambda: next(calls) > 4, max_new_tokens=50):
            text += event.text
    assert stopped.value.partial_text.strip() == text != ""
    with pytest.raises(TimedOut):
        list(seen.stream("caption", timeout=0))
    for wrong in ("fly: me", "ground:", 7):
        with pytest.raises(BadRequest):
            list(seen.stream([wrong]))
    for options in ({"cancel": 3}, {"coordinates": "best"}, {"max_new_tokens": -1}):
        with pytest.raises(BadRequest):
            list(seen.stream("caption", **options))

    def lost(*_):
        raise RuntimeError("the card fell out")

    monkeypatch.setattr(random_one.model, "step", lost)
    with pytest.raises(RuntimeError, match="fell out"):
        list(seen.stream("caption"))
    until(lambda: not streams())


def test_an_error_of_one_query_comes_when_the_others_are_told(taught):
    seen, events = taught.look(picture(64, 48)), []
    region = Query(Task.DESCRIBE, box=(0, 0, 9, 9))
    long = Query(Task.CAPTION)

    def heard(number, _):
        if number == 1:
            raise RuntimeError("a listener's own mistake")

    with pytest.raises(RuntimeError, match="own mistake"):
        for event in seen.stream([LINES[2], region, long], on_text=heard):
            events.append(event)
    assert told(events, 0)[0] == "2" and told(events, 2)[2].detections
    assert not [event for event in events if isinstance(event, Finished) and event.number == 1]
    again = list(seen.stream([LINES[2], region], on_text=heard, return_errors=True))
    assert isinstance(told(again, 1)[2], RuntimeError)


# told to a function


@pytest.mark.parametrize("line", LINES)
def test_a_function_is_told_what_a_stream_tells(taught, line):
    seen, heard = taught.look(picture(64, 48)), []
    (result,) = seen.answer([line], on_found=lambda number, item: heard.append(item))
    _, items, _ = told(list(seen.stream(line)))
    assert places(heard) == places(items)
    if line != "pose":
        assert tuple(heard) == result.detections


def test_a_box_is_told_behind_its_text(taught):
    seen, heard = taught.look(picture(64, 48)), []
    result = seen.caption(on_text=heard.append, on_found=heard.append)
    closed = [text.count("]") for text in heard if isinstance(text, str)]
    assert closed[-1] == len(result.detections) == 2
    for number, box in enumerate(result.detections):
        where = heard.index(box)
        before = [one for one in heard[:where] if isinstance(one, str)]
        assert before[-1].count("]") == number + 1 and before[-2].count("]") == number


def test_a_listener_s_own_error_ends_its_query_and_no_other(taught):
    seen = taught.look(picture(64, 48))

    def broken(number, item):
        if number == 1:
            raise RuntimeError("a listener's own mistake")

    with pytest.raises(BadRequest, match="on_found"):
        seen.caption(on_found=3)
    results = seen.answer(["detect: mug", "caption"], on_found=broken, return_errors=True)
    assert results[0].detections and isinstance(results[1], RuntimeError)
