"""An answer to another picture is followed word by word, and taken up again where words differ."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_network import ANSWERS, picture, taught_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.engine.guesses import Draft
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.wording import question
from sphinx_ros.seen import DRAFTS
from sphinx_ros.tasks import Task

DIGITS = range(10)
CAN, MUG, BALL, BOX, END = 20, 21, 22, 30, 40
"""Ids of words; below 10 they are digits."""

BEFORE = [CAN, BOX, 1, 2, MUG, BOX, 3, 4, BALL, BOX, 5, 6, END]


def behind(written, most=99):
    """What is guessed to follow these tokens."""
    draft = Draft(BEFORE, DIGITS)
    for token in written:
        draft.follow(token)
    return draft.rest(most)


def test_what_was_written_is_guessed_to_go_on_as_it_did():
    assert behind([]) == BEFORE and behind([CAN, BOX]) == BEFORE[2:]
    assert behind([], 3) == BEFORE[:3]
    assert behind(BEFORE) == [] == Draft([], DIGITS).rest(9)


def test_a_digit_may_stand_for_another():
    assert behind([CAN, BOX, 9, 8]) == BEFORE[4:]


def test_a_thing_that_came_is_passed_over():
    assert behind([CAN, BOX, 1, 2, 55, BOX, 7, 7, MUG]) == BEFORE[5:]
    assert behind([CAN, BOX, 1, 2, 55, 56, 57, BOX, 7, 7, MUG, BOX, 3]) == BEFORE[7:]


def test_a_thing_that_has_gone_is_left_out():
    assert behind([CAN, BOX, 1, 2, BALL, BOX]) == BEFORE[10:]


def test_another_word_in_the_place_of_one_changes_nothing_behind_it():
    assert behind([CAN, BOX, 1, 2, 55]) == BEFORE[5:]
    assert behind([CAN, BOX, 1, 2, 55, BOX, 3, 4, BALL]) == BEFORE[9:]


@given(st.lists(st.integers(0, 12), max_size=30), st.lists(st.integers(0, 12), max_size=30))
def test_whatever_is_written_the_guess_is_a_part_of_the_draft(before, now):
    draft = Draft(before, DIGITS)
    for token in now:
        draft.follow(token)
        rest = draft.rest(5)
        assert len(rest) <= 5 and (not rest or rest == before[-len(draft.rest(99)) :][:5])
    if len(before) >= 2:
        again = Draft(before, DIGITS)
        for token in (*now, 77, *before[:2]):
            again.follow(token)
        assert len(again.rest(99)) <= len(before)


@pytest.fixture(scope="module")
def sphinx():
    return Sphinx.from_pretrained(taught_checkpoint(), device="cpu")


def after(sphinx, text):
    """A picture before, about which this was written to "caption"."""
    prompt = conversation([("x", None)])
    whole = sphinx.tokenizer.encode(f"{prompt} {text}{END_SIGNAL}", True, False)
    ids = whole[len(sphinx.tokenizer.encode(prompt, True, False)) :]
    return SimpleNamespace(drafts={(Task.CAPTION, ""): tuple(ids)})


def test_guesses_from_a_picture_with_another_thing_save_passes_and_change_no_word(sphinx):
    rgb, true = picture(64, 48), ANSWERS[question(Task.CAPTION)]
    first, can, mug = true.partition("<p>can</p>")[0], *true.partition(", <p>red")[::2]
    drafts = {
        "the same": true,
        "a cone more": true.replace(first, f"{first}<p>green cone</p>[0.111,0.222,0.333,0.444], "),
        "no can": f"{first}<p>red{mug}",
        "other numbers": f"{can.replace('1', '7')}, <p>red{mug}",
        "nothing alike": "no",
    }
    alone = sphinx.look(rgb).caption(free=True)
    assert alone.raw_text.strip() == true
    passes = {}
    for name, text in drafts.items():
        made = sphinx.look(rgb, after=after(sphinx, text)).caption(free=True)
        assert made.raw_text == alone.raw_text, name
        passes[name] = made.cost.passes
    assert passes["the same"] <= 2
    assert all(passes[name] < alone.cost.passes / 2 for name in passes if name != "nothing alike")
    assert passes["nothing alike"] <= alone.cost.passes


def test_of_many_answers_those_written_last_are_handed_on(sphinx):
    """So that what is asked again and again outlives what was asked once."""
    others = {(Task.ASK, f"question {number}"): (1,) for number in range(DRAFTS - 1)}
    before = SimpleNamespace(drafts={(Task.CAPTION, ""): (1,), **others})
    seen = sphinx.look(picture(64, 48), after=before)
    seen.answer(["caption", "ask: what is new?"])
    assert list(seen.drafts) == [
        *[*others][1:], (Task.CAPTION, ""), (Task.ASK, "what is new?")
    ]  # fmt: skip
