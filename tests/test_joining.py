"""Requests and standing queries of the worker with a real small network: one batch, in effect.

What the worker promises whatever the model is, tests/test_worker.py has.
"""

import os
import signal
import threading
import time

import pytest
from patience import PATIENCE
from process_support import followers_of, until
from small_network import picture, random_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.worker import AT_ONCE, State, Worker
from sphinx_ros.tasks import Task

LONG = ("ask: all?", "caption", "ask: what is left of the can?", "ask: how many mugs are there?")
"""What the random network answers at length, most of them with as many tokens as it may."""

SHORT = Query(Task.ASK, "how many?", max_new_tokens=2)


@pytest.fixture(scope="module")
def random_one():
    return Sphinx.from_pretrained(random_checkpoint(), device="cpu")


def fresh(sphinx):
    """The same network with an engine that knows no picture and no habit."""
    return Sphinx(sphinx.model, sphinx.tokenizer)


@pytest.fixture
def sphinx(random_one):
    """A model of one test, whose network may be given another ``step``."""
    yield fresh(random_one)
    vars(random_one.model).pop("step", None)


@pytest.fixture(scope="module")
def alone(random_one):
    """What a line or a query is answered on a picture when nobody else asks."""
    seen = {}

    def ask(asked, seed=0, **options):
        if seed not in seen:
            seen[seed] = fresh(random_one).look(picture(64, 48, seed))
        (result,) = seen[seed].answer([asked], **options)
        return result.raw_text

    return ask


def frame(seed=0, **options):
    return Frame(lambda: picture(64, 48, seed), time.time(), time.time(), **options)


class Passes(list):
    """The outcomes of each pass of the standing queries, as the worker publishes them."""

    def __call__(self, look, outcomes, standing):
        if standing:
            self.append(list(outcomes))


@pytest.fixture
def make():
    made = []

    def build(model, **settings):
        passes = Passes()
        factory = model if callable(model) else lambda: model
        unhurried = {"max_image_age": 0.0, "default_timeout": 3600.0}
        worker = Worker(factory, on_pass=passes, config=Config(**unhurried | settings))
        made.append(worker)
        worker.start()
        until(lambda: worker.state is not State.LOADING)
        return worker, passes

    yield build
    for worker in made:
        worker.stop()


def stepping(sphinx, before):
    """Call ``before()`` ahead of each pass of the network; the list grows with each of them."""
    steps, real = [], sphinx.model.step

    def step(*arguments):
        steps.append(1)
        before()
        return real(*arguments)

    sphinx.model.step = step
    return steps


class Slow:
    """Keeps the network slow, so many seconds a pass, until it is ``let_go``."""

    def __init__(self, sphinx, seconds=0.02):
        self.free = threading.Event()
        self.steps = stepping(sphinx, lambda: self.free.wait(seconds))

    def let_go(self):
        self.free.set()


# standing queries


def test_standing_queries_are_one_batch_with_the_answers_of_each_alone(sphinx, alone, make):
    steps = stepping(sphinx, lambda: None)
    worker, passes = make(sphinx, queries=LONG, max_new_tokens=20)
    worker.inbox.offer(frame())
    until(lambda: passes)
    (outcomes,), taken = passes, len(steps)
    assert [one.query.line() for one in outcomes] == list(LONG)
    assert [one.raw_text for one in outcomes] == [alone(line, max_new_tokens=20) for line in LONG]
    each = [one.times.passes for one in outcomes]
    assert taken <= max(each) + 1 < sum(each) / 2, f"{taken} passes for {each}"
    assert all(0 < one.times.query_ms < 60_000 for one in outcomes)
    assert worker.counts["OK"] == len(worker.counts.recent) == len(LONG)


def test_an_error_of_one_standing_query_leaves_the_others(sphinx, alone, make):
    outside, endless = "describe: 500,0,600,9", "ask: " + "why? " * 700
    lines = (LONG[0], outside, LONG[1], endless, "ground: " + "a red mug " * 4)
    worker, passes = make(sphinx, queries=lines, max_new_tokens=12)
    worker.inbox.offer(frame())
    until(lambda: passes)
    good, bad, other, long, _ = passes[0]
    assert [good.raw_text, other.raw_text] == [alone(LONG[n], max_new_tokens=12) for n in range(2)]
    assert bad.status is Status.BAD_REQUEST and "64x48" in bad.text
    assert long.status is Status.BAD_REQUEST and "tokens" in long.text


def test_a_query_s_own_length_goes_before_the_parameter(sphinx, make):
    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=7)
    worker.inbox.offer(frame())
    until(lambda: passes)
    assert [one.times.tokens for one in passes[0]] == [7, 7]
    outcome = worker.result(worker.submit(SHORT))
    assert outcome.times.tokens == 2


def test_the_answers_about_a_picture_are_guesses_for_the_next_of_the_camera(sphinx, alone, make):
    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=20)
    for number in range(3):
        worker.inbox.offer(frame(1))
        until(lambda: len(passes) > number)  # noqa: B023
    for line, (first, *later) in zip(LONG, zip(*passes, strict=True), strict=False):
        assert first.times.accepted == 0 and first.times.passes > 10
        assert all(one.times.passes <= 2 and one.times.accepted > 10 for one in later)
        assert {one.raw_text for one in (first, *later)} == {alone(line, 1, max_new_tokens=20)}
    own = worker.result(worker.submit(read_query(LONG[1]), frame(1, own=True)))
    assert own.times.accepted == 0, "a request's own picture is of no camera"
    assert own.raw_text == passes[0][1].raw_text


# requests


def test_a_request_joins_standing_queries_in_flight_and_leaves_before_them(sphinx, alone, make):
    slow = Slow(sphinx)
    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=200)
    worker.inbox.offer(frame(1))
    until(lambda: len(slow.steps) > 3)
    for own in (None, frame(2, own=True), frame(1)):
        outcome = worker.result(worker.submit(SHORT, own))
        assert outcome.status is Status.OK
        assert outcome.raw_text == alone(SHORT, 1 if own is None or not own.own else 2)
    assert not passes, "they waited for the end of the standing queries"
    slow.let_go()
    until(lambda: passes)
    assert [one.raw_text for one in passes[0]] == [
        alone(line, 1, max_new_tokens=200) for line in LONG[:2]
    ]


def test_requests_at_the_same_time_are_one_batch(sphinx, alone, make):
    slow = Slow(sphinx)
    worker, _ = make(sphinx, max_new_tokens=30)
    worker.inbox.offer(frame())
    jobs = [worker.submit(read_query(line)) for line in LONG[:AT_ONCE]]
    until(lambda: len(slow.steps) > 3)
    slow.let_go()
    outcomes, taken = [worker.result(job) for job in jobs], len(slow.steps)
    assert [one.raw_text for one in outcomes] == [
        alone(line, max_new_tokens=30) for line in LONG[:AT_ONCE]
    ]
    each = [one.times.passes for one in outcomes]
    assert taken < sum(each) / 2, f"{taken} passes for {each}"


def test_cancel_and_limit_end_one_and_leave_the_others(sphinx, alone, make):
    slow, heard = Slow(sphinx, 0.1), []
    worker, passes = make(sphinx, queries=LONG[:1], max_new_tokens=60)
    worker.inbox.offer(frame())
    until(lambda: len(slow.steps) > 1)
    cancelled = worker.submit(read_query(LONG[1]), on_text=heard.append)
    limited = worker.submit(read_query(LONG[2]), timeout=2.0)
    other = worker.submit(read_query(LONG[3]))
    until(lambda: len(heard) > 3)
    worker.cancel(cancelled)
    stopped = worker.result(cancelled)
    assert stopped.status is Status.CANCELLED and not other.done
    assert stopped.raw_text and alone(LONG[1], max_new_tokens=60).startswith(stopped.raw_text)
    late = worker.result(limited)
    assert late.status is Status.TIMEOUT and not other.done
    assert late.raw_text and alone(LONG[2], max_new_tokens=60).startswith(late.raw_text)
    slow.let_go()
    assert worker.result(other).raw_text == alone(LONG[3], max_new_tokens=60)
    until(lambda: passes)
    assert passes[0][0].raw_text == alone(LONG[0], max_new_tokens=60)
    assert alone(LONG[1], max_new_tokens=60).startswith(heard[-1])


def test_two_hundred_requests_at_once_are_answered_or_refused_by_name(sphinx, alone, make):
    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=10, max_pending=16)
    worker.inbox.offer(frame())
    results = {}

    def client(number):
        line = LONG[number % len(LONG)]
        own = frame(number % 3, own=True) if number % 2 else None
        outcome = worker.result(worker.submit(read_query(line), own))
        results[number] = outcome.status, outcome.raw_text

    threads = [threading.Thread(target=client, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(results) == 200
    answered = {number: text for number, (status, text) in results.items() if status is Status.OK}
    refused = [status for status, _ in results.values() if status is not Status.OK]
    assert len(answered) >= 17 and set(refused) <= {Status.BUSY}
    for number, text in answered.items():
        seed = number % 3 if number % 2 else 0
        assert text == alone(LONG[number % len(LONG)], seed, max_new_tokens=10)
    assert worker.inbox.in_hand == []


# what goes wrong


def test_stop_in_mid_flight_settles_everything(sphinx, make):
    slow = Slow(sphinx)
    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=200)
    worker.inbox.offer(frame())
    until(lambda: len(slow.steps) > 1)
    jobs = [worker.submit(read_query(line)) for line in LONG + LONG]
    until(lambda: sum(job.begun for job in jobs) == AT_ONCE)
    assert worker.stop(PATIENCE), "a thread is still there"
    assert [job.outcome.status for job in jobs] == [Status.CANCELLED] * len(jobs)
    assert not passes and worker.inbox.in_hand == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_in_a_pass_takes_its_own_request_alone_with_it(sphinx, alone, make):
    """Whichever thread makes the passes; the others go on with theirs."""
    fatal = threading.Event()

    def before():
        time.sleep(0.002)
        if fatal.is_set():
            fatal.clear()
            raise SystemExit("a library that ends programs")

    steps, earlier = stepping(sphinx, before), threading.enumerate()
    worker, _ = make(sphinx, max_new_tokens=60)

    def threads():
        names = {one.name for one in threading.enumerate() if one not in earlier}
        return {name for name in names if name.startswith("sphinx-")}

    whole = threads()
    worker.inbox.offer(frame())
    jobs = [worker.submit(read_query(line)) for line in LONG[:AT_ONCE]]
    until(lambda: all(job.begun for job in jobs) and len(steps) > 5)
    fatal.set()
    outcomes = [worker.result(job) for job in jobs]
    assert [one.status for one in outcomes].count(Status.INTERNAL) == 1
    for line, outcome in zip(LONG, outcomes, strict=False):
        if outcome.status is not Status.INTERNAL:
            assert outcome.raw_text == alone(line, max_new_tokens=60)
    until(lambda: threads() != whole)
    worker.watch()
    assert threads() == whole, "it was not replaced"
    jobs = [worker.submit(read_query(line)) for line in LONG[:AT_ONCE]]
    assert {worker.result(job).status for job in jobs} == {Status.OK}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_s_thread_that_ends_is_replaced_and_requests_go_on(sphinx, alone, make):
    fatal = threading.Event()

    def before():
        time.sleep(0.002)
        if fatal.is_set() and threading.current_thread().name == "sphinx-worker":
            fatal.clear()
            raise SystemExit("a library that ends programs")

    stepping(sphinx, before)
    worker, passes = make(sphinx, queries=LONG[:1], max_new_tokens=60)
    fatal.set()
    worker.inbox.offer(frame())
    until(lambda: not fatal.is_set())
    assert worker.result(worker.submit(SHORT)).raw_text == alone(SHORT)
    until(lambda: worker.watch() or worker.inbox.offer(frame(1)) or passes)
    assert passes[0][0].raw_text == alone(LONG[0], 1, max_new_tokens=60)


def test_a_model_that_is_lost_in_mid_flight_is_said_to_all_and_loaded_anew(make):
    """A network of two processes, one of which is killed."""
    made = []

    def load():
        made.append(Sphinx.from_pretrained(random_checkpoint(), devices=["cpu", "cpu"]))
        return made[-1]

    worker, passes = make(load, queries=LONG[:2], max_new_tokens=300)
    worker.inbox.offer(frame())
    jobs = [worker.submit(read_query(line)) for line in LONG[:AT_ONCE]]
    until(lambda: all(job.begun for job in jobs))
    (follower,) = followers_of(os.getpid())
    os.kill(follower, signal.SIGKILL)
    outcomes = [worker.result(job) for job in jobs]
    assert {one.status for one in outcomes} == {Status.NOT_ACTIVE}
    assert all("process 1" in one.text for one in outcomes)
    until(lambda: worker.watch() or (len(made) == 2 and worker.state is State.READY))
    worker.inbox.offer(frame())
    assert worker.result(worker.submit(SHORT)).status is Status.OK


def test_memory_that_runs_out_ends_the_youngest_and_not_the_standing_queries(sphinx, alone, make):
    from sphinx_ros.runtime.memory import memory_error

    worker, passes = make(sphinx, queries=LONG[:2], max_new_tokens=40)
    slow, real, full = Slow(sphinx), sphinx.model.step, threading.Event()

    def small(tokens, positions, spans, wanted):
        if full.is_set() and len(wanted) > 2:
            raise MemoryError("no")
        return real(tokens, positions, spans, wanted)

    sphinx.model.step = small
    worker.inbox.offer(frame())
    until(lambda: len(slow.steps) > 1)
    full.set()
    outcome = worker.result(worker.submit(read_query(LONG[3])))
    assert outcome.status is Status.OUT_OF_MEMORY, outcome
    assert str(memory_error("answering ask", MemoryError("no"))) == outcome.text
    slow.let_go()
    until(lambda: passes)
    assert [one.raw_text for one in passes[0]] == [
        alone(line, max_new_tokens=40) for line in LONG[:2]
    ]


def test_a_failure_of_the_network_is_that_of_each_with_its_own_words(sphinx, alone, make):
    broken = threading.Event()

    def before():
        if broken.is_set():
            raise SphinxError("process 1 of the shared network was killed", status=Status.BUSY)

    steps = stepping(sphinx, before)
    worker, passes = make(sphinx, queries=LONG, max_new_tokens=200)
    worker.inbox.offer(frame())
    until(lambda: len(steps) > 4)
    broken.set()
    until(lambda: passes)
    assert [one.status for one in passes[0]] == [Status.BUSY] * len(LONG)
    broken.clear()
    for line, outcome in zip(LONG, passes[0], strict=True):
        assert outcome.raw_text and alone(line, max_new_tokens=200).startswith(outcome.raw_text)
