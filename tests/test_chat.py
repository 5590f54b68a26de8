"""Conversations about a picture: the official prompt's answers, without reading it all again."""

import gc
import random
import threading

import pytest
import torch
from engine_support import Passes
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import fresh, picture

from sphinx_ros import Sphinx
from sphinx_ros.engine.talk import Talk
from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, Status
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task

ASKED = ("what is that?", "and its colour?", "Été ☃", "how many are there left of the can?")


def officially(sphinx, rgb, turns, text, tokens):
    """What the official prompt of these turns and of the question is answered with."""
    return sphinx.chat([*turns, (text, None)], rgb, max_new_tokens=tokens)


def taken(seen):
    """Slots behind a picture's prefix that hold something."""
    frame = seen._frame
    return int((frame.owner[frame.start :] != 0).sum())


@pytest.fixture
def fed(random_one, taught, monkeypatch):
    """Tokens of each pass of either network."""
    sizes = []
    for sphinx in (random_one, taught):

        def counted(tokens, *more, real=sphinx.model.step):
            sizes.append(len(tokens))
            return real(tokens, *more)

        monkeypatch.setattr(sphinx.model, "step", counted)
    return sizes


def test_each_turn_is_answered_as_the_official_prompt_of_all_turns(random_one):
    rgb = picture(64, 48)
    with fresh(random_one).look(rgb).chat() as chat:
        for number, text in enumerate(ASKED):
            expected = officially(random_one, rgb, chat.turns, text, 8 + number)
            answer = chat.ask(text, short=False, max_new_tokens=8 + number)
            assert answer.text == expected
            assert chat.turns[-1] == (text, answer.text)
    knowing = chat.turns[1][1]
    assert knowing != random_one.look(rgb).ask(ASKED[1], short=False, max_new_tokens=9).text


def test_what_was_read_and_written_is_not_read_again(taught, fed):
    """An answer of many tokens, with its end: the next question feeds its own words."""
    rgb, caption = picture(64, 48), question(Task.CAPTION)
    seen = fresh(taught).look(rgb)
    chat = seen.chat()
    first = chat.ask(caption, short=False)
    assert first.tokens > 40
    fed.clear()
    again = chat.ask("how many mugs are there?", max_new_tokens=5)
    whole = seen._subject.engine.question_ids
    turn = len(whole(chat.turns[1][0], chat.turns[:1])) - len(whole(caption))
    assert fed[0] <= turn - first.tokens + 3, "but for the answer's last token and its end"
    assert again.text == officially(taught, rgb, chat.turns[:1], chat.turns[1][0], 5)


def test_an_answer_that_is_cut_into_other_tokens_is_read_again_from_there(random_one):
    """Nonsense is seldom what the tokenizer would make of its own text."""
    rgb, sphinx = picture(48, 64, 3), fresh(random_one)
    chat = sphinx.look(rgb).chat()
    answer = chat.ask("what?", short=False, max_new_tokens=30)
    ids = sphinx.tokenizer.encode(conversation(chat.turns), True, False)
    assert sphinx.tokenizer.decode(ids).count(answer.text) == 1
    text = chat.ask("really?", short=False, max_new_tokens=12).text
    assert text == officially(random_one, rgb, chat.turns[:1], "really?", 12)


def test_memory_is_kept_as_long_as_the_conversation_lives(random_one):
    seen = fresh(random_one).look(picture(64, 48))
    first, second = seen.chat(), seen.chat()
    first.ask("what is that?", max_new_tokens=5)
    one = taken(seen)
    second.ask("what is that?", max_new_tokens=5)
    assert 0 < one < taken(seen)
    first.close()
    assert taken(seen) == one
    first.close()
    del second
    gc.collect()
    assert taken(seen) == 0 and seen._frame.asked == 0


def test_a_closed_conversation_goes_on_and_keeps_nothing(random_one):
    rgb = picture(64, 48)
    seen = fresh(random_one).look(rgb)
    with seen.chat() as chat:
        chat.ask("what is that?", short=False, max_new_tokens=6)
    again = chat.ask("and that?", short=False, max_new_tokens=9)
    assert again.text == officially(random_one, rgb, chat.turns[:1], "and that?", 9)
    assert taken(seen) == 0


def test_turns_are_computed_again_where_the_picture_gave_its_memory_up(random_one):
    rgb, sphinx = picture(64, 48), fresh(random_one)
    sphinx.engine.frames.budget = 1
    seen = sphinx.look(rgb)
    chat, closed = seen.chat(), seen.chat()
    for one in (chat, closed):
        one.ask("what is that?", short=False, max_new_tokens=6)
    sphinx.look(picture(64, 48, 5))
    assert seen._frame.cache is None, "else this shows nothing"
    told = []

    def heard(_):
        if not told:
            told.append(taken(seen))
            closed.close()  # its slots are this answer's now
            told.append(taken(seen))

    text = chat.ask("and that?", short=False, max_new_tokens=9, on_text=heard).text
    assert text == officially(random_one, rgb, chat.turns[:1], "and that?", 9)
    assert told[0] == told[1] > 0


def test_an_answer_that_was_stopped_is_no_turn(random_one):
    rgb = picture(64, 48)
    chat = fresh(random_one).look(rgb).chat()
    chat.ask("what is that?", short=False, max_new_tokens=6)
    calls = iter(range(100))
    with pytest.raises(Cancelled) as stopped:
        chat.ask("all?", short=False, max_new_tokens=50, cancel=lambda: next(calls) > 3)
    assert stopped.value.partial_text and len(chat.turns) == 1
    text = chat.ask("and that?", short=False, max_new_tokens=9).text
    assert text == officially(random_one, rgb, chat.turns[:1], "and that?", 9)


def test_one_question_of_a_conversation_at_a_time(random_one):
    chat, refused = random_one.look(picture(64, 48)).chat(), []

    def heard(_):
        if not refused:
            with pytest.raises(SphinxError, match="another answer") as error:
                chat.ask("and?")
            refused.append(error.value.status)

    chat.ask("what is that?", max_new_tokens=3, on_text=heard)
    assert refused == [Status.BUSY]
    assert chat.ask("and?", max_new_tokens=3).tokens == 3


def test_a_conversation_that_is_too_long_is_refused_by_name(random_one):
    chat = random_one.look(picture(64, 48)).chat()
    with pytest.raises(BadRequest, match=r"conversation of \d+ questions .* begin another one"):
        for _ in range(20):
            chat.ask("what is that? " * 8, max_new_tokens=40)
    assert len(chat.turns) > 1
    with pytest.raises(BadRequest, match="empty"):
        chat.ask(" ")


@pytest.fixture(scope="module")
def image(random_one):
    return torch.randn(1, 6, random_one.config.dim, generator=torch.Generator().manual_seed(1))


IDS = st.lists(st.integers(3, 40), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(IDS, st.integers(0, 9), st.booleans()), min_size=2, max_size=5))
def test_tokens_are_those_of_a_fresh_start_wherever_the_turns_agree(random_one, image, turns):
    """Each turn keeps some of what stands there, and is cut off or stopped somewhere."""
    passes, talk, whole = Passes(random_one.model, [1, 2, 3], image), Talk(), []
    for more, kept, other in turns:
        prompt = [*whole[: kept * 2], *more]
        rows = [passes.row(prompt, limit=5, talk=talk)]
        if other:
            rows.append(passes.row(more, limit=7))
        made = passes.run(*rows)
        alone = Passes(random_one.model, [1, 2, 3], image)
        (expected,) = alone.run(alone.row(prompt, limit=5))
        assert made[0].ids == expected.ids
        whole = [*prompt, *made[0].ids]
    assert passes.frame.owner[passes.frame.start :].any()
    passes.in_flight.let_go(talk)
    assert not passes.frame.owner[passes.frame.start :].any() and passes.frame.asked == 0


def test_random_orders_of_conversations_and_questions(random_one):
    """Threads, pictures whose memory comes and goes, cancels: every text is what it always is."""
    sphinx = fresh(random_one)
    pictures = [picture(64, 48, 1), picture(48, 64, 2)]
    plain = {
        number: random_one.look(rgb).ask("what?", short=False, max_new_tokens=7).text
        for number, rgb in enumerate(pictures)
    }
    expected = {}
    for number, rgb in enumerate(pictures):
        turns = []
        for text in ASKED[:3]:
            turns.append((text, officially(random_one, rgb, turns, text, 6)))
        expected[number] = turns
    sphinx.engine.frames.budget = 1
    wrong = []

    def client(seed):
        draw = random.Random(seed)
        for _ in range(3):
            number = draw.randrange(2)
            chat = sphinx.look(pictures[number]).chat()
            for text, answer in expected[number][: draw.randint(1, 3)]:
                if draw.random() < 0.3:
                    calls = iter(range(100))
                    try:
                        chat.ask("stop?", cancel=lambda calls=calls: next(calls) > 2)
                    except Cancelled:
                        pass
                if draw.random() < 0.5:
                    other = draw.randrange(2)
                    seen = sphinx.look(pictures[other])
                    got = seen.ask("what?", short=False, max_new_tokens=7).text
                    if got != plain[other]:
                        wrong.append((got, plain[other]))
                if draw.random() < 0.2:
                    chat.close()
                got = chat.ask(text, short=False, max_new_tokens=6).text
                if got != answer:
                    wrong.append((got, answer))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    gc.collect()
    for rgb in pictures:
        assert taken(sphinx.look(rgb)) == 0


@pytest.mark.demo
def test_the_demonstration_model_answers_a_conversation_as_the_official_prompt():
    pytest.importorskip("mujoco", reason="the simulated tabletop needs mujoco")
    from sphinx_ros.world.scenes import World

    rgb = World(320, 240).observe(7).rgb
    sphinx = Sphinx.from_pretrained("demo", device="cpu")
    chat = sphinx.look(rgb).chat()
    for text in ("How many cubes are there?", "Is there a person in the image?"):
        wording = question(Task.ASK, text)
        expected = officially(sphinx, rgb, chat.turns, wording, 16)
        assert chat.ask(text, max_new_tokens=16).text == expected != ""
    for task in (Task.CAPTION, Task.DETECT):  # boxes in words, behind words
        wording = question(task, "mug" if task is Task.DETECT else "")
        expected = officially(sphinx, rgb, chat.turns, wording, 64)
        answer = chat.ask(wording, short=False, max_new_tokens=64)
        assert answer.text == expected
    assert len(chat.turns) == 4
