"""Draws, stop texts and turns: what a conversation asks for beyond the best tokens."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import until
from small_network import ANSWERS, fresh, picture

from sphinx_ros.engine.choosing import ANY, Wish, choose_best
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.sampling import Draw, choose, draw_each, seeded
from sphinx_ros.errors import BadRequest, Cancelled, Status, TimedOut
from sphinx_ros.events import Finished, Piece
from sphinx_ros.prompt.wording import question
from sphinx_ros.serve.turns import stream_turns
from sphinx_ros.serve.work import Options, Work
from sphinx_ros.tasks import Task

RGB = picture(64, 48)
CAPTION = question(Task.CAPTION)
DRAWS = {"temperature": 0.8, "top_p": 0.9, "seed": 7}


def never():
    return False


def work(*turns, **options):
    return Work("a" * 32, turns=turns, options=Options(**options))


def said(events):
    """The pieces of an answer together, and its result."""
    pieces, results = [], []
    for event in events:
        if isinstance(event, Piece):
            pieces.append(event.text)
        elif isinstance(event, Finished):
            results.append(event.result)
    (result,) = results
    return "".join(pieces), result


# draws


def test_a_seed_draws_what_the_official_code_draws(random_one):
    texts = set()
    for seed in range(4):
        asked = {**DRAWS, "seed": seed}
        expected = random_one.chat([("what?", None)], RGB, max_new_tokens=20, **asked)
        chat = fresh(random_one).look(RGB).chat()
        assert chat.ask("what?", short=False, max_new_tokens=20, **asked).text == expected
        texts.add(expected)
    assert len(texts) == 4, "else this shows nothing"


def test_draws_do_not_depend_on_what_is_answered_beside_them(random_one):
    """And who asks for the best tokens gets them, whoever draws."""
    sphinx = fresh(random_one)
    seen, found = sphinx.look(RGB), {}
    asked = {n: {**DRAWS, "seed": n} if n % 2 else {} for n in range(6)}

    def ask(number):
        answer = seen.chat().ask("what?", short=False, max_new_tokens=15, **asked[number])
        found[number] = answer.text

    threads = [threading.Thread(target=ask, args=(number,)) for number in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, options in asked.items():
        alone = random_one.chat([("what?", None)], RGB, max_new_tokens=15, **options)
        assert found[number] == alone


def test_without_a_seed_the_draws_are_left_to_chance(random_one):
    chat = random_one.look(RGB).chat()
    texts = {chat.ask("what?", max_new_tokens=12, temperature=2.0).text for _ in range(3)}
    assert len(texts) > 1


def test_a_row_that_is_no_distribution_is_not_the_failure_of_the_others():
    logits = torch.randn(3, 50, generator=seeded(1))
    logits[1] = float("nan")
    draws = [Draw(0.7, 0.9, seeded(seed)) for seed in range(3)]
    tokens = draw_each(logits, draws).tolist()
    for row in (0, 2):
        assert tokens[row] == choose(logits[row : row + 1], 0.7, 0.9, seeded(row)).item()


def test_rows_that_draw_stand_beside_rows_that_do_not():
    logits = torch.randn(4, 50, generator=seeded(2))
    wishes = [ANY, Wish(draw=Draw(1.5, 1.0, seeded(3))), Wish(report=(5,)), Wish(only=(1, 2))]
    first, drawn, third, allowed = choose_best(logits, wishes)
    assert (first.token, third.token) == tuple(logits[[0, 2]].argmax(-1).tolist())
    assert drawn.token == choose(logits[1:2], 1.5, 1.0, seeded(3)).item()
    assert drawn.probability == pytest.approx(logits[1].softmax(-1)[drawn.token].item())
    assert allowed.token in (1, 2)


def test_a_temperature_of_almost_nothing_takes_the_best_tokens(random_one):
    chat = random_one.look(RGB).chat()
    best = chat.ask("what?", short=False, max_new_tokens=9)
    for cold in (1e-300, 1e-40, 1e-5):
        other = random_one.look(RGB).chat()
        assert (
            other.ask("what?", short=False, max_new_tokens=9, temperature=cold).text == best.text
        )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": -3}, "seed is -3"),
        ({"stop": ""}, "stop has ''"),
        ({"stop": [1]}, "stop has 1;"),
        ({"stop": ["x"] * 17}, "17 texts; the limit is 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(taught, wrong, words):
    with pytest.raises(BadRequest, match=words):
        taught.look(RGB).chat().ask("what?", **wrong)


# stop texts


@given(
    st.text("ab \n#é☃", min_size=1, max_size=30),
    st.lists(st.text("ab \n#é☃", min_size=1, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_an_answer_ends_before_the_first_stop_text(random_one, text, stops):
    tokenizer = random_one.tokenizer
    ending = Ending(tokenizer.decode, tokenizer.eos_id).also(stops)
    ids = tokenizer.encode(text, False, False)
    ends = ("\n###", *stops)
    grown = [tokenizer.decode(ids[:number]) for number in range(1, len(ids) + 1)]
    whole = next((one for one in grown if any(end in one for end in ends)), grown[-1])
    expected = min((whole.split(end)[0] for end in ends), key=len)
    kept, shown = None, ""
    for number in range(1, len(ids) + 1):
        kept = ending.length(ids[:number])
        if kept is not None:
            break
        shown = ending.text_so_far(ids[:number])
        assert expected.strip().startswith(shown), "what was told is never taken back"
    assert ending.text(ids[: len(ids) if kept is None else kept]).strip() == expected.strip()


@pytest.mark.parametrize(("tokens", "kept"), [(["x", "aa"], 1), (["xa", "a", "b"], 2)])
def test_a_token_may_hold_the_beginning_of_a_stop_text(tokens, kept):
    ending = Ending(lambda ids: "".join(tokens[one] for one in ids), -1).also(["aa"])
    assert ending.length(range(2)) == kept
    assert ending.text(range(kept)) == "x", "nothing of the stop text is told"


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(taught):
    chat = taught.look(RGB).chat()
    whole = ANSWERS[CAPTION]
    told, answer = said(chat.stream(CAPTION, short=False, stop="red"))
    assert told == answer.text == whole.split("red")[0].strip()
    assert [box.label for box in answer.detections] == ["can"] and not answer.cost.cut
    assert chat.turns == ((CAPTION, answer.text),)
    again = taught.look(RGB).chat().ask(CAPTION, short=False, stop=["nothing like it", "objects"])
    assert again.text == "There are 2"
    assert taught.look(RGB).chat().ask(CAPTION, short=False).text == whole


# turns


def test_turns_are_answered_as_by_the_official_prompt(random_one):
    sphinx = fresh(random_one)
    seen = sphinx.look(RGB)
    turns = (("what?", "a mug"), ("and its colour?", "red"), ("why?", None))
    for options in ({}, DRAWS):
        told, answer = said(stream_turns(seen, work(*turns, max_new_tokens=14, **options), never))
        expected = random_one.chat(turns, RGB, max_new_tokens=14, **options)
        assert answer.text == expected and told == expected
        assert answer.cost.cut and answer.tokens == 14
    assert not seen._frame.owner[seen._frame.start :].any(), "no slot is left behind"


def test_boxes_are_found_while_they_are_written(taught):
    events = list(stream_turns(taught.look(RGB), work((CAPTION, None)), never))
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Found") < max(n for n, kind in enumerate(kinds) if kind == "Piece")
    (result,) = [event.result for event in events if isinstance(event, Finished)]
    assert [box.label for box in result.detections] == ["can", "red mug"]


def test_the_cost_says_what_was_read_anew(taught):
    sphinx = fresh(taught)
    ids = len(sphinx.engine.question_ids(CAPTION)) + sphinx.config.image_words
    _, first = said(stream_turns(sphinx.look(RGB), work((CAPTION, None)), never))
    assert (first.cost.prompt_tokens, first.cost.cached_tokens) == (ids, 0)
    seen = sphinx.look(RGB)
    _, second = said(stream_turns(seen, work((CAPTION, None)), never))
    assert second.cost.cached and second.cost.prompt_tokens == ids
    assert sphinx.config.image_words < second.cost.cached_tokens < ids
    chat = seen.chat()
    chat.ask(CAPTION, short=False)
    later = chat.ask("what?", short=False, max_new_tokens=3).cost
    assert later.cached_tokens > ids + first.tokens - 3, "the first turn is not read again"


def test_a_cancelled_conversation_stops_within_a_pass(random_one):
    seen, passes = random_one.look(RGB), []

    def cancel():
        passes.append(None)
        return len(passes) > 3

    _, result = said(stream_turns(seen, work(("what?", None), **DRAWS), cancel))
    assert isinstance(result, Cancelled) and result.status is Status.CANCELLED
    assert len(passes) == 4 and "after 3 tokens" in str(result)
    _, late = said(seen.chat().stream("what?", timeout=0.005, return_errors=True, **DRAWS))
    assert isinstance(late, TimedOut)


def test_who_stops_listening_frees_the_engine(random_one):
    seen = random_one.look(RGB)
    events = stream_turns(seen, work(("what?", None), **DRAWS), never)
    next(events)
    events.close()
    assert until(lambda: seen._frame.asked == 0)
    assert not seen._frame.owner[seen._frame.start :].any()


def test_a_conversation_that_cannot_go_on_says_so(taught):
    long = ("what? " * 400, None)
    _, result = said(stream_turns(taught.look(RGB), work(("what?", "a"), long), never))
    assert isinstance(result, BadRequest) and "conversation of 2 questions" in str(result)
    for wrong in ("what?", ("what?", None), 3):
        with pytest.raises(BadRequest, match="is no pair of texts"):
            taught.look(RGB).chat([wrong])
