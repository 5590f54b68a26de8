"""The whole path on a small network that knows a dozen answers by heart (see small_network.py)."""

import itertools
import math
import threading
import time

import numpy as np
import pytest
import torch
from small_network import (
    ANSWERS,
    CAN,
    JOINTS,
    MUG,
    PERSON,
    PICTURE_SIZES,
    picture,
    random_checkpoint,
    taught_checkpoint,
)

from sphinx_ros import Sphinx
from sphinx_ros.errors import BadImage, BadRequest, Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, ScoreSource, Visibility

LONG = "Please describe everything."  # no answer learnt: the network rambles on


@pytest.fixture(scope="module")
def taught():
    """Answers ANSWERS by heart."""
    return Sphinx.from_pretrained(taught_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def random():
    """Random weights: writes nonsense that depends on every token before."""
    return Sphinx.from_pretrained(random_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def crowd():
    """Sees the person of ANSWERS, and one of no area."""
    people = ANSWERS[question(Task.DETECT, "person")] + "<p>person</p>[0.500,0.500,0.500,0.500]"
    checkpoint = taught_checkpoint(((question(Task.DETECT, "person"), people),))
    return Sphinx.from_pretrained(checkpoint, device="cpu")


def in_pixels(box, width, height):
    """A box in fractions of the padded square in pixels of the picture."""
    return Letterbox.of(width, height).box_to_source(box)


# one look, many questions


def test_looking_once_gives_the_text_of_a_fresh_look_and_of_chat(random):
    rgb = picture(64, 48)
    asked = ("what is that?", "how many mugs are left of the can?", "#", "a", "7 things?", "Été ☃")
    once = random.look(rgb)
    for text in asked + asked[::-1]:
        wording = question(Task.ASK, text)
        shared = once.ask(text, max_new_tokens=12).raw_text
        assert shared == random.look(rgb).ask(text, max_new_tokens=12).raw_text
        assert shared.strip() == random.chat([(wording, None)], rgb, max_new_tokens=12)
    texts = {once.ask(text, max_new_tokens=12).raw_text for text in asked}
    assert len(texts) > 1, "the nonsense must depend on the question, else this shows nothing"


def test_a_long_answer_does_not_touch_the_prefix(random):
    seen = random.look(picture(48, 64, seed=1))
    before = seen.caption(max_new_tokens=16).raw_text
    seen.ask(LONG * 8, short=False, max_new_tokens=200)
    assert seen.caption(max_new_tokens=16).raw_text == before


def test_two_pictures_do_not_mix(random):
    one, other = random.look(picture(64, 48, seed=2)), random.look(picture(40, 40, seed=3))
    texts = [s.caption(max_new_tokens=12).raw_text for s in (one, other, one, other)]
    assert texts[:2] == texts[2:]
    assert texts[0] == random.look(picture(64, 48, seed=2)).caption(max_new_tokens=12).raw_text


def test_timing_of_a_look(taught):
    timing = taught.look(picture(64, 48)).timing
    assert timing.encode > 0 and timing.prefill > 0


# results in the picture's own pixels


@pytest.mark.parametrize(("width", "height"), PICTURE_SIZES[:-1])
def test_boxes_come_in_source_pixels(taught, width, height):
    seen = taught.look(picture(width, height))
    found = seen.ground("the red mug")
    assert found.status is Status.OK
    assert found.raw_text.strip() == ANSWERS[question(Task.GROUND, "the red mug")]
    assert [d.label for d in found] == ["the red mug"]
    assert found[0].box == pytest.approx(expected_box(MUG, width, height), abs=1e-6)
    several = seen.detect("mug")
    assert [d.label for d in several] == ["mug", "mug"]
    for item, true in zip(several, (CAN, MUG), strict=True):
        assert item.box == pytest.approx(expected_box(true, width, height), abs=1e-6)


def expected_box(box, width, height):
    """In pixels, clipped to the picture."""
    x0, y0, x1, y1 = in_pixels(box, width, height)
    return (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))


def test_a_box_beside_the_picture_is_reported_and_not_returned(taught):
    """In a narrow picture the left box lies in the border that pads it to a square."""
    found = taught.look(picture(90, 160)).detect("mug")
    assert [d.box for d in found] == [pytest.approx(in_pixels(MUG, 90, 160))]
    assert found.unread == ("<p>mug</p>[0.1,0.3,0.2,0.45]",) and found.status is Status.OK


@pytest.mark.parametrize(("width", "height"), PICTURE_SIZES[:3])
def test_pose_in_a_box_and_of_everybody(taught, width, height):
    seen = taught.look(picture(width, height))
    region = in_pixels(PERSON, width, height)
    alone, everybody = seen.pose(region), seen.pose()
    assert alone.status is everybody.status is Status.OK
    for pose in (*alone, *everybody):
        assert [k.name for k in pose.keypoints] == list(COCO_KEYPOINTS)
        assert pose.box == pytest.approx(region, abs=1e-6)
        for joint in pose.keypoints:
            if joint.name in JOINTS:
                expected = Letterbox.of(width, height).to_source(*JOINTS[joint.name])
                assert (joint.x, joint.y) == pytest.approx(expected, abs=1e-6)
                assert joint.visibility is Visibility.UNKNOWN
            else:
                assert math.isnan(joint.x) and joint.visibility is Visibility.ABSENT
    assert len(alone) == len(everybody) == 1
    assert everybody.tokens > alone.tokens, "finding the people is counted"


def test_answers_in_words(taught):
    seen = taught.look(picture(64, 48))
    assert seen.ask("how many mugs are there?").text == "2"
    described = seen.describe(in_pixels(MUG, 64, 48))
    assert described.text == "a small red mug" and described.status is Status.OK
    caption = seen.caption()
    assert [d.label for d in caption.detections] == ["can", "red mug"]
    assert caption.detections[1].box == pytest.approx(in_pixels(MUG, 64, 48), abs=1e-6)
    assert caption.text == ANSWERS[question(Task.CAPTION)] and caption.milliseconds > 0


def test_region_of_a_question_has_the_checkpoint_s_decimals(taught):
    """Asked with other decimals the toy would not know the words it learnt."""
    seen = taught.look(picture(64, 48))
    box = in_pixels(MUG, 64, 48)
    assert taught.config.coordinate_decimals == 3
    assert seen.describe(box).text == "a small red mug"
    nudged = tuple(value + 0.0001 for value in box)
    assert seen.describe(nudged).text == "a small red mug", "rounded to the decimals"


# scores and statuses


def test_scores_are_probabilities_or_nan(taught, random):
    seen = taught.look(picture(64, 48))
    boxes = [*seen.detect("mug"), *seen.ground("the red mug"), *seen.caption().detections]
    for item in [*boxes, *seen.pose()]:
        assert 0 < item.score <= 1
    assert all(d.score_source is ScoreSource.TOKEN_PROBABILITY for d in seen.detect("mug"))
    assert 0 < seen.caption().score <= 1
    absent = [k for k in seen.pose()[0].keypoints if math.isnan(k.x)]
    assert absent and all(math.isnan(k.score) for k in absent)
    assert seen.ground("the red mug")[0].score > 0.5, "by heart means being sure"
    rambling = random.look(picture(64, 48)).ask("what?", max_new_tokens=20)
    assert rambling.score < 0.5, "a random network is not sure of anything"


def test_nothing_there_is_not_found_and_not_a_failure(taught):
    seen = taught.look(picture(64, 48))
    for none in (seen.detect("can"), seen.ground("the blue ball")):
        assert none == [] and none.status is Status.NOT_FOUND
        assert none.raw_text.strip().startswith("There is no") and none.unread == ()


def test_unreadable_words_are_kept(taught):
    broken = taught.look(picture(64, 48)).detect("cone", free=True)
    assert broken == [] and broken.status is Status.PARSE_FAILED
    assert "[0.2,0.3,0.4]" in broken.raw_text and broken.unread == ("[0.2,0.3,0.4]",)


def test_one_bad_person_does_not_hide_the_others(crowd):
    """A person of no area, and one about whom nothing readable is written."""
    found = crowd.look(picture(64, 48)).pose()
    assert found.status is Status.OK and len(found) == 1
    assert found[0].box == pytest.approx(in_pixels(PERSON, 64, 48), abs=1e-6)
    assert any("32,24,32,24" in text for text in found.unread), found.unread


def test_words_cut_off_by_the_token_limit_are_kept(taught):
    seen = taught.look(picture(64, 48))
    whole = seen.detect("mug")
    cut = seen.detect("mug", max_new_tokens=whole.tokens - 8)
    assert whole.raw_text.startswith(cut.raw_text) and len(cut.raw_text) < len(whole.raw_text)
    assert cut.tokens == whole.tokens - 8 and cut.unread


# stopping


def test_cancel_keeps_what_was_written(taught):
    asked = []

    def cancel():
        asked.append(True)
        return len(asked) > 5

    with pytest.raises(Cancelled) as stopped:
        taught.look(picture(64, 48)).caption(cancel=cancel)
    assert stopped.value.status is Status.CANCELLED and len(asked) == 6
    part = stopped.value.partial_text.strip()
    assert part and ANSWERS[question(Task.CAPTION)].startswith(part)


def test_timeout_keeps_what_was_written(random):
    seen = random.look(picture(64, 48))
    text = []

    def slow(so_far):
        text.append(so_far)
        time.sleep(0.3)

    with pytest.raises(TimedOut) as stopped:
        seen.ask(LONG, timeout=2.0, on_text=slow, max_new_tokens=300)
    assert stopped.value.status is Status.TIMEOUT and 0 < len(text) < 10
    assert stopped.value.partial_text.strip().startswith(text[-1])
    with pytest.raises(TimedOut):
        seen.ask(LONG, timeout=0)
    assert seen.ask("what?", timeout=600, max_new_tokens=3).status is Status.OK


def test_text_streams_and_grows(taught):
    parts = []
    answer = taught.look(picture(64, 48)).caption(on_text=parts.append)
    assert len(parts) > 10 and parts[-1] == answer.text
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(parts))


def test_token_limit(random):
    seen = random.look(picture(64, 48))
    long, short = (seen.ask(LONG, max_new_tokens=n) for n in (30, 4))
    assert (long.tokens, short.tokens) == (30, 4) and long.raw_text.startswith(short.raw_text)


def test_two_threads_ask_one_picture(taught):
    seen = taught.look(picture(64, 48))
    questions = {
        "how many mugs are there?": lambda: seen.ask("how many mugs are there?").text,
        "mugs": lambda: seen.detect("mug").raw_text,
    }
    expected = {name: ask() for name, ask in questions.items()}
    got = {name: [] for name in questions}

    def worker(name):
        for _ in range(6):
            got[name].append(questions[name]())

    threads = [threading.Thread(target=worker, args=(name,)) for name in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {name: [text] * 6 for name, text in expected.items()}


# generate, chat, logits


def test_sampling_is_reproducible_by_seed(random):
    prompts, rgb = [conversation([("what is that?", None)])], [picture(40, 40)]
    greedy, again, sampled, same, other = (
        random.generate(prompts, rgb, max_new_tokens=12, **how)
        for how in (
            {},
            {},
            {"temperature": 1.0, "seed": 3},
            {"temperature": 1.0, "seed": 3},
            {"temperature": 1.0, "seed": 4},
        )
    )
    assert greedy == again and sampled == same and sampled != other and sampled != greedy
    narrow = random.generate(prompts, rgb, max_new_tokens=12, temperature=1.0, top_p=0.0, seed=9)
    assert narrow == greedy, "top_p 0 leaves the best token"
    cold = random.generate(prompts, rgb, max_new_tokens=12, temperature=1e-4, seed=9)
    assert cold == greedy


def test_a_batch_answers_as_its_rows_do_alone(taught):
    """Rows of one length: with unequal ones the official semantics give short rows more room."""
    prompts = [conversation([(question(Task.ASK, "how many mugs are there?"), None)])] * 2
    pictures = [picture(64, 48), picture(48, 64)]
    both = taught.generate(prompts, pictures, max_new_tokens=8, stop=["\n###"])
    assert [text.strip() for text in both] == ["2", "2"]


def test_chat_sees_earlier_turns(random):
    rgb = picture(64, 48)
    first = random.chat([("what is that?", None)], rgb, max_new_tokens=8)
    turns = [("what is that?", first or "a mug"), ("and that?", None)]
    knowing, alone = (random.chat(t, rgb, max_new_tokens=16) for t in (turns, turns[1:]))
    assert knowing != alone
    with pytest.raises(BadRequest, match="has no answer"):
        random.chat([("one", None), ("two", None)], rgb)


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ("hi", "turns is 'hi'"),
        (None, "turns is None"),
        ([], r"turns is \[\]"),
        (["hi"], "turn 1 is 'hi'"),
        ([("q", "a"), ("b",)], r"turn 2 is \('b',\)"),
        ([("q", 5)], r"turn 1 is \('q', 5\)"),
        ([(None, None)], "turn 1 is"),
        ([("q", "a")], "last turn has an answer"),
    ],
)
def test_what_are_no_turns(random, turns, says):
    with pytest.raises(BadRequest, match=says):
        random.chat(turns, picture(40, 40))


def test_texts_that_end_what_is_generated(taught):
    """One or several; a text is not its letters."""
    asked, rgb = [(question(Task.CAPTION), None)], picture(64, 48)
    whole = taught.chat(asked, rgb, max_new_tokens=40)
    for stop in ("objects", ["objects"]):
        assert taught.chat(asked, rgb, max_new_tokens=40, stop=stop) == "There are 2"
    assert taught.chat(asked, rgb, max_new_tokens=40, stop="\n###") == whole
    (text,) = taught.generate([conversation(asked)], [rgb], max_new_tokens=40, stop="\n###")
    assert text.strip() == whole
    for bad in (5, [5], [""]):
        with pytest.raises(BadRequest, match="stop"):
            taught.chat(asked, rgb, stop=bad)


def test_choices_may_come_from_any_sequence(taught):
    seen = taught.look(picture(64, 48))
    one, other = (
        seen.ask("which?", choices=choices, max_new_tokens=4)
        for choices in (["mug", "can"], iter(["mug", "can"]))
    )
    assert (one.text, one.raw_text) == (other.text, other.raw_text)


def test_a_person_s_box_is_the_pose_s_own(taught):
    box = [float(value) for value in in_pixels(PERSON, 64, 48)]
    (pose,) = taught.look(picture(64, 48)).pose(box)
    assert pose.box == tuple(box) and isinstance(pose.box, tuple)


def test_logits_have_a_row_per_token(random):
    ids = random.tokenizer.encode("A chat", True, False)
    plain, seeing = random.logits(ids), random.logits(ids, picture(64, 48))
    shape = (len(ids), random.tokenizer.n_words)
    assert plain.shape == seeing.shape == shape and plain.dtype == torch.float32
    assert not torch.allclose(plain, seeing)
    longer = random.logits([*ids, 5], picture(64, 48))
    assert torch.allclose(longer[:-1], seeing, atol=1e-5), "no token sees a later one"


def test_text_without_a_picture(random):
    prompt = conversation([("hello", None)])
    (written,) = random.generate([prompt], max_new_tokens=5)
    assert written.strip() == random.chat([("hello", None)], max_new_tokens=5)
    (seeing,) = random.generate([prompt], [picture(64, 48)], max_new_tokens=5)
    assert seeing != written


# bad input


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((48, 0, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        None,
    ],
    ids=["0x0", "no width", "grey", "four channels", "float", "no array"],
)
def test_bad_pictures(random, rgb):
    with pytest.raises(BadImage, match=r"\w"):
        random.look(rgb)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (700, 3)])
def test_tiny_and_narrow_pictures_are_pictures(random, size):
    width, height = size
    seen = random.look(np.full((height, width, 3), 90, np.uint8))
    assert (seen.width, seen.height) == size
    assert isinstance(seen.caption(max_new_tokens=3).raw_text, str)


def test_bad_requests(random):
    seen = random.look(picture(64, 48))
    for ask in (seen.ask, seen.ground, seen.detect):
        for text in ("", "  \n", "x" * 1001, "x" * 10_000, "☃" * 900):
            with pytest.raises(BadRequest, match=r"empty|tokens or more, and \d+ fit .* shorten"):
                ask(text)
        with pytest.raises(BadRequest, match="50000000 characters; the limit is 200000: shorten"):
            ask("x" * 50_000_000)
        for text in ("a\x00b", "\ud800"):
            with pytest.raises(BadRequest, match="NUL|Unicode"):
                ask(text)
    for box in (
        (0, 0, 0, 0),
        (5, 5, 4, 6),
        (64, 0, 70, 10),
        (-9, -9, -1, -1),
        (0, 0, 9),
        (math.nan, 0, 9, 9),
        (0, 0, math.inf, 9),
    ):
        for ask in (seen.describe, seen.pose):
            with pytest.raises(BadRequest, match="box"):
                ask(box)
    for seconds in (math.nan, math.inf, 1e10):
        with pytest.raises(BadRequest, match="timeout is .* at most 86400"):
            seen.ask("what?", timeout=seconds)
    for tokens in (-1, 4097):
        with pytest.raises(BadRequest, match="max_new_tokens is .* 0..4096"):
            seen.ask("what?", max_new_tokens=tokens)
    with pytest.raises(BadRequest, match="images"):
        random.generate(["a", "b"], [picture(64, 48)])
    for prompts in ([], [5], 5, "a", ["a", None]):
        with pytest.raises(BadRequest, match="list of prompts"):
            random.generate(prompts)
    with pytest.raises(BadRequest, match="images is 5"):
        random.generate(["a"], 5)
    for queries in (5, None, "pose"):
        with pytest.raises(BadRequest, match="queries is"):
            seen.answer(queries)
    for queries in (5, None):
        with pytest.raises(BadRequest, match="queries is"):
            seen.stream(queries)
    for choices in (5, {"mug", "can"}, "ab"):
        with pytest.raises(BadRequest, match="choices is .*2 to 26 texts"):
            seen.ask("which?", choices=choices)
    with pytest.raises(BadRequest, match="max_new_tokens"):
        random.generate(["a"], max_new_tokens=10_000)
    with pytest.raises(BadRequest):
        random.logits([])


def test_a_question_longer_than_the_usual_room_is_answered():
    """The cache behind a picture grows where the network has positions."""
    wide = Sphinx.from_pretrained(random_checkpoint(), device="cpu", max_seq_len=2048)
    seen = wide.look(picture(64, 48))
    before = seen.caption(max_new_tokens=12).raw_text
    long = seen.ask("☃" * 400, max_new_tokens=12)  # every snowman is three byte tokens
    assert long.tokens == 12
    assert long.raw_text == wide.look(picture(64, 48)).ask("☃" * 400, max_new_tokens=12).raw_text
    assert seen.caption(max_new_tokens=12).raw_text == before


def test_check_says_what_asking_would_say(taught):
    assert taught.check(Query(Task.GROUND, " the mug ")).text == "the mug"
    for query in (Query(Task.ASK, "x" * 2000), Query(Task.GROUND), Query(Task.DESCRIBE)):
        with pytest.raises(BadRequest):
            taught.check(query)


def test_a_sequence_too_short_for_a_picture():
    short = Sphinx.from_pretrained(random_checkpoint(), device="cpu", max_seq_len=40)
    with pytest.raises(BadRequest, match="max_seq_len 40"):
        short.look(picture(64, 48))


@pytest.mark.parametrize("device", ["banana", "cuda:99", "xpu", "meta"])
def test_devices_that_are_not_there(device):
    with pytest.raises(SphinxError, match="device"):
        Sphinx.from_pretrained(random_checkpoint(), device=device)


def test_types_of_numbers(random):
    with pytest.raises(SphinxError, match="float32, bfloat16, float16"):
        Sphinx.from_pretrained(random_checkpoint(), dtype="int8")
    half = Sphinx.from_pretrained(random_checkpoint(), device="cpu", dtype="bfloat16")
    assert half.model.tok_embeddings.weight.dtype is torch.bfloat16
    assert isinstance(half.look(picture(64, 48)).caption(max_new_tokens=3).raw_text, str)


def test_loading_does_not_know_gradients(random):
    assert not any(p.requires_grad for p in random.model.parameters())
    assert not random.model.training
