"""The engine changes what answers cost, never what they are: batched, forked, joined, guessed."""

import random
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_support import Heard, Passes
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from small_network import ANSWERS, fresh, picture

from sphinx_ros.engine.frame import Frame, Frames
from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.model.decoder import Decoder
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task

LINES = (
    "ask: how many mugs are there?",
    "ground: the red mug",
    "caption",
    "ask: what is left of the can?",
    "detect: mug",
)


def texts(results):
    return [one.raw_text for one in results]


# one batch


def test_a_batch_answers_as_each_query_alone(random_one):
    alone = [
        random_one.look(picture(64, 48)).answer([line], max_new_tokens=20)[0] for line in LINES
    ]
    for order in (LINES, LINES[::-1]):
        together = fresh(random_one).look(picture(64, 48)).answer(order, max_new_tokens=20)
        assert dict(zip(order, texts(together), strict=True)) == dict(
            zip(LINES, texts(alone), strict=True)
        )
    assert len(set(texts(alone))) > 2, "else this shows nothing"


def test_a_batch_of_all_tasks_gives_the_results_of_the_single_calls(taught):
    seen = taught.look(picture(64, 48))
    lines = [*LINES[:3], "detect: mug", "pose", "detect: can"]
    many = seen.answer([*lines, Query(Task.POSE)])
    alone = seen.ground("the red mug")
    assert [d.box for d in many[1]] == [d.box for d in alone] and len(alone) == 1
    assert many[2].text == seen.caption().text == ANSWERS[question(Task.CAPTION)]
    # the last bits of scores depend on how many rows a product has
    want = seen.pose()
    for found in (many[4], many[6]):
        assert [p.box for p in found] == [p.box for p in want] and len(want)
        joints = [[k for p in poses for k in p.keypoints] for poses in (found, want)]
        assert [replace(k, score=0) for k in joints[0]] == [replace(k, score=0) for k in joints[1]]
        scores = [[k.score for k in some] for some in joints]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4, nan_ok=True)
    assert many[5].status is Status.NOT_FOUND
    assert all(one.cost.passes <= one.cost.tokens + 2 for one in many[:4])


def test_a_query_that_cannot_be_asked_is_told_before_any_is(taught):
    seen = taught.look(picture(64, 48))
    for wrong in ("ground:", "fly: me", "pose: 1,2,3"):
        with pytest.raises(BadRequest):
            seen.answer([LINES[0], wrong])
    assert seen.answer([]) == []


def test_an_error_of_one_is_not_the_others(taught):
    seen, said = taught.look(picture(64, 48)), []

    def broken(number, text):
        said.append(number)
        if number == 1:
            raise RuntimeError("a listener's own mistake")

    results = seen.answer(LINES[:3], on_text=broken, return_errors=True)
    assert isinstance(results[1], RuntimeError) and said.count(1) == 1
    assert results[0].text == "2" and results[2].text == ANSWERS[question(Task.CAPTION)]
    with pytest.raises(RuntimeError, match="own mistake"):
        seen.answer(LINES[:3], on_text=broken)


def test_one_that_cannot_be_asked_of_this_picture_is_told_in_its_place(random_one):
    outside, endless = Query(Task.DESCRIBE, box=(500, 0, 600, 9)), "ask: " + "why? " * 700
    seen = fresh(random_one).look(picture(64, 48))
    asked = [LINES[0], outside, endless, LINES[2]]
    results = seen.answer(asked, return_errors=True, max_new_tokens=5)
    assert [type(one) is BadRequest for one in results] == [False, True, True, False]
    assert texts([results[0], results[3]]) == texts(
        seen.answer([LINES[0], LINES[2]], max_new_tokens=5)
    )
    for wrong in (outside, endless):
        with pytest.raises(BadRequest):
            seen.answer([LINES[0], wrong])


# joining, leaving, stopping

PROMPTS = ([5, 6, 7], [9], [11, 12, 13, 14, 15, 16, 17], [5, 6, 8], [20, 21])


@pytest.fixture(scope="module")
def alone(random_one):
    """What each of PROMPTS is answered by itself."""
    image = torch.randn(1, 6, random_one.config.dim, generator=torch.Generator().manual_seed(1))
    made = []
    for prompt in PROMPTS:
        passes = Passes(random_one.model, [1, 2, 3], image)
        made += passes.run(passes.row(prompt, limit=9))
    return image, [one.ids for one in made]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=6))
def test_joining_and_leaving_in_any_order(random_one, alone, plan):
    """Each question is brought by a thread of its own, and cancelled after some passes."""
    image, expected = alone
    passes = Passes(random_one.model, [1, 2, 3], image)
    rows = []
    for number, left in plan:
        calls = iter(range(100))
        watch = Heard(lambda calls=calls, left=left: next(calls) >= left)
        rows.append(passes.row(PROMPTS[number], limit=9, watch=watch))
    for (number, left), made in zip(plan, passes.run_apart(*rows), strict=True):
        assert made.ids == expected[number][:left]
        assert made.finish_reason == ("length" if left == 9 else "interrupted")
    (again,) = passes.run(passes.row(PROMPTS[0], limit=9))
    assert again.ids == expected[0]
    assert not passes.frame.owner[passes.frame.start :].any(), "nothing is left in the cache"
    assert passes.frame.asked == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, 40), max_size=12), st.integers(0, 9), st.integers(0, 4))
def test_drafts_right_wrong_and_empty(random_one, alone, wrong, right, number):
    image, expected = alone
    draft = [*expected[number][:right], *wrong]
    passes = Passes(random_one.model, [1, 2, 3], image)
    (made,) = passes.run(passes.row(PROMPTS[number], limit=9, draft=draft))
    assert made.ids == expected[number]
    if right == 9:
        assert made.passes == 1 and made.accepted == 8
    assert made.passes <= 9 - min(right, 8) + 1


def test_probabilities_are_the_same_guessed_or_not(random_one, alone):
    image, expected = alone
    passes = Passes(random_one.model, [1, 2, 3], image)
    plain, guessed = passes.run(
        passes.row(PROMPTS[2], limit=9), passes.row(PROMPTS[2], limit=9, draft=expected[2])
    )
    assert guessed.probabilities == pytest.approx(plain.probabilities, abs=1e-6)


def test_pictures_of_different_frames_step_together(random_one):
    pictures = [picture(64, 48, seed=n) for n in range(3)]
    expected = [random_one.look(p).caption(max_new_tokens=9).raw_text for p in pictures]
    seen, got = [fresh(random_one).look(p) for p in pictures], {}
    one = fresh(random_one)
    seen = [one.look(p) for p in pictures]

    def ask(number):
        got[number] = seen[number].caption(max_new_tokens=9).raw_text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[number] for number in range(3)] == expected


def test_a_question_joins_those_in_flight(random_one):
    """While one thread's long answer is written, another's short one begins and ends."""
    seen, order = random_one.look(picture(64, 48)), []
    begun, joined = threading.Event(), threading.Event()

    def heard(_):
        begun.set()
        joined.wait(0.2)  # seconds, after each token, until the other has been answered

    def long():
        seen.ask("all?", max_new_tokens=150, on_text=heard)
        order.append("long")

    thread = threading.Thread(target=long)
    thread.start()
    assert begun.wait(PATIENCE)
    assert seen.ask("how many?", max_new_tokens=2).tokens == 2
    order.append("short")
    joined.set()
    thread.join()
    assert order == ["short", "long"]


def test_stop_is_within_a_pass_and_frees_the_memory(random_one):
    seen, passes = random_one.look(picture(64, 48)), []
    real = random_one.model.step

    def counted(*arguments):
        passes.append(1)
        return real(*arguments)

    random_one.model.step = counted
    try:
        with pytest.raises(Cancelled):
            seen.caption(cancel=lambda: len(passes) >= 4, max_new_tokens=200)
    finally:
        del random_one.model.step
    assert len(passes) == 4
    frame = seen._frame
    assert not frame.owner[frame.start :].any() and frame.asked == 0


def test_a_limit_counts_while_another_waits_for_its_turn(random_one):
    seen = random_one.look(picture(64, 48))
    with random_one.engine.lock:
        thread_error = []

        def ask():
            try:
                seen.caption(timeout=0.2, max_new_tokens=3)
            except SphinxError as error:
                thread_error.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(PATIENCE)
    assert isinstance(thread_error[0], TimedOut)


def test_out_of_memory_ends_the_youngest_question_and_the_engine_lives_on(random_one, monkeypatch):
    sphinx = fresh(random_one)
    seen = sphinx.look(picture(64, 48))
    expected = seen.answer(LINES[:3], max_new_tokens=6, verify=False)
    real = sphinx.model.step

    def small(tokens, positions, spans, wanted):
        if len(wanted) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(tokens, positions, spans, wanted)

    monkeypatch.setattr(sphinx.model, "step", small)
    got = seen.answer(LINES[:3], max_new_tokens=6, return_errors=True, verify=False)
    assert texts(got[:2]) == texts(expected[:2])
    assert got[2].status is Status.OUT_OF_MEMORY and "answering caption" in str(got[2])
    monkeypatch.undo()
    assert texts(seen.answer(LINES[:3], max_new_tokens=6, verify=False)) == texts(expected)


def test_any_failure_of_the_network_reaches_every_caller(random_one, monkeypatch):
    sphinx = fresh(random_one)
    seen = sphinx.look(picture(64, 48))

    def lost(*_):
        raise RuntimeError("the card fell out")

    monkeypatch.setattr(sphinx.model, "step", lost)
    assert all("fell out" in str(one) for one in seen.answer(LINES, return_errors=True))
    monkeypatch.undo()
    assert seen.caption(max_new_tokens=3).tokens == 3


# frames


def test_the_same_pixels_are_looked_at_once(random_one):
    sphinx, looks = fresh(random_one), []
    real = sphinx.model.encode_image
    sphinx.model.encode_image = lambda pixels: looks.append(1) or real(pixels)
    try:
        one, same = sphinx.look(picture(64, 48, 9)), sphinx.look(picture(64, 48, 9).copy())
        other = sphinx.look(picture(64, 48, 10))
    finally:
        del sphinx.model.encode_image
    assert len(looks) == 2
    assert (one.cached, same.cached, other.cached) == (False, True, False)
    first, second = one.caption(max_new_tokens=4), same.caption(max_new_tokens=4)
    assert first.raw_text == second.raw_text
    assert second.cost.cached and second.cost.look_ms == 0 < first.cost.look_ms


def test_frames_stay_within_their_budget(random_one):
    sphinx = fresh(random_one)
    size = sphinx.look(picture(64, 48))._frame.nbytes
    sphinx.engine.frames.clear()
    sphinx.engine.frames.budget = int(2.5 * size)
    seen = [sphinx.look(picture(64, 48, seed)) for seed in range(4)]
    frames = sphinx.engine.frames
    assert len(frames) == 2 and frames.nbytes <= frames.budget and frames.evicted == 2
    expected = random_one.look(picture(64, 48, 0)).caption(max_new_tokens=8).raw_text
    assert seen[0].caption(max_new_tokens=8).raw_text == expected, "its prefix is made again"
    assert len(frames) == 2 and frames.nbytes <= frames.budget


def test_a_frame_that_is_being_asked_keeps_its_memory():
    frames, kept = Frames(budget=0), []
    for number in range(3):
        frame = Frame(bytes([number]), [1], torch.zeros(1, 2, 3))
        frame.asked = number == 0
        frames.keep(frame)
        kept.append(frame)
    assert frames.find(bytes([0])) is kept[0] and frames.find(bytes([1])) is None
    assert frames.find(bytes([2])) is kept[2], "the last one stays"


def test_a_cache_grows_while_others_are_in_it(random_one, alone):
    image, expected = alone
    passes = Passes(random_one.model, [1, 2, 3], image, room=2)
    made = passes.run(*(passes.row(prompt, limit=9) for prompt in PROMPTS))
    assert [one.ids for one in made] == expected
    assert passes.frame.cache.length > passes.frame.start + 20


# languages


def test_answers_in_the_language_are_the_same_with_it_and_cost_fewer_passes(taught):
    sphinx = fresh(taught)
    seen = sphinx.look(picture(64, 48))
    for ask in (
        lambda **o: seen.ground("the red mug", verify=False, **o),
        lambda **o: seen.detect("mug", **o),
    ):
        free = [ask(free=True) for _ in range(3)]
        constrained = ask()
        assert constrained.raw_text == free[0].raw_text
        assert [d.box for d in constrained] == [d.box for d in free[0]]
        assert constrained.cost.passes < free[0].cost.passes == free[0].tokens + 1
        assert [d.score for d in constrained] == pytest.approx(
            [d.score for d in free[0]], abs=1e-5
        )


@pytest.mark.parametrize("cheap", [0, 24, 1000], ids=["never", "alone", "always"])
def test_all_digits_are_tried_beside_each_other_where_tokens_cost_little(
    taught, monkeypatch, cheap
):
    """Whatever a pass takes with it, answers and probabilities are those of one by one."""
    lines = ["ground: the red mug", "detect: mug", "pose: 0,0,64,48", "caption", "ground: the can"]
    sphinx = fresh(taught)
    seen = sphinx.look(picture(64, 48))
    single = [seen.answer([line], free=True)[0] for line in lines for _ in range(2)][::2]
    monkeypatch.setattr(Decoder, "cheap_tokens", cheap)
    alone = seen.ground("the red mug", verify=False)
    together = seen.answer(lines)
    assert texts(together) == texts(single)
    assert together[0][0].sigma == pytest.approx(single[0][0].sigma, abs=1e-3)
    assert together[1][0].score == pytest.approx(single[1][0].score, abs=1e-5)
    fewer = alone.cost.passes <= (alone.tokens + 1) / 2
    assert fewer == (cheap > 0)
    assert sum(seen._frame.owner) == 0, "no slot is left behind"
    if cheap == 1000:
        assert together[0].cost.passes <= (together[0].tokens + 1) / 2


def test_a_denial_is_written_freely(taught):
    seen = fresh(taught).look(picture(64, 48))
    for _ in range(3):
        seen.ground("the red mug")
    assert seen.ground("the blue ball").status is Status.NOT_FOUND


def test_the_last_picture_s_answers_are_guesses_for_the_next(taught):
    sphinx = fresh(taught)
    first = sphinx.look(picture(64, 48))
    told = first.answer(LINES[:3])
    second = sphinx.look(picture(64, 48, seed=4), after=first)
    again = second.answer(LINES[:3], verify=False)
    assert texts(again) == texts(told)
    assert max(one.cost.passes for one in again) <= 2
    assert sum(one.cost.accepted for one in again) > 10


def test_random_orders_of_everything(random_one):
    """Threads, batches, drafts, cancels, two pictures: every text is the one it always is."""
    sphinx = fresh(random_one)
    pictures = [picture(64, 48, 1), picture(48, 64, 2)]
    expected = {
        (number, line): random_one.look(rgb).answer([line], max_new_tokens=10)[0].raw_text
        for number, rgb in enumerate(pictures)
        for line in LINES
    }
    wrong, last = [], [None, None]

    def client(seed):
        draw = random.Random(seed)
        for _ in range(4):
            number = draw.randrange(2)
            seen = sphinx.look(pictures[number], after=last[draw.randrange(2)])
            last[number] = seen
            lines = draw.sample(LINES, draw.randint(1, 4))
            cancelled = draw.random() < 0.3
            limit = iter(range(100))
            stop = (lambda limit=limit: next(limit) > 3) if cancelled else None
            got = seen.answer(lines, max_new_tokens=10, cancel=stop, return_errors=True)
            for line, result in zip(lines, got, strict=True):
                if isinstance(result, Cancelled):
                    right = expected[number, line].strip().startswith(result.partial_text.strip())
                else:
                    right = result.raw_text == expected[number, line]
                if not right:
                    wrong.append((line, result, expected[number, line]))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not np.concatenate([f.owner[f.start :] for f in (s._frame for s in last)]).any()


@pytest.mark.parametrize("after", ["x", 3, np.zeros((4, 4, 3), np.uint8)], ids=type)
def test_only_a_picture_that_was_looked_at_has_answers_to_guess_from(taught, after):
    with pytest.raises(BadRequest, match="give what look"):
        taught.look(picture(64, 48), after=after)
