"""The model elsewhere: servers that end, are slow or busy, and a fallback that loads long."""

import contextlib
import itertools
import math
import threading

import pytest
from patience import PATIENCE
from process_support import until
from remote_support import Hand, Held, busy, fresh_picture, in_hand
from serve_support import lent, served

from sphinx_ros import Sphinx
from sphinx_ros.errors import Cancelled, SphinxError, Status, TimedOut, Unreachable


@contextlib.contextmanager
def asked(ask):
    """What a thread asks while the block runs: the block is given a list for the result."""
    came = []

    def run():
        try:
            came.append(ask())
        except SphinxError as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield came
    thread.join(PATIENCE)


# Shut down


@pytest.mark.parametrize("options", [{}, {"timeout": PATIENCE}], ids=["whole", "as a stream"])
def test_a_server_that_is_shut_down_hands_its_questions_on(options):
    """Nobody has cancelled them: the next server is asked."""
    first, second = Held(), Held()
    second.go.set()
    desk = lent(first)
    with served(desk) as preferred, served(lent(second)) as other:
        sphinx = Sphinx.connect([preferred, other])
        seen = sphinx.look(fresh_picture())
        with asked(lambda: seen.answer(["caption", "ask: what is it?"], **options)) as came:
            until(first.asked.is_set)
            desk.cancel()  # as the server's end does
        assert [one.text for one in came[0]] == ["yes", "yes"]
        assert (first.looks, second.looks) == (1, 1)
        sphinx.close()


def test_a_server_that_is_shut_down_is_not_active():
    model = Held()
    desk = lent(model)
    with served(desk) as address:
        sphinx = Sphinx.connect(address)
        with asked(lambda: sphinx.look(fresh_picture()).caption()) as came:
            until(model.asked.is_set)
            desk.cancel()
    assert isinstance(came[0], Unreachable) and came[0].status is Status.NOT_ACTIVE
    assert "the server is ending" in str(came[0]) and came[0].partial_text == "ye"
    sphinx.close()


def test_what_a_server_had_answered_is_not_asked_again():
    first, second = Hand(), Hand()
    first.change = lambda told: (
        told["task"] == "ask" and told.update(status="NOT_ACTIVE", message="it ends")
    )
    second.change = lambda told: told.update(text="second", raw_text="second")
    with served(first) as preferred, served(second) as other:
        sphinx = Sphinx.connect([preferred, other])
        results = sphinx.look(fresh_picture()).answer(["caption", "ask: what is it?"])
        assert [one.text for one in results] == ["one two", "second"]
        sphinx.close()


# Slow


def test_silence_counts_where_there_is_no_time_limit():
    backend = Hand()
    with served(backend) as address:
        sphinx = Sphinx.connect(address, silence=1.0)
        sphinx.look(fresh_picture()).caption()
        backend.go.clear()
        later = threading.Timer(1.5, backend.go.set)
        later.start()
        assert sphinx.look(fresh_picture()).caption(timeout=PATIENCE).text == "one two"
        later.join()
        backend.go.clear()
        with pytest.raises(TimedOut, match="has sent nothing for 1 s"):
            sphinx.look(fresh_picture()).caption()
        backend.go.set()
        sphinx.close()


# Busy


def test_a_busy_server_is_waited_for_as_long_as_is_said():
    backend = Hand()
    with served(backend) as address:
        sphinx = Sphinx.connect(address, busy=0.2)
        backend.refuse = [busy(0.5)]
        assert sphinx.look(fresh_picture()).caption().text == "one two", "once as it says"
        backend.refuse = [busy(0.05)] * 20
        with pytest.raises(SphinxError) as ended:
            sphinx.look(fresh_picture()).caption()
        assert ended.value.status is Status.BUSY and 14 <= len(backend.refuse) <= 17
        sphinx.close()
        patient = Sphinx.connect(address, busy=math.inf)
        assert patient.look(fresh_picture()).caption().text == "one two" and not backend.refuse
        patient.close()


def test_closing_ends_the_waiting_for_a_busy_server():
    with in_hand() as (backend, sphinx):
        backend.refuse = [busy(PATIENCE)]
        with asked(lambda: sphinx.look(fresh_picture()).caption()) as came:
            until(lambda: not backend.refuse)
            sphinx.close()
            until(lambda: came)
    assert isinstance(came[0], Cancelled)


# A fallback


@pytest.fixture
def spare(monkeypatch):
    """A fallback that is loaded when its ``arrives`` is set; ``loading``: it was begun."""
    model = Held()
    model.go.set()
    model.arrives, model.loading = threading.Event(), threading.Event()

    def load(name):
        model.loading.set()
        model.arrives.wait(PATIENCE)
        return model

    monkeypatch.setattr(Sphinx, "from_pretrained", load)
    with served(Hand()) as address:
        sphinx = Sphinx.connect(address, fallback="spare")
    yield model, sphinx
    model.arrives.set()
    sphinx.close()


def test_who_waits_for_a_fallback_may_give_up(spare):
    model, sphinx = spare
    seen = sphinx.look(fresh_picture())
    with pytest.raises(TimedOut, match=r"within 0\.3 s"):
        seen.caption(timeout=0.3)
    calls = itertools.count()
    with pytest.raises(Cancelled):
        seen.caption(cancel=lambda: next(calls) > 20)
    assert model.loading.is_set() and "not loaded" in str(sphinx.connection)
    model.arrives.set()
    assert seen.caption(timeout=PATIENCE).text == "yes" and model.looks == 1
    sphinx.close()
    assert model.closed.is_set()


def test_closing_does_not_wait_for_a_fallback(spare):
    model, sphinx = spare
    with asked(lambda: sphinx.look(fresh_picture()).caption()) as came:
        until(model.loading.is_set)
        sphinx.close()
        until(lambda: came)
    assert isinstance(came[0], Cancelled) and not model.closed.is_set()
    model.arrives.set()
    until(model.closed.is_set)
