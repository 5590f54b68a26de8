"""What a checkpoint's numbers look like, learnt from its answers: what must come and what may."""

import random
from pathlib import Path

import pytest

from sphinx_ros.engine.style import Guide, Habits, Mode, Pieces, State, style_of
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language
from sphinx_ros.world.demo_tokenizer import train_tokenizer

LLAMA_LIKE = Path(__file__).parent / "data" / "tokenizer_512.model"


@pytest.fixture(scope="module", params=["demo", "llama-like"])
def tokenizer(request, tmp_path_factory):
    """One with "[0." and ",0." as pieces, and one that spells each sign by itself."""
    if request.param == "llama-like":
        return Tokenizer(LLAMA_LIKE)
    path = tmp_path_factory.mktemp("style") / "tokenizer.model"
    train_tokenizer(path)
    return Tokenizer(path)


def answer_ids(tokenizer, text):
    """The ids of an answer in its conversation, end signal included."""
    prompt = conversation([("x", None)])
    whole = tokenizer.encode(f"{prompt} {text}{END_SIGNAL}", True, False)
    return whole[len(tokenizer.encode(prompt, True, False)) :]


def box(draw, decimals=3, between=","):
    digits = [f"0.{draw.randrange(10**decimals):0{decimals}d}" for _ in range(4)]
    return f"[{between.join(digits)}]"


@pytest.mark.parametrize(("decimals", "between"), [(3, ","), (2, ","), (2, ", "), (3, ", ")])
def test_a_style_is_learnt_from_any_box_written_in_it(tokenizer, decimals, between):
    pieces, draw = Pieces(tokenizer), random.Random(1)
    styles = {
        style_of(answer_ids(tokenizer, box(draw, decimals, between)), pieces, Language.ONE_BOX)
        for _ in range(20)
    }
    (style,) = styles
    assert style.numbers == 4 and style.decimals == decimals
    text = tokenizer.decode([*style.between])
    assert text.strip() == f"{between}0.".strip()
    assert tokenizer.decode([*style.closing]).startswith("]")


def test_forced_pieces_are_those_the_tokenizer_makes(tokenizer):
    """Each box is written again by choices alone: what is forced between them is what it was."""
    pieces, draw = Pieces(tokenizer), random.Random(2)
    habits = Habits(pieces)
    for _ in range(2):
        habits.learn(Language.ONE_BOX, answer_ids(tokenizer, box(draw)))
    guide = habits.guide(Language.ONE_BOX)
    for _ in range(20):
        true = answer_ids(tokenizer, box(draw))
        made, state, chosen = [], State(), 0
        while len(made) < len(true):
            forced = guide.forced(state)
            if not forced:
                wish, token = guide.wish(state), true[len(made)]
                assert not wish.only or token in wish.only
                forced, chosen = (token,), chosen + (state.mode is Mode.DECIMALS)
            made += forced
            for token in forced:
                state = guide.after(state, token)
        assert made == true
        assert chosen == 12, "the twelve decimals, and nothing else of a number, are choices"


@pytest.mark.parametrize("numbers", [2, 4])
def test_one_place_is_a_point_or_a_box_as_a_checkpoint_writes_it(tokenizer, numbers):
    pieces, draw = Pieces(tokenizer), random.Random(5)
    habits = Habits(pieces)

    def place(of):
        return "[" + ",".join(f"0.{draw.randrange(1000):03d}" for _ in range(of)) + "]"

    for other in (6 - numbers, numbers, numbers):  # until two agree
        assert habits.guide(Language.ONE_PLACE).style is None
        habits.learn(Language.ONE_PLACE, answer_ids(tokenizer, place(other)))
    guide = habits.guide(Language.ONE_PLACE)
    assert guide.style.numbers == numbers and guide.style.closing
    state = State()
    for token in answer_ids(tokenizer, place(numbers)):
        forced = guide.forced(state)
        assert not forced or forced[0] == token
        state = guide.after(state, token)


def test_a_guess_is_what_most_answers_begin_with(tokenizer):
    pieces, draw = Pieces(tokenizer), random.Random(3)
    habits = Habits(pieces)
    for _ in range(2):
        habits.learn(Language.ONE_BOX, answer_ids(tokenizer, box(draw)))
    guide, true = habits.guide(Language.ONE_BOX), answer_ids(tokenizer, box(draw))
    opening = guide.guess(State())
    assert list(opening) == true[: len(opening)] and opening
    assert habits.guide(Language.BOXES).guess(State()) == ()


def test_nothing_is_assumed_before_two_answers_agree(tokenizer):
    pieces, draw = Pieces(tokenizer), random.Random(4)
    habits = Habits(pieces)
    for decimals in (3, 2, 3):
        habits.learn(Language.ONE_BOX, answer_ids(tokenizer, box(draw, decimals)))
        assert habits.guide(Language.ONE_BOX).style is None
    habits.learn(Language.ONE_BOX, answer_ids(tokenizer, box(draw, 3)))
    assert habits.guide(Language.ONE_BOX).style.decimals == 3
    assert habits.guide(Language.ONE_BOX, free=True).style is None


@pytest.mark.parametrize(
    "text",
    [
        "There is no mug in the image.",
        "[0.123,0.456,0.789]",
        "[0.123,0.456,0.789,0.12]",
        "[0.123,0.456, 0.789,0.123]",
        "[0.123,0.456,0.789,0.123",
        "",
    ],
)
def test_answers_that_show_no_habit(tokenizer, text):
    found = style_of(answer_ids(tokenizer, text), Pieces(tokenizer), Language.ONE_BOX)
    assert found is None or text.endswith("0.123")  # cut off, but its numbers are alike


def test_groups_of_a_list_may_go_on(tokenizer):
    pieces, draw = Pieces(tokenizer), random.Random(5)
    habits = Habits(pieces)
    text = f"mug{box(draw)}can[{box(draw)[1:-1]};{box(draw)[1:-1]}]"
    for _ in range(2):
        habits.learn(Language.BOXES, answer_ids(tokenizer, text))
    guide = habits.guide(Language.BOXES)
    true, state = answer_ids(tokenizer, text), State()
    for token in true:
        wish = guide.wish(state)
        assert not wish.only or token in wish.only, (tokenizer.piece(token), state)
        state = guide.after(state, token)
    assert guide.wish(State(Mode.DECIMALS, 3, 3)).only == pieces.ends
    assert Guide(pieces, Language.FREE, None).wish(State(Mode.WORDS)).only == ()
