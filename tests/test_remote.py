"""The model elsewhere: a server answers as a model here does, and failures have names."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE
from remote_support import busy, free_port, fresh_picture
from serve_support import lent, served
from small_network import picture

from sphinx_ros import Sphinx
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import (
    BadImage,
    BadRequest,
)
from sphinx_ros.events import Finished, Found, Piece
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote import upload
from sphinx_ros.seen import Seen
from sphinx_ros.serve.app import Settings
from sphinx_ros.tasks import Task

ROOT = Path(__file__).resolve().parent.parent
LINES = ["ground: the red mug", "detect: mug", "detect: can", "ask: how many mugs are there?"]


@pytest.fixture(scope="module")
def address(taught):
    """Of a server that has the small network."""
    with served(lent(taught)) as made:
        yield made


@pytest.fixture(scope="module")
def there(address):
    """The small network, through that server, without a loss of pixels."""
    sphinx = Sphinx.connect(address, quality="png")
    yield sphinx
    sphinx.close()


def same(one, other):
    """Whether two results tell the same, times aside."""
    told = [
        (r.status, r.raw_text, r.detections, r.poses, getattr(r, "text", "")) for r in (one, other)
    ]
    return repr(told[0]) == repr(told[1])  # NaN is equal to itself there


# The same answers


def test_it_answers_as_the_model_here(there, taught):
    rgb = picture(80, 60, 7)
    here, seen = taught.look(rgb), there.look(rgb)
    assert isinstance(there, Sphinx) and isinstance(seen, Seen)
    assert (seen.width, seen.height) == (here.width, here.height) == (80, 60)
    for one, other in zip(seen.answer(LINES), here.answer(LINES), strict=True):
        assert same(one, other)
    assert same(seen.pose(), here.pose())
    assert same(seen.point("the red mug"), here.point("the red mug"))
    assert same(seen.caption(), here.caption())
    box = (0.0, 0.0, 50.0, 40.0)
    assert same(seen.describe(box), here.describe(box))
    asked = {"box": box, "short": False, "max_new_tokens": 6}
    assert same(seen.ask("what colour is it?", **asked), here.ask("what colour is it?", **asked))
    chosen = {"choices": ["cat", "mug"], "max_new_tokens": 6}
    assert same(seen.ask("which is it?", **chosen), here.ask("which is it?", **chosen))
    assert same(seen.ground("the blue ball", verify=False), here.ground("the blue ball"))


def test_streams_tell_the_same(there, taught):
    rgb = picture(80, 60, 8)
    for queries in ("caption", LINES):
        one = list(there.look(rgb).stream(queries))
        other = list(taught.look(rgb).stream(queries))
        for kind in (Found, Finished):
            told = [[e for e in events if isinstance(e, kind)] for events in (one, other)]
            key = [[(e.number, getattr(e, "item", None)) for e in events] for events in told]
            assert sorted(key[0], key=repr) == sorted(key[1], key=repr)
        for number in range(len(queries) if queries is LINES else 1):
            texts = [
                "".join(e.text for e in events if isinstance(e, Piece) and e.number == number)
                for events in (one, other)
            ]
            assert texts[0] == texts[1]


def test_a_conversation_goes_on(there, taught):
    rgb = picture(64, 64, 9)
    with there.look(rgb).chat() as far, taught.look(rgb).chat() as near:
        for text in ("how many mugs are there?", "and cans?"):
            one = far.ask(text, max_new_tokens=6)
            assert same(one, near.ask(text, max_new_tokens=6)) and one.tokens <= 6
        assert far.turns == near.turns
        events = list(far.stream("really?", max_new_tokens=5))
        assert isinstance(events[-1], Finished)
        assert "".join(e.text for e in events[:-1] if isinstance(e, Piece)).strip() == (
            events[-1].result.text
        )
        assert far.turns[-1][1] == near.ask("really?", max_new_tokens=5).text


def test_a_prompt_of_turns(there, taught):
    rgb, turns = picture(64, 64, 10), [("what is it?", "a mug"), ("how many?", None)]
    given = {"max_new_tokens": 6}
    assert there.chat(turns, rgb, **given) == taught.chat(turns, rgb, **given)
    drawn = {**given, "temperature": 1.0, "seed": 4}
    assert there.chat(turns, rgb, **drawn) == taught.chat(turns, rgb, **drawn)
    with pytest.raises(BadRequest, match="pictures only"):
        there.chat(turns)
    with pytest.raises(BadRequest, match="last turn"):
        there.chat([("a", "b")], rgb)


def test_listeners_are_told(there):
    texts, boxes = [], []
    found = there.look(picture(64, 48, 11)).detect(
        "mug", on_text=texts.append, on_found=boxes.append
    )
    assert texts[-1] == found.raw_text and len(texts) > 10
    assert [box.box for box in boxes] == [box.box for box in found]
    numbers = set()
    there.look(picture(64, 48, 11)).answer(LINES, on_text=lambda number, _: numbers.add(number))
    assert numbers == set(range(len(LINES)))


def test_a_listener_s_error_ends_its_query_alone(there):
    def trip(number, text):
        if number == 1:
            raise KeyError("mine")

    results = there.look(picture(64, 48, 12)).answer(LINES, on_text=trip, return_errors=True)
    assert isinstance(results[1], KeyError) and results[3].text == "2"


def test_what_can_t_be_asked(there):
    seen = there.look(picture(64, 48, 13))
    outside = (100.0, 100.0, 120.0, 120.0)
    with pytest.raises(BadRequest, match="outside the picture"):
        seen.describe(outside)
    both = [Query(Task.DESCRIBE, box=outside), "ask: how many mugs are there?"]
    refused, answer = seen.answer(both, return_errors=True)
    assert isinstance(refused, BadRequest) and answer.text == "2"
    with pytest.raises(BadRequest, match="coordinates"):
        seen.ground("the red mug", coordinates="best")
    with pytest.raises(BadRequest):
        there.check(Query(Task.GROUND, " "))
    with pytest.raises(BadImage):
        there.look(np.zeros((3, 4), np.uint8))
    with pytest.raises(BadRequest, match="after"):
        there.look(picture(64, 48), after="the last one")
    with pytest.raises(TypeError):
        seen.caption(speed="fast")


def test_many_queries_with_limits_of_their_own(there, taught):
    rgb = picture(64, 48, 14)
    queries = [Query(Task.CAPTION, max_new_tokens=1 + n % 3) for n in range(40)]
    told = [r.raw_text for r in there.look(rgb).answer(queries)]
    assert told == [r.raw_text for r in taught.look(rgb).answer(queries)]


def test_what_needs_the_network_is_refused(there, address):
    for ask in (
        lambda: there.generate(["x"]),
        lambda: there.logits([1]),
        lambda: there.engine,
        lambda: there.tokenizer,
    ):
        with pytest.raises(BadRequest, match="needs the model in this process.*from_pretrained"):
            ask()
    assert there.name == "small" and there.device == "cpu" and there.trouble == ""
    assert there.connection[f"server {address}"] == "reachable"


def test_answers_about_an_earlier_picture_are_guesses(there):
    """Fewer passes, the same answer; one that the server does not know is no guess."""
    first = there.look(picture(64, 48, 31))
    found = first.ground("the red mug", verify=False)
    again = there.look(picture(64, 48, 32), after=first).ground("the red mug", verify=False)
    other = there.look(picture(64, 48, 33)).ground("the red mug", verify=False)
    assert again.raw_text == found.raw_text == other.raw_text
    assert again.cost.accepted > other.cost.accepted and again.cost.passes < other.cost.passes
    never = there.look(picture(64, 48, 34))
    last = there.look(picture(64, 48, 35), after=never)
    assert last.ground("the red mug", verify=False).raw_text == found.raw_text


# Pictures


def test_a_picture_is_sent_once(hand):
    backend, sphinx = hand
    rgb = fresh_picture()
    seen = sphinx.look(rgb)
    for _ in range(3):
        seen.answer(["caption", "pose"])
    sphinx.look(rgb.copy(), after=seen).caption()
    assert len(backend.works) == 4 and len(backend.sent) == 1
    assert backend.sent[0].encoded[:2] == b"\xff\xd8", "a JPEG"
    sphinx.look(fresh_picture()).caption()
    assert len(backend.sent) == 2


def test_many_threads_that_ask_first_send_it_once(hand):
    backend, sphinx = hand
    seen = sphinx.look(fresh_picture())
    threads = [threading.Thread(target=seen.caption) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backend.works) == 8 and len(backend.sent) == 1


def test_a_picture_that_the_server_forgot_is_sent_again(hand):
    backend, sphinx = hand
    seen = sphinx.look(fresh_picture())
    seen.caption()
    backend.known.clear()
    assert seen.caption().text == "one two"
    assert len(backend.sent) == 2


def test_questions_longer_than_an_address_are_asked_behind_the_picture(hand):
    backend, sphinx = hand
    words = "the mug " * 800
    sphinx.look(fresh_picture()).ground(words, verify=False)
    look, asked = backend.works
    assert look.encoded is not None and not look.queries
    assert asked.encoded is None and asked.queries[0].text == words.strip()


def test_a_picture_that_goes_before_its_question_is_told_as_new(hand):
    backend, sphinx = hand
    backend.refuse = [None, busy(0.05)]  # the picture is taken, its question comes too early
    seen = sphinx.look(fresh_picture())
    assert seen.ground("the mug " * 800, verify=False) is not None and not backend.refuse
    assert not seen.cached and seen.timing.encode == 1.5
    seen.caption()
    assert seen.cached and seen.timing.encode == 0.0


def test_threads_that_look_at_the_same_pixels_at_once_share_a_file(monkeypatch):
    rgb, real, both = fresh_picture(), upload.encoded, threading.Barrier(2)

    def meeting(*given):
        both.wait(PATIENCE)
        return real(*given)

    monkeypatch.setattr(upload, "encoded", meeting)
    with ThreadPoolExecutor(2) as threads:
        (one, first), (other, second) = threads.map(upload.Uploads(90).of, [rgb, rgb.copy()])
    assert one is other and {first, second} == {True, False}


def test_a_time_limit_of_a_conversation_is_the_server_s_too(hand):
    backend, sphinx = hand
    assert sphinx.look(fresh_picture()).chat().ask("what is it?", timeout=500).text == "one two"
    assert 120 < backend.works[-1].options.timeout <= 500


@pytest.mark.parametrize("quality", [-1, 101, True, "best", 90.5])
def test_a_quality_that_is_none(quality):
    with pytest.raises(BadRequest, match=r"1\.\.100"):
        Sphinx.connect("http://127.0.0.1:1", quality=quality)


# Without torch


CODE = """
import sys, numpy as np
from sphinx_ros import Sphinx
sphinx = Sphinx.connect({address!r})
assert sphinx.look(np.zeros((48, 64, 3), np.uint8)).ask("how many mugs are there?").text == "2"
print(*(name for name in ("torch", "timm", "transformers", "sentencepiece", "rclpy")
        if name in sys.modules))
"""


def test_it_loads_no_torch(address):
    code = CODE.format(address=address)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == ""


VERB = """
import sys
from sphinx_ros.commands.cli import main
code = main(["ask", {photo!r}, "how many mugs are there?", "--server", {address!r}, *{more!r}])
assert "torch" not in sys.modules and "sphinx_ros.answer.loaded" not in sys.modules
sys.exit(code)
"""


def test_the_picture_verbs_ask_a_server_without_torch(address, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(80, 60, 7))
    told = []
    for more in ([], ["--json"]):
        code = VERB.format(photo=str(photo), address=address, more=more)
        made = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        assert made.returncode == 0, made.stderr
        told.append(made.stdout)
    assert told[0].startswith(f"{photo}: OK 2")
    said = json.loads(told[1])
    assert (said["answer"], said["status"], said["width"]) == ("2", "OK", 80)


def test_words_of_the_picture_verbs_about_servers(tmp_path, capsys, taught):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(80, 60, 7))
    away = f"http://127.0.0.1:{free_port()}"

    def run(*words):
        code = main(["caption", str(photo), *words])
        return code, capsys.readouterr().err

    assert run("--server", away, "--device", "cpu") == (
        2,
        "sphinx-ros: with --server the model is the server's: leave out --device\n",
    )
    assert run("--token", "x")[1].endswith("give --server as well\n")
    code, err = run("--server", away)
    assert code == 3 and "connection refused; is `sphinx-ros serve` running there?" in err
    with served(lent(taught), Settings(token="secret")) as address:
        assert run("--server", f"{away},{address}", "--token", "secret")[0] == 0
