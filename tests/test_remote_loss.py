"""The model elsewhere: what ends an answer early, and servers that are lost, silent or refuse."""

import contextlib
import os
import resource
import socket
import threading
import time

import pytest
from patience import PATIENCE
from process_support import until
from remote_support import Hand, busy, free_port, fresh_picture, listening, process_in_hand
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
from sphinx_ros.events import Finished, Piece
from sphinx_ros.serve.app import Settings

# Ends


def test_cancelling_ends_the_work_on_the_server_and_keeps_the_text(hand):
    backend, sphinx = hand
    backend.go.clear()
    over = threading.Event()
    with pytest.raises(Cancelled) as ended:
        sphinx.look(fresh_picture()).caption(cancel=over.is_set, on_text=lambda _: over.set())
    assert ended.value.partial_text == "one"
    until(lambda: backend.gone == 1)


def test_a_time_limit_holds_whatever_the_server_does(hand):
    backend, sphinx = hand
    backend.go.clear()
    begun = time.monotonic()
    with pytest.raises(TimedOut) as ended:
        sphinx.look(fresh_picture()).caption(timeout=1.0)
    assert time.monotonic() - begun >= 1.0 and ended.value.partial_text == "one"
    with pytest.raises(TimedOut):
        sphinx.look(fresh_picture()).caption(timeout=1e-6)


def test_leaving_a_stream_ends_the_work(hand):
    backend, sphinx = hand
    backend.go.clear()
    for event in sphinx.look(fresh_picture()).stream("caption"):
        assert event == Piece("one", 0)
        break
    until(lambda: backend.gone == 1)


def test_a_listener_s_error_ends_the_work_that_nobody_else_wants(hand):
    backend, sphinx = hand
    backend.go.clear()
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        sphinx.look(fresh_picture()).caption(on_text=lambda _: 1 / 0, timeout=30)
    assert time.monotonic() - begun < 15 and until(lambda: backend.gone == 1, 5)


def test_closing_ends_what_is_asked(hand):
    backend, sphinx = hand
    backend.go.clear()
    closing = threading.Thread(target=sphinx.close)
    with pytest.raises(Cancelled, match="closed"):
        sphinx.look(fresh_picture()).caption(on_text=lambda _: closing.start())
    closing.join()
    with pytest.raises(Cancelled, match="connect again"):
        sphinx.look(fresh_picture()).caption()


def test_a_busy_server_is_asked_again_within_the_time_limit(hand):
    backend, sphinx = hand
    backend.refuse = [busy(0.05), busy(0.05)]
    assert sphinx.look(fresh_picture()).caption(timeout=PATIENCE).text == "one two"
    backend.refuse = [busy(2 * PATIENCE)]
    begun = time.monotonic()
    with pytest.raises(SphinxError, match="is busy") as ended:
        sphinx.look(fresh_picture()).caption(timeout=PATIENCE)
    assert ended.value.status is Status.BUSY and time.monotonic() - begun < PATIENCE / 2
    backend.refuse = [busy(0.01)] * 20
    assert sphinx.look(fresh_picture()).caption(timeout=PATIENCE).text == "one two"


def test_what_ends_one_of_several_stands_in_its_place(hand):
    backend, sphinx = hand
    backend.go.clear()
    results = sphinx.look(fresh_picture()).answer(
        ["caption", "pose"], return_errors=True, timeout=1.0
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


@pytest.mark.parametrize(
    "words",
    [
        *["http://me:hunter2@gpu-box", "me:hunter2@gpu-box", "ftp://me:hunter2@gpu-box"],
        *["http://me:hunter2@gpu-box:port", "http://me:hunter2@gpu box", "http://me:hunter2#@gpu"],
        *["http://gpu-box?token=hunter2", "http://gpu-box#hunter2", "http://a,b:hunter2/x@gpu"],
    ],
)
def test_a_password_in_an_address_is_not_repeated(words):
    """Messages go into logs, diagnostics and what an agent is told."""
    with pytest.raises(BadRequest, match="gpu") as refused:
        Sphinx.connect(words)
    assert "hunter" not in str(refused.value)


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
        until(lambda: not sphinx.trouble)  # it looks by itself
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
        connection.shutdown(socket.SHUT_WR)  # close() may take back what was sent

    with listening(die) as address:
        sphinx = Sphinx.connect(address)
        with pytest.raises(Unreachable, match="was lost while it answered") as ended:
            sphinx.look(fresh_picture()).caption(on_text=lambda _: None)
        assert ended.value.partial_text == "half"
        sphinx.close()


def test_a_server_that_says_nothing():
    with listening(lambda connection: None) as address:
        with pytest.raises(Unreachable, match=r"has said nothing for 0\.2 s"):
            Sphinx.connect(address, silence=0.2)


def test_a_picture_larger_than_the_server_takes():
    with served(Hand(), Settings(max_body=5000)) as address:
        sphinx = Sphinx.connect(address, quality="png")
        for side in (64, 700):
            with pytest.raises(BadImage, match="the limit is 5000"):
                sphinx.look(fresh_picture(side, side)).caption()
        assert sphinx.trouble == ""
        sphinx.close()


def test_what_is_no_server_of_ours():
    def other(connection):
        connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with listening(other) as address, pytest.raises(BadRequest, match='"hello".*address right'):
        Sphinx.connect(address)


@pytest.mark.parametrize("head", [b"", b"Content-Length: 99999999999\r\n"])
def test_an_endless_answer(head):
    """It is refused when it is larger than any of ours, before it fills the memory."""

    def endless(connection):
        connection.recv(1 << 20)
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
            while True:
                connection.sendall(b"endless " * 100_000)

    with listening(endless) as address, pytest.raises(BadRequest, match="endless.*address right"):
        Sphinx.connect(address)


def test_a_cut_answer():
    def cut(connection):
        connection.recv(1 << 20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}")
        connection.shutdown(socket.SHUT_RDWR)

    with listening(cut) as address, pytest.raises(Unreachable, match="was lost while it answered"):
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
            until(lambda: sphinx.connection[gone_back] == "reachable")
            sphinx.look(fresh_picture()).caption()
            assert (len(first.works), len(second.works)) == (2, 1)
    sphinx.close()


def test_a_server_that_is_killed_under_load_loses_no_question():
    """Eight threads ask it; from its kill -9 on the second one answers all of them."""
    second, answers, over = Hand(), [], threading.Event()
    with process_in_hand() as (first, address), served(second) as other:
        sphinx = Sphinx.connect([address, other])

        def ask():
            while not over.is_set():
                begun = time.monotonic()
                text = sphinx.look(fresh_picture()).caption(timeout=PATIENCE).text
                answers.append((text, time.monotonic() - begun))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 50)
        first.kill()
        until(lambda: len(second.works) > 50)
        over.set()
        for thread in threads:
            thread.join()
        sphinx.close()
    assert {text for text, _ in answers} == {"one two"}
    assert max(took for _, took in answers) < PATIENCE / 4, "traffic did not move at once"


def test_a_preferred_server_that_comes_later_is_asked():
    first, second = Hand(), Hand()
    port = free_port()
    with served(second) as other:
        sphinx = Sphinx.connect([f"http://127.0.0.1:{port}", other])
        with served(first, port=port) as preferred:
            until(lambda: sphinx.connection[f"server {preferred}"] == "reachable")
            sphinx.look(fresh_picture()).caption()
            assert (len(first.works), len(second.works)) == (1, 0)
        sphinx.close()


def test_a_preferred_server_whose_model_was_loading_is_asked():
    first, second = Hand(), Hand()
    first.state = "loading"
    with served(first) as preferred, served(second) as other:
        sphinx = Sphinx.connect([preferred, other])
        first.state = "ready"
        assert until(lambda: sphinx.connection[f"server {preferred}"] == "reachable")
        sphinx.look(fresh_picture()).caption()
        assert (len(first.works), len(second.works)) == (1, 0)
        sphinx.close()


def test_a_process_with_many_files():
    """A kept connection is used again, whatever its number."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served(Hand()) as address, contextlib.ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, min(2000, most)), most))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (least, most))
        for _ in range(1100):
            held.enter_context(open(os.devnull))
        sphinx = Sphinx.connect(address)
        for _ in range(2):
            assert sphinx.look(fresh_picture()).caption().text == "one two"
        sphinx.close()


def test_nobody_looks_for_a_server_that_nobody_asks_any_more():
    with served(Hand()) as address:
        held = [Sphinx.connect(address, heartbeat=0.02)]
    until(lambda: held[0].trouble)

    def looking():
        return [one for one in threading.enumerate() if one.name == "sphinx_ros servers"]

    before = len(looking())
    held.clear()
    until(lambda: len(looking()) < before)


def test_a_server_of_another_version():
    """What it tells beside what is known here is passed over; what can't be read has a name."""
    backend = Hand()
    with served(backend) as address:
        sphinx = Sphinx.connect(address)
        for change, error in (
            (lambda answer: answer["cost"].clear() or answer.update(new=1), None),
            (lambda answer: answer.update(status="FINE"), "same version of sphinx_ros"),
            (lambda answer: answer.pop("unread"), "same version of sphinx_ros"),
        ):
            backend.change = change
            if error is None:
                assert sphinx.look(fresh_picture()).caption().text == "one two"
                continue
            with pytest.raises(SphinxError, match=error) as ended:
                sphinx.look(fresh_picture()).caption()
            assert ended.value.status is Status.INTERNAL and address in str(ended.value)
        sphinx.close()


@pytest.mark.parametrize("told", [b'{"answers": null}', b'{"answers": [3]}'])
def test_an_answer_that_lacks_what_ours_has(told):
    def other(connection):
        while asked := connection.recv(1 << 20):
            body = b'{"model": "other"}' if b"/v1/info" in asked else told
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)

    with listening(other) as address:
        sphinx = Sphinx.connect(address)
        with pytest.raises(SphinxError, match="same version of sphinx_ros"):
            sphinx.look(fresh_picture()).caption()
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
        until(lambda: sphinx.connection[f"server {address}"] == "reachable")
        uploads = f"server {address} uploads"
        before = sphinx.connection[uploads]
        assert seen.ground("the red mug") and sphinx.connection[uploads] != before
    sphinx.close()


def test_a_fallback_that_can_t_be_loaded():
    with served(Hand()) as address:
        sphinx = Sphinx.connect(address, fallback="/nowhere/at/all")
        assert sphinx.look(fresh_picture()).caption() and sphinx.trouble == ""
    with pytest.raises(Unreachable, match="refused.*the fallback can't be loaded: .*nowhere"):
        sphinx.look(fresh_picture()).caption()
    with pytest.raises(Unreachable, match="connection refused"):
        sphinx.look(fresh_picture()).caption()
    assert "fallback can't be loaded" in sphinx.trouble
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
        until(lambda: "round trip p50 / p95" in str(sphinx.connection))
    until(lambda: sphinx.trouble)
    sphinx.close()
