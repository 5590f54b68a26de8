"""The model elsewhere: a server answers as a model here does, and failures have names."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from process_support import until
from remote_support import Hand, busy, free_port, fresh_picture, listening
from serve_support import lent, served
from small_network import picture

from sphinx_ros import Sphinx
from sphinx_ros.errors import (
    BadImage,
    BadRequest,
    Cancelled,
    SphinxError,
    Status,
    TimedOut,
    Unreachable,
)
from sphinx_ros.events import Finished, Found, Piece
from sphinx_ros.prompt.queries import Query
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


@pytest.fixture
def hand():
    """A server in the hand of the test: its backend, and a connection to it."""
    backend = Hand()
    with served(backend) as address:
        sphinx = Sphinx.connect(address)
        backend.address = address
        yield backend, sphinx
        backend.go.set()
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
    pytest.importorskip("sphinx_ros.serve.openai_door")
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
    pytest.importorskip("sphinx_ros.serve.openai_door")
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


@pytest.mark.parametrize("quality", [-1, 101, True, "best", 90.5])
def test_a_quality_that_is_none(quality):
    with pytest.raises(BadRequest, match=r"1\.\.100"):
        Sphinx.connect("http://127.0.0.1:1", quality=quality)


# Ends


def test_cancelling_ends_the_work_on_the_server_and_keeps_the_text(hand):
    backend, sphinx = hand
    backend.go.clear()
    over = threading.Event()
    threading.Timer(0.1, over.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled) as ended:
        sphinx.look(fresh_picture()).caption(cancel=over.is_set)
    assert time.monotonic() - begun < 1.0 and ended.value.partial_text == "one"
    assert until(lambda: backend.gone == 1, 5)


def test_a_time_limit_holds_whatever_the_server_does(hand):
    backend, sphinx = hand
    backend.go.clear()
    begun = time.monotonic()
    with pytest.raises(TimedOut) as ended:
        sphinx.look(fresh_picture()).caption(timeout=0.2)
    assert 0.2 <= time.monotonic() - begun < 1.5 and ended.value.partial_text == "one"
    with pytest.raises(TimedOut):
        sphinx.look(fresh_picture()).caption(timeout=1e-6)


def test_leaving_a_stream_ends_the_work(hand):
    backend, sphinx = hand
    backend.go.clear()
    for event in sphinx.look(fresh_picture()).stream("caption"):
        assert event == Piece("one", 0)
        break
    assert until(lambda: backend.gone == 1, 5)


def test_closing_ends_what_is_asked(hand):
    backend, sphinx = hand
    backend.go.clear()
    threading.Timer(0.2, sphinx.close).start()
    with pytest.raises(Cancelled, match="closed"):
        sphinx.look(fresh_picture()).caption()
    with pytest.raises(Cancelled, match="connect again"):
        sphinx.look(fresh_picture()).caption()


def test_a_busy_server_is_asked_again_within_the_time_limit(hand):
    backend, sphinx = hand
    backend.refuse = [busy(0.05), busy(0.05)]
    assert sphinx.look(fresh_picture()).caption(timeout=5.0).text == "one two"
    backend.refuse = [busy(3)]
    begun = time.monotonic()
    with pytest.raises(SphinxError, match="is busy") as ended:
        sphinx.look(fresh_picture()).caption(timeout=1.0)
    assert ended.value.status is Status.BUSY and time.monotonic() - begun < 0.5
    backend.refuse = [busy(0.01)] * 20
    with pytest.raises(SphinxError) as ended:
        sphinx.look(fresh_picture()).caption()
    assert ended.value.status is Status.BUSY and len(backend.refuse) == 16


def test_what_ends_one_of_several_stands_in_its_place(hand):
    backend, sphinx = hand
    backend.go.clear()
    results = sphinx.look(fresh_picture()).answer(
        ["caption", "pose"], return_errors=True, timeout=0.1
    )
    assert [type(one) for one in results] == [TimedOut] * 2
    assert [one.partial_text for one in results] == ["one", "one"]


# Loss and return


def test_nobody_is_there():
    port = free_port()
    with pytest.raises(Unreachable, match="connection refused; is `sphinx-ros serve`") as ended:
        Sphinx.connect(f"http://127.0.0.1:{port}")
    assert ended.value.status is Status.NOT_ACTIVE and str(port) in str(ended.value)
    with pytest.raises(Unreachable, match="no machine of that name"):
        Sphinx.connect("http://gpu-box.invalid:8000")


@pytest.mark.parametrize(
    "words", ["", "gpu-box:8000", "ftp://x", "http://", "http://a b", "http://x:port", [], 3]
)
def test_what_is_no_address(words):
    with pytest.raises(BadRequest, match="http://gpu-box:8000"):
        Sphinx.connect(words)


def test_a_server_that_is_lost_and_comes_back(taught):
    rgb = picture(64, 48, 20)
    with served(lent(taught)) as address:
        sphinx = Sphinx.connect(address)
        assert sphinx.look(rgb).ground("the red mug")
    with pytest.raises(Unreachable, match="can't be reached"):
        sphinx.look(rgb).ground("the red mug")
    assert "can't be reached" in sphinx.trouble
    port = int(address.rpartition(":")[2])
    with served(lent(taught), port=port):
        assert until(lambda: not sphinx.trouble, 10), "it looks by itself"
        assert sphinx.look(rgb).ground("the red mug"), "the picture is sent anew"
    sphinx.close()


def test_a_server_that_dies_in_the_middle_of_an_answer():
    """What was written is not lost; nothing is asked twice that somebody has heard."""

    chunk = b'data: {"type":"piece","number":0,"text":"half"}\n\n'

    def die(connection):
        if b"/v1/info" in connection.recv(1 << 20):
            body = b'{"model": "dying"}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        connection.close()

    with listening(die) as address:
        sphinx = Sphinx.connect(address)
        with pytest.raises(Unreachable, match="was lost while it answered") as ended:
            sphinx.look(fresh_picture()).caption(on_text=lambda _: None)
        assert ended.value.partial_text == "half"
        sphinx.close()


def test_a_server_that_says_nothing():
    with listening(lambda connection: time.sleep(5)) as address:
        begun = time.monotonic()
        with pytest.raises(SphinxError) as ended:
            Sphinx.connect(address, silence=0.2)
        assert ended.value.status is Status.TIMEOUT and time.monotonic() - begun < 3


def test_what_is_no_server_of_ours():
    def other(connection):
        connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with listening(other) as address, pytest.raises(BadRequest, match='"hello".*address right'):
        Sphinx.connect(address)


def test_a_token(taught):
    with served(lent(taught), Settings(token="secret")) as address:
        with pytest.raises(BadRequest, match="refuses the token.*SPHINX_ROS_TOKEN"):
            Sphinx.connect(address)
        sphinx = Sphinx.connect(address, token="secret")
        assert sphinx.look(picture(64, 48, 21)).ground("the red mug")
        sphinx.close()


def test_the_token_of_the_environment(taught, monkeypatch):
    monkeypatch.setenv("SPHINX_ROS_TOKEN", "secret")
    with served(lent(taught), Settings(token="secret")) as address:
        Sphinx.connect(address).close()


def test_a_model_that_is_loading():
    backend = Hand()
    backend.state = "loading"
    with served(backend) as address, pytest.raises(Unreachable, match="is loading: not yet"):
        Sphinx.connect(address)


def test_the_second_server_answers_while_the_first_is_away():
    first, second = Hand(), Hand()
    with served(second) as other:
        with served(first) as preferred:
            sphinx = Sphinx.connect([preferred, other])
            sphinx.look(fresh_picture()).caption()
            assert (len(first.works), len(second.works)) == (1, 0)
        sphinx.look(fresh_picture()).caption()
        assert (len(first.works), len(second.works)) == (1, 1) and sphinx.trouble == ""
        assert "can't be reached" in sphinx.connection[f"server {preferred}"]
        with served(first, port=int(preferred.rpartition(":")[2])):
            gone_back = f"server {preferred}"
            until(lambda: sphinx.connection[gone_back] == "reachable", 10)
            sphinx.look(fresh_picture()).caption()
            assert (len(first.works), len(second.works)) == (2, 1)
    sphinx.close()


def test_a_model_here_answers_while_no_server_does(taught, monkeypatch):
    loads = []
    monkeypatch.setattr(Sphinx, "from_pretrained", lambda name: loads.append(name) or taught)
    monkeypatch.setattr(taught, "close", lambda: None)
    rgb = picture(64, 48, 22)
    with served(lent(taught, name="there")) as address:
        sphinx = Sphinx.connect(address, fallback="spare")
        seen = sphinx.look(rgb)
        assert seen.ground("the red mug") and not loads
    with seen.chat() as chat:
        assert seen.ground("the red mug") and loads == ["spare"] and sphinx.trouble == ""
        assert chat.ask("how many mugs are there?").text == "2"
    assert [type(e) for e in seen.stream("ask: how many mugs are there?")][-1] is Finished
    with served(lent(taught), port=int(address.rpartition(":")[2])):
        until(lambda: sphinx.connection[f"server {address}"] == "reachable", 10)
        uploads = f"server {address} uploads"
        before = sphinx.connection[uploads]
        assert seen.ground("the red mug") and sphinx.connection[uploads] != before
    sphinx.close()


def test_a_fallback_where_no_server_was_ever_there(taught, monkeypatch):
    monkeypatch.setattr(Sphinx, "from_pretrained", lambda name: taught)
    monkeypatch.setattr(taught, "close", lambda: None)
    sphinx = Sphinx.connect(f"http://127.0.0.1:{free_port()}", fallback="spare")
    assert sphinx.look(picture(64, 48, 23)).ground("the red mug") and sphinx.name == taught.name
    sphinx.close()


def test_a_heartbeat_notices_a_loss_while_nothing_is_asked():
    with served(Hand()) as address:
        sphinx = Sphinx.connect(address, heartbeat=0.05)
        until(lambda: "round trip p50 / p95" in str(sphinx.connection), 5)
    until(lambda: sphinx.trouble, 5)
    sphinx.close()


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
