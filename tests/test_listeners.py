"""Listeners are called in the middle of a pass: what they may do, and whose their errors are."""

import threading
from types import SimpleNamespace

import pytest
import torch
from engine_support import After, Heard, Passes
from patience import PATIENCE
from small_network import fresh, picture

from sphinx_ros.errors import BadRequest, Cancelled, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task

PROMPTS = ([5, 6, 7], [9], [11, 12, 13])
LIMIT = 6


def in_time(do):
    """What a function gives or raises in a thread of its own, which may not hang."""
    made = []

    def run():
        try:
            made.append(do())
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert made, "it hangs"
    if isinstance(made[0], BaseException):
        raise made[0]
    return made[0]


def is_free(seen):
    """Whether no question holds anything behind a picture's prefix."""
    frame = seen._frame
    return frame.asked == 0 and not frame.owner[frame.start :].any()


# questions from within


@pytest.mark.parametrize("listener", ["on_text", "on_found", "cancel"])
def test_a_question_in_the_middle_of_a_pass_is_refused(taught, listener):
    sphinx = fresh(taught)
    seen, other = sphinx.look(picture(64, 48)), sphinx.look(picture(48, 64))
    chat = other.chat()
    for ask in (
        seen.caption,
        other.pose,
        lambda: next(seen.stream("caption")),
        lambda: chat.ask("what?"),
    ):

        def from_within(*_, ask=ask):
            ask()
            return False

        with pytest.raises(BadRequest, match="in the middle of a pass"):
            in_time(lambda heard=from_within: seen.caption(**{listener: heard}))
    assert in_time(seen.caption).text and is_free(seen) and is_free(other)


def test_nor_may_another_adapter_of_the_network_be_asked(random_one):
    """Their passes take turns."""
    plain = random_one.look(picture(64, 48))
    adapted = random_one.adapt(None).look(picture(64, 48))
    with pytest.raises(BadRequest, match="in the middle of a pass"):
        in_time(lambda: plain.caption(on_text=lambda _: adapted.caption(max_new_tokens=2)))


def test_another_checkpoint_may_be_asked(random_one):
    seen, other = (fresh(random_one).look(picture(64, 48)) for _ in range(2))
    told = []

    def heard(_):
        told.append(other.caption(max_new_tokens=2).tokens)

    in_time(lambda: seen.caption(max_new_tokens=2, on_text=heard))
    assert told == [2, 2]


def test_a_refused_question_is_its_asker_s_alone(random_one):
    seen = fresh(random_one).look(picture(64, 48))
    expected = seen.ask("all?", max_new_tokens=8).raw_text

    def heard(number, _):
        if number == 0:
            seen.caption()

    lines = ["caption", "ask: all?"]
    first, second = in_time(
        lambda: seen.answer(lines, on_text=heard, return_errors=True, max_new_tokens=8)
    )
    assert isinstance(first, BadRequest) and second.raw_text == expected
    assert is_free(seen)


# what a listener raises


class Raising(Heard):
    """Raises at a token."""

    def __init__(self, error, at=2):
        super().__init__()
        self._error, self._at = error, at

    def token(self, choice):
        super().token(choice)
        if len(self.tokens) == self._at:
            raise self._error


class Broken(After):
    """An ending that fails at a token."""

    def length(self, ids):
        if len(ids) == 2:
            raise RuntimeError("no such piece")


@pytest.fixture
def passes(random_one):
    image = torch.randn(1, 6, random_one.config.dim, generator=torch.Generator().manual_seed(1))
    return Passes(random_one.model, [1, 2, 3], image)


@pytest.fixture
def alone(passes):
    """What each of PROMPTS is answered by itself."""
    return [passes.run(passes.row(prompt, limit=LIMIT))[0].ids for prompt in PROMPTS]


def nothing_is_held(passes):
    return not passes.frame.owner[passes.frame.start :].any()


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), GeneratorExit()], ids=repr)
def test_whatever_a_listener_raises_is_its_question_s_alone(passes, alone, error):
    rows = [passes.row(prompt, limit=LIMIT) for prompt in PROMPTS]
    rows[1].watch = Raising(error)
    passes.in_flight.run(rows)
    assert rows[1].error is error
    assert [rows[n].answer().ids for n in (0, 2)] == [alone[0], alone[2]]
    rows[0] = passes.row(PROMPTS[0], limit=LIMIT)
    rows[0].watch.should_stop = Raising(error, 1).token
    passes.in_flight.run(rows[:1])
    assert nothing_is_held(passes)


@pytest.mark.parametrize("draft", [False, True])
def test_an_interruption_ends_the_answer_that_it_meets_and_no_other(passes, alone, draft):
    """Ctrl-C while a listener is called: the others go on as if nothing had been."""
    guesses = [ids if draft else [] for ids in alone]
    rows = [
        passes.row(prompt, limit=LIMIT, draft=guess)
        for prompt, guess in zip(PROMPTS, guesses, strict=True)
    ]
    rows[1].watch = Raising(KeyboardInterrupt())
    stepper = passes.in_flight._stepper
    interrupted = 0
    while live := [row for row in rows if not row.done]:
        try:
            stepper.step(live)
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 1
    assert [rows[n].answer().ids for n in (0, 2)] == [alone[0], alone[2]]
    with pytest.raises(Cancelled, match="ask again"):
        rows[1].answer()
    assert nothing_is_held(passes)


def test_a_failure_while_one_takes_its_tokens_is_its_own(passes, alone):
    rows = [passes.row(prompt, limit=LIMIT) for prompt in PROMPTS]
    rows[1] = passes.row(PROMPTS[1], Broken(), LIMIT)
    passes.in_flight.run(rows)
    assert str(rows[1].error) == "no such piece"
    assert [rows[n].answer().ids for n in (0, 2)] == [alone[0], alone[2]]
    assert nothing_is_held(passes)


def test_an_interrupted_conversation_goes_on(random_one):
    rgb = picture(64, 48)
    sphinx = fresh(random_one)
    seen, told = sphinx.look(rgb), []

    def interrupted(text):
        told.append(text)
        if len(told) == 3:
            raise KeyboardInterrupt

    with seen.chat() as chat:
        chat.ask("what is that?", max_new_tokens=6)
        with pytest.raises(KeyboardInterrupt):
            chat.ask("and its colour?", max_new_tokens=6, on_text=interrupted)
        turns = [*chat.turns, ("how many?", None)]
        answer = chat.ask("how many?", short=False, max_new_tokens=6)
        assert answer.text == random_one.chat(turns, rgb, max_new_tokens=6)
    assert seen.caption(max_new_tokens=3).tokens == 3 and is_free(seen)


def test_an_interruption_of_one_thread_is_not_raised_in_another(random_one):
    """The thread that makes the passes is interrupted; the other one's answer is the same."""
    seen = fresh(random_one).look(picture(64, 48))
    expected = seen.ask("all?", max_new_tokens=12).raw_text
    flight, joined = seen._subject.engine._in_flight, threading.Event()
    raised, made = [], []

    def interrupted(_):
        if not joined.is_set():
            other.start()
            while len(flight._tickets) < 2:
                joined.wait(0.01)
            joined.set()
        elif len(raised) == 0:
            raised.append(1)
            raise SystemExit

    other = threading.Thread(
        target=lambda: made.append(seen.ask("all?", max_new_tokens=12)), daemon=True
    )
    with pytest.raises(SystemExit):
        seen.caption(max_new_tokens=12, on_text=interrupted)
    other.join(PATIENCE)
    assert made[0].raw_text == expected and is_free(seen)


# questions that turn out too long, and guesses of another vocabulary


def test_a_second_question_that_is_too_long_ends_its_own_query(random_one):
    seen = fresh(random_one).look(picture(64, 48))
    endless = Query(Task.ASK, "why? " * 70, (5, 5, 40, 40))
    room = seen._subject.engine.question_ids
    while True:  # as much as fits alone, so that it is too long behind the description
        longer = Query(Task.ASK, endless.text + " why?", endless.box)
        try:
            room(longer.text + "\nAnswer the question using a single word or phrase.")
        except BadRequest:
            break
        endless = longer
    expected = seen.ask("all?", max_new_tokens=6).raw_text
    long, other = seen.answer([endless, "ask: all?"], return_errors=True, max_new_tokens=6)
    assert isinstance(long, BadRequest) and long.status is Status.BAD_REQUEST
    assert "tokens" in str(long) and long.partial_text.strip()
    assert other.raw_text == expected and is_free(seen)
    with pytest.raises(BadRequest, match="tokens"):
        seen.answer([endless, "ask: all?"], max_new_tokens=6)


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_guesses_that_are_no_tokens_here_are_left_out(random_one, wrong):
    rgb, sphinx = picture(64, 48), fresh(random_one)
    expected = sphinx.look(rgb).caption(max_new_tokens=6)
    before = sphinx.look(rgb)
    before.caption(max_new_tokens=6)
    ((asked, ids),) = before.drafts.items()

    other = SimpleNamespace(drafts={asked: (ids[0], wrong), (Task.ASK, "all?"): ids})
    seen = sphinx.look(rgb, after=other)
    assert seen.caption(max_new_tokens=6).raw_text == expected.raw_text
    assert seen.drafts[Task.ASK, "all?"] == ids


def test_what_was_written_is_kept_for_the_next_picture_within_bounds(taught):
    seen = fresh(taught).look(picture(64, 48))
    subject = seen._subject
    for number in range(200):
        subject._keep(SimpleNamespace(task=Task.ASK, key=str(number)), (number,))
        subject._keep(SimpleNamespace(task=Task.CAPTION, key=""), (1,))
    assert len(subject._written) == len(seen.drafts) == 128
    assert list(seen.drafts)[-2:] == [(Task.ASK, "199"), (Task.CAPTION, "")]
