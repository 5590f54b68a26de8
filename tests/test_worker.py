"""The worker's promises about order, newest frames, limits and failures, with a hand-made model.

The model here answers on command, so that a test can hold it in the middle of a query; what the
real one does is tests/test_node.py's business.
"""

import gc
import logging
import threading
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE, until

from sphinx_ros.errors import BadImage, BadRequest, Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame, Look
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.quiet import LogHandler, QuietLog, writers
from sphinx_ros.ros.serving import Serving
from sphinx_ros.ros.settling import Settling
from sphinx_ros.ros.state import Lifetime
from sphinx_ros.ros.waiting import Inbox
from sphinx_ros.ros.worker import AT_ONCE, Job, State, Worker
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Detection, Results


class HandModel:
    """Writes two words; `go` holds it in between, `boom` makes the next query fail."""

    def __init__(self):
        self.go, self.boom, self.asked, self.looks = threading.Event(), None, [], 0
        self.writing = threading.Event()
        self.go.set()

    def look(self, rgb):
        self.looks += 1
        return HandSeen(self, rgb)


class HandSeen:
    def __init__(self, model, rgb):
        self.model, self.number = model, int(rgb[0, 0, 0])

    def _write(self, what, cancel, timeout, on_text):
        self.model.asked.append((self.number, what))
        if self.model.boom is not None:
            error, self.model.boom = self.model.boom, None
            raise error
        begun, text = time.monotonic(), ""
        for word in ("one", "two"):
            text += word + " "
            if on_text:
                on_text(text)
            self.model.writing.set()
            while not self.model.go.wait(0.005):
                if cancel():
                    raise Cancelled("cancelled", partial_text=text)
                if time.monotonic() - begun > timeout:
                    raise TimedOut("too slow", partial_text=text)
        return text

    def ask(self, text, *, max_new_tokens, cancel, timeout, on_text=None):
        raw = self._write(text, cancel, timeout, on_text)
        return Answer(str(self.number), raw_text=raw, tokens=2)

    def ground(self, text, *, max_new_tokens, cancel, timeout, on_text=None):
        raw = self._write(text, cancel, timeout, on_text)
        return Results([Detection(text, (0, 0, 1, 1))], raw_text=raw, status=Status.OK)


def frame(number: int, stamp: float | None = None, **options) -> Frame:
    picture = np.full((4, 6, 3), number, np.uint8)
    stamp = time.time() if stamp is None else stamp
    return Frame(lambda: picture, time.time(), stamp, header=f"header {number}", **options)


@pytest.fixture
def make():
    made = []

    def build(model=None, **options):
        options.setdefault("config", Config(max_image_age=0.0, default_timeout=3600.0))
        worker = Worker(lambda: model or HandModel(), **options)
        made.append(worker)
        worker.start()
        assert until(lambda: worker.state is not State.LOADING)
        return worker

    yield build
    for worker in made:
        worker.stop()


ASK = Query(Task.ASK, "how many?")


def test_an_answer_carries_its_picture_and_its_times(make):
    worker = make()
    worker.inbox.offer(frame(7))
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is Status.OK and outcome.result.text == "7"
    assert outcome.header == "header 7" and (outcome.width, outcome.height) == (6, 4)
    times = outcome.times
    assert times.received <= times.started <= times.finished
    assert 0 <= times.queue_ms < 60_000 and times.decode_ms >= 0 and times.look_ms >= 0
    assert 0 <= times.image_age_ms < 60_000 and times.tokens == 2


def test_a_request_s_own_picture_is_looked_at_instead_of_the_newest(make):
    worker = make()
    worker.inbox.offer(frame(7))
    assert worker.result(worker.submit(ASK, frame(9, own=True))).header == "header 9"


def test_one_look_serves_all_questions_on_a_frame(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(7))
    for _ in range(5):
        worker.result(worker.submit(ASK))
    assert model.looks == 1
    worker.inbox.offer(frame(8))
    assert worker.result(worker.submit(ASK)).header == "header 8" and model.looks == 2


def test_nothing_is_decoded_that_is_not_looked_at(make):
    model, decoded = HandModel(), []
    worker = make(model)

    def counted(number):
        plain = frame(number)
        return Frame(lambda: decoded.append(number) or plain.decode(), plain.received, plain.stamp)

    for number in range(30):
        worker.inbox.offer(counted(number))
    worker.result(worker.submit(ASK))
    assert decoded == [29]
    assert worker.counts["received"] == 30 and worker.counts["dropped"] == 29


def test_what_goes_out_says_how_many_pictures_were_dropped(make):
    passes = []
    worker = make(on_pass=lambda look, out, standing: passes.extend(out))
    for number in range(5):
        worker.inbox.offer(frame(number))
    worker.inbox.change(Config(queries=["ask: a"]))
    assert until(lambda: passes)
    assert worker.result(worker.submit(ASK)).times.frames_dropped == 4
    assert passes[0].times.frames_dropped == 4


def test_a_request_does_not_wait_for_standing_queries_and_each_keeps_its_frame(make):
    model, passes = HandModel(), []
    worker = make(model, on_pass=lambda look, out, standing: passes.append((standing, out)))
    worker.inbox.change(Config(queries=["ask: a", "ask: b", "ask: c"]))
    model.go.clear()
    worker.inbox.offer(frame(1))
    assert until(model.writing.is_set)  # "a" is being answered on frame 1
    worker.inbox.offer(frame(2))
    job = worker.submit(Query(Task.ASK, "urgent"))
    assert until(lambda: (2, "urgent") in model.asked), "it waited for the standing queries"
    worker.inbox.change(Config(queries=["ask: d"]))
    model.go.set()
    assert worker.result(job).header == "header 2"
    assert until(lambda: len([p for p in passes if p[0]]) >= 1)
    # The pass ended with the queries and the frame that it began with.
    assert model.asked[:4] == [(1, "a"), (2, "urgent"), (1, "b"), (1, "c")]
    first = next(out for standing, out in passes if standing)
    assert [o.header for o in first] == ["header 1"] * 3


def hold_all(worker, model, picture=None):
    """Requests that every thread works on until the model is let go on."""
    if isinstance(model, HandModel):
        model.go.clear()
    held = [worker.submit(ASK, picture) for _ in range(AT_ONCE)]
    assert until(lambda: len(model.asked) == AT_ONCE)
    return held


def test_a_pass_lets_those_requests_go_first_that_were_there(make):
    model, passes = HandModel(), []
    worker = make(
        model,
        config=Config(max_pending=64),
        on_pass=lambda look, out, standing: passes.extend(out if standing else ()),
    )
    worker.inbox.offer(frame(1))
    held = hold_all(worker, model)
    waiting = [worker.submit(ASK) for _ in range(5)]
    worker.inbox.change(Config(max_pending=64, queries=["ask: standing"]))
    worker.inbox.offer(frame(2))
    time.sleep(0.1)
    assert (2, "standing") not in model.asked, "it went before requests that wait"
    model.go.set()
    assert until(lambda: passes)
    for job in (*held, *waiting):
        assert worker.result(job).status is Status.OK
        assert job.outcome.times.started <= passes[0].times.started


def test_standing_queries_do_not_miss_a_picture_that_a_request_looked_at(make):
    model, passes = HandModel(), []
    worker = make(
        model, on_pass=lambda look, out, standing: passes.extend(out if standing else ())
    )
    worker.inbox.offer(frame(1))
    assert worker.result(worker.submit(ASK)).header == "header 1"
    worker.inbox.change(Config(queries=["ask: a"]))
    time.sleep(0.05)
    assert not passes, "queries begin with the next picture"
    worker.inbox.change(Config(queries=["ask: a"], max_rate=10.0))
    worker.inbox.offer(frame(2))
    assert until(lambda: passes)
    worker.inbox.offer(frame(3))
    assert worker.result(worker.submit(ASK)).header == "header 3", "before the pass is due"
    assert until(lambda: len(passes) == 2) and passes[1].header == "header 3"
    assert model.looks == 3


class OneByOne:
    """Answers a request for each `answered.release()`, and standing queries at once."""

    def __init__(self):
        self.asked, self.answered = [], threading.Semaphore(0)

    def look(self, rgb):
        return self

    def ask(self, text, **options):
        self.asked.append(text)
        if text == "standing" or self.answered.acquire(timeout=PATIENCE):
            return Answer("yes")
        raise TimedOut("nobody let it go on")


def test_a_flood_of_requests_does_not_starve_standing_queries(make):
    """The line is never empty: another request comes before one is answered."""
    model = OneByOne()
    worker = make(model, config=Config(max_pending=64, queries=["ask: standing"]))
    held = hold_all(worker, model, frame(1, own=True))
    waiting = [worker.submit(ASK, frame(1, own=True)) for _ in range(3)]
    worker.inbox.offer(frame(2))
    for _ in range(40):
        if "standing" in model.asked:
            break
        waiting.append(worker.submit(ASK, frame(1, own=True)))
        count = len(model.asked)
        model.answered.release()
        assert until(lambda: len(model.asked) > count)  # noqa: B023
        until(lambda: "standing" in model.asked, 0.2)  # its thread may get no processor at once
    assert "standing" in model.asked, "requests kept it from its turn"
    assert not waiting[-1].done
    for _ in (*held, *waiting):
        model.answered.release()
    assert {worker.result(job).status for job in (*held, *waiting)} == {Status.OK}


def test_standing_queries_run_on_new_frames_only_and_not_above_their_rate(make):
    model, passes = HandModel(), []
    worker = make(
        model,
        config=Config(max_rate=5.0),
        on_pass=lambda look, out, standing: passes.append(time.monotonic()),
    )
    worker.inbox.change(Config(max_rate=5.0, queries=["ask: a"]))
    begun = time.monotonic()

    def several():
        worker.inbox.offer(frame(3))
        return len(passes) >= 5

    assert until(several)
    assert passes[4] - begun > 0.75, "four times 0.2 s, by another clock"
    count = len(passes)
    time.sleep(0.3)
    assert len(passes) <= count + 1, "ran again without a new frame"


@pytest.mark.parametrize(
    "offered, settings, query, status, says",
    [
        (None, {}, ASK, Status.NO_IMAGE, "no camera picture"),
        (dict(stamp=time.time() - 60), {}, ASK, Status.STALE_IMAGE, "by its stamp"),
        ({}, {"active": False}, ASK, Status.NOT_ACTIVE, "active"),
        ({}, {}, Query(Task.ASK, "  "), Status.BAD_REQUEST, "empty"),
        ({}, {}, Query(Task.ASK, "a\0b"), Status.BAD_REQUEST, "NUL"),
        ({}, {}, Query(Task.ASK, "a", max_new_tokens=5000), Status.BAD_REQUEST, "5000"),
        ({}, {}, Query(Task.DESCRIBE), Status.BAD_REQUEST, "box"),
        ({}, {}, Query(Task.DESCRIBE, box=(5, 5, 1, 1)), Status.BAD_REQUEST, "x0 < x1"),
        ({}, {}, Query(Task.DESCRIBE, box=(90, 0, 99, 9)), Status.BAD_REQUEST, "6x4"),
        ({}, {}, Query(Task.POSE, box=(0, 0, float("nan"), 9)), Status.BAD_REQUEST, "finite"),
    ],
)
def test_refusals_have_names(make, offered, settings, query, status, says):
    worker = make(config=Config(**settings))
    if offered is not None:
        worker.inbox.offer(frame(1, **offered))
    outcome = worker.result(worker.submit(query))
    assert outcome.status is status and says in outcome.text


def test_a_camera_that_stopped_is_stale_and_a_limit_of_zero_takes_any(make):
    worker = make(config=Config(max_image_age=0.05))
    worker.inbox.offer(frame(1))
    time.sleep(0.1)
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is Status.STALE_IMAGE and "still running" in outcome.text
    worker.inbox.change(Config(max_image_age=0.0))
    assert worker.result(worker.submit(ASK)).status is Status.OK


@pytest.mark.parametrize("still", [False, True])
def test_a_camera_that_stopped_is_stale_for_standing_queries_too(make, still):
    """Its last picture is one that nobody has looked at, as after a load of minutes."""
    model, told = HandModel(), []
    worker = make(
        model,
        config=Config(max_image_age=0.05, skip_still=still),
        on_pass=lambda look, out, standing: told.append((look.rgb, out[0])),
    )
    old = frame(1)
    worker.inbox.offer(replace(old, received=old.received - 9.0))
    worker.inbox.slots[""].arrived -= 9.0
    worker.inbox.change(replace(worker.inbox.config, queries=("ask: how many?",)))
    assert until(lambda: told)
    ((rgb, outcome),) = told
    assert outcome.status is Status.STALE_IMAGE and "still running" in outcome.text
    assert rgb is None and outcome.header == "header 1" and not model.looks
    assert worker.counts["looked"] == 0 and worker.counts["STALE_IMAGE"] == 1
    worker.inbox.nudge()
    worker.inbox.change(replace(worker.inbox.config, max_image_age=0.0))
    worker.inbox.offer(frame(2))
    assert until(lambda: len(told) == 2), "said once; the next picture is looked at"
    assert told[1][1].status is Status.OK and worker.counts["dropped"] == 1


def test_the_stamps_of_recordings_are_not_judged_by_standing_queries(make):
    told = []
    worker = make(
        config=Config(max_image_age=5.0, queries=("ask: how many?",)),
        on_pass=lambda look, out, standing: told.append(out[0].status),
    )
    worker.inbox.offer(frame(1, stamp=1000.0))
    assert until(lambda: told) and told == [Status.OK]
    assert worker.result(worker.submit(ASK)).status is Status.STALE_IMAGE


@pytest.mark.parametrize("standing", [True, False])
def test_a_node_that_comes_to_rest_while_positions_are_worked_out_publishes_none(make, standing):
    locating, go, told = threading.Event(), threading.Event(), []

    def locate(look, outcomes):
        locating.set()
        go.wait(PATIENCE)
        return outcomes

    queries = ("ask: how many?",) if standing else ()
    config = Config(max_image_age=0.0, default_timeout=3600.0, queries=queries)
    worker = make(config=config, locate=locate, on_pass=lambda *news: told.append(news))
    worker.inbox.offer(frame(1))
    job = None if standing else worker.submit(ASK)
    assert locating.wait(PATIENCE)
    worker.rest()
    go.set()
    assert until(lambda: not worker._serving.under_way())
    assert not told and worker.counts["OK"] == 0
    assert job is None or worker.result(job).status is Status.CANCELLED


@pytest.mark.parametrize("standing", [True, False])
def test_a_rest_waits_for_what_is_being_published(make, standing):
    publishing, go, told = threading.Event(), threading.Event(), []

    def publish(*news):
        publishing.set()
        go.wait(PATIENCE)
        told.append(news)

    queries = ("ask: how many?",) if standing else ()
    config = Config(max_image_age=0.0, default_timeout=3600.0, queries=queries)
    worker = make(config=config, on_pass=publish)
    worker.inbox.offer(frame(1))
    if not standing:
        worker.submit(ASK)
    assert publishing.wait(PATIENCE)
    threading.Timer(0.05, go.set).start()
    worker.rest()
    assert len(told) == 1, "what had begun is out when a rest returns"


def test_what_was_answered_before_a_rest_is_not_published_after_it():
    """The last question before publishing is whether the node rests."""
    told = []
    ending = Settling(Counts(), Lifetime(HandModel), time.time, lambda *news: told.append(news))
    ending.report(Look(frame(1)), [], True, lambda: True)
    assert not told
    ending.report(Look(frame(1)), [], True, lambda: False)
    assert len(told) == 1


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_time_is_a_bad_request(make, timeout):
    worker = make()
    worker.inbox.offer(frame(1))
    assert worker.result(worker.submit(ASK, timeout=timeout)).status is Status.BAD_REQUEST


@pytest.mark.parametrize(
    "error, status",
    [
        (BadImage("odd"), Status.BAD_IMAGE),
        (MemoryError("no"), Status.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate"), Status.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Status.OUT_OF_MEMORY),
        (ZeroDivisionError("oops"), Status.INTERNAL),
        (OSError("bad file a\udcff.pth"), Status.INTERNAL),
        (SphinxError("x", status=Status.PARSE_FAILED, partial_text="[0."), Status.PARSE_FAILED),
    ],
)
def test_errors_of_the_model_become_outcomes_and_the_worker_lives(
    make, error, status, monkeypatch
):
    # A report with a lone surrogate in its log can't be sent by pytest's own processes.
    monkeypatch.setattr(logging.getLogger("sphinx_ros"), "propagate", False)
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    model.boom = error
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is status and outcome.text.encode(), "a message can hold it"
    assert outcome.raw_text == getattr(error, "partial_text", "")
    assert worker.result(worker.submit(ASK)).status is Status.OK


def test_a_defect_after_a_warning_is_internal_in_a_node_s_log_too(make):
    """rclpy's logger raises where errors come from a place that warnings came from."""
    get_logger = pytest.importorskip("rclpy.logging", reason="ROS 2 is not installed").get_logger
    write = writers(get_logger("defects"))
    handler = LogHandler(QuietLog(write.error), QuietLog(write.warning))
    try:
        model = HandModel()
        worker = make(model)
        logging.getLogger("sphinx_ros").warning("mind this")
        for number in range(AT_ONCE + 1):
            model.boom = ZeroDivisionError(f"number {number}")
            outcome = worker.result(worker.submit(ASK, frame(1)))
            assert outcome.status is Status.INTERNAL and f"number {number}" in outcome.text
        assert until(lambda: not worker.inbox.in_hand)
        worker.give_up("it hangs")
        assert until(lambda: worker.watch() or worker.state is State.READY)
        assert worker.result(worker.submit(ASK, frame(1))).status is Status.OK
    finally:
        handler.detach()


def test_a_request_is_let_go_whatever_fails():
    worker = Worker(HandModel)
    worker.inbox.put(Job(ASK, frame(1), 1.0))
    worker._ending.fail = worker._ending.check = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        worker._serving._next_request()
    assert not worker.inbox.in_hand


def test_a_model_may_be_let_go_while_somebody_asks_for_it():
    class Vanishing(Serving):
        """Its asker is there once."""

        left = ()
        asker = property(lambda self: self.left.pop() if self.left else None, lambda *_: None)

    serving = Vanishing(Inbox(Config(), Counts()), None, None, time.time)
    serving.left = [SimpleNamespace(model="a model")]
    assert serving.model == "a model" and serving.model is None


def test_a_bad_picture_is_named_for_every_query_on_it(make):
    passes = []
    worker = make(on_pass=lambda look, out, standing: passes.append(out))
    worker.inbox.change(Config(queries=["ask: a", "ask: b"]))

    def broken():
        raise BadImage("rubbish")

    worker.inbox.offer(Frame(broken, time.time(), time.time()))
    assert until(lambda: passes)
    assert [o.status for o in passes[0]] == [Status.BAD_IMAGE] * 2
    assert worker.result(worker.submit(ASK)).status is Status.BAD_IMAGE


def test_a_time_limit_stops_the_model_and_keeps_its_words(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    model.go.clear()
    begun = time.monotonic()
    outcome = worker.result(worker.submit(ASK, timeout=1.0))
    assert outcome.status is Status.TIMEOUT and outcome.raw_text == "one "
    assert time.monotonic() - begun < PATIENCE, "the default limit is longer"


def test_a_time_limit_holds_for_those_who_wait(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    hold_all(worker, model)
    job = worker.submit(ASK, timeout=0.1)
    assert worker.inbox.waiting == 1
    assert worker.result(job).status is Status.TIMEOUT and worker.inbox.waiting == 0


def test_a_look_that_hangs_does_not_hold_the_caller(make):
    class Slow(HandModel):
        looked = threading.Event()

        def look(self, rgb):
            self.go.wait(PATIENCE)
            self.looked.set()
            return super().look(rgb)

    model = Slow()
    worker = make(model)
    worker.inbox.offer(frame(1))
    model.go.clear()
    assert worker.result(worker.submit(ASK, timeout=0.1)).status is Status.TIMEOUT
    job = worker.submit(ASK)
    worker.cancel(job)
    assert job.done and job.outcome.status is Status.CANCELLED
    assert not model.looked.is_set(), "the answers came while the look went on"
    model.go.set()


def test_a_look_is_made_once_for_all_who_come_while_it_is_made(make):
    class Slow(HandModel):
        def look(self, rgb):
            time.sleep(0.1)
            return super().look(rgb)

    model, decoded, picture = Slow(), [], frame(1)
    worker = make(model, config=Config(queries=["ask: standing"]))
    worker.inbox.offer(Frame(lambda: decoded.append(1) or picture.decode(), time.time()))
    jobs = [worker.submit(ASK) for _ in range(AT_ONCE)]
    assert [worker.result(job).status for job in jobs] == [Status.OK] * AT_ONCE
    assert until(lambda: (1, "standing") in model.asked)
    assert model.looks == len(decoded) == worker.counts["looked"] == 1


def test_cancel_ends_running_and_waiting_jobs(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    running = hold_all(worker, model)[0]
    waiting = worker.submit(ASK)
    worker.cancel(waiting)
    assert waiting.done and waiting.outcome.status is Status.CANCELLED
    worker.cancel(running)
    outcome = worker.result(running)
    assert outcome.status is Status.CANCELLED and outcome.raw_text == "one "


def test_too_many_requests_are_busy_and_all_others_are_answered(make):
    model = HandModel()
    worker = make(model, config=Config(max_pending=3))
    worker.inbox.offer(frame(1))
    model.go.clear()
    first = worker.submit(ASK)
    assert until(model.writing.is_set)
    jobs = [worker.submit(ASK) for _ in range(5)]
    model.go.set()
    statuses = [worker.result(job).status for job in (first, *jobs)]
    assert statuses == [Status.OK] * 4 + [Status.BUSY] * 2


def test_before_the_model_is_there_requests_are_not_active():
    ready = threading.Event()
    worker = Worker(lambda: ready.wait(PATIENCE) and HandModel())
    worker.start()
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is Status.NOT_ACTIVE and "loading" in outcome.text
    ready.set()
    assert until(lambda: worker.state is State.READY)
    assert worker.stop()


def test_a_model_that_does_not_load_is_named(make):
    def broken():
        raise SphinxError("no such checkpoint: /nowhere")

    worker = Worker(broken)
    worker.start()
    assert until(lambda: worker.state is State.FAILED)
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is Status.NOT_ACTIVE and "/nowhere" in outcome.text
    assert worker.stop()


def test_stop_in_the_middle_of_a_query_settles_everything(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    model.go.clear()
    jobs = [worker.submit(ASK) for _ in range(AT_ONCE + 2)]
    assert until(model.writing.is_set)
    assert worker.stop(), "the threads ended within their time"
    assert [job.outcome.status for job in jobs] == [Status.CANCELLED] * (AT_ONCE + 2)
    assert worker.result(worker.submit(ASK)).status is Status.CANCELLED


def test_many_threads_get_their_own_answers(make):
    worker = make(config=Config(max_pending=64))
    results = {}

    def client(number):
        own = frame(number, own=True)
        results[number] = worker.result(worker.submit(ASK, own)).result.text

    threads = [threading.Thread(target=client, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == {n: str(n) for n in range(40)}


def test_a_publisher_that_fails_does_not_end_the_worker(make):
    def broken(look, outcomes, standing):
        raise RuntimeError("the context is gone")

    worker = make(on_pass=broken)
    worker.inbox.offer(frame(1))
    assert worker.result(worker.submit(ASK)).status is Status.OK
    assert worker.result(worker.submit(ASK)).status is Status.OK
    assert "the context is gone" in worker.last_error


def test_pictures_looked_at_are_counted_and_not_questions(make):
    model = HandModel()
    worker = make(model)
    worker.inbox.offer(frame(1))
    for _ in range(5):
        worker.result(worker.submit(ASK))
    assert model.looks == worker.counts["looked"] == worker.counts["received"] == 1
    assert worker.counts["OK"] == 5


@pytest.mark.parametrize("rate", [1e-10, 5e-324, 1e-3])
def test_no_rate_stops_requests_and_a_change_takes_effect_at_once(make, rate):
    passes = []
    worker = make(on_pass=lambda look, out, standing: passes.append(standing))
    worker.inbox.change(Config(max_rate=rate, queries=["ask: a"]))
    worker.inbox.offer(frame(1))
    assert until(lambda: passes == [True])
    worker.inbox.offer(frame(2))
    assert worker.result(worker.submit(ASK)).status is Status.OK
    worker.inbox.offer(frame(3))
    worker.inbox.change(Config(queries=["ask: a"]))
    assert until(lambda: passes.count(True) == 2), "the pass did not come when the limit went"


@pytest.mark.parametrize("timeout", [9.2e9, 9.3e9, 1e300, 86401.0])
def test_time_limits_that_no_clock_takes_are_refused(make, timeout):
    worker = make()
    worker.inbox.offer(frame(1))
    outcome = worker.result(worker.submit(ASK, timeout=timeout))
    assert outcome.status is Status.BAD_REQUEST and "at most 86400" in outcome.text


def test_age_is_by_the_node_s_clock(make):
    """A simulation that pauses, or runs slowly, takes no picture's freshness."""
    now = [100.0]
    worker = make(clock=lambda: now[0], config=Config(max_image_age=2.0))
    picture = frame(1)
    worker.inbox.offer(Frame(picture.decode, received=100.0, stamp=99.9))
    time.sleep(0.05)
    assert worker.result(worker.submit(ASK)).status is Status.OK
    now[0] = 103.0
    assert worker.result(worker.submit(ASK)).status is Status.STALE_IMAGE
    worker.inbox.offer(Frame(picture.decode, received=103.0))  # without a stamp
    now[0] = 900.0  # the time was corrected
    assert worker.result(worker.submit(ASK)).status is Status.OK


def test_no_image_says_where_it_looks():
    worker = Worker(HandModel, about_source=lambda _: " on /cam (0 publishers)")
    worker.start()
    assert until(lambda: worker.state is State.READY)
    assert "yet on /cam (0 publishers)" in worker.result(worker.submit(ASK)).text
    worker.stop()


def test_the_model_s_own_check_refuses_before_a_look(make):
    class Strict(HandModel):
        def check(self, query):
            raise BadRequest("2000 tokens")

    model = Strict()
    worker = make(model)
    worker.inbox.offer(frame(1))
    outcome = worker.result(worker.submit(ASK))
    assert outcome.status is Status.BAD_REQUEST and "2000 tokens" in outcome.text
    assert model.looks == 0


class Fragile(HandModel):
    """Lost when told so, as a network whose processes have ended."""

    def __init__(self):
        super().__init__()
        self.trouble, self.closed = "", False

    def close(self):
        self.closed = True


def test_a_model_that_is_lost_is_said_and_loaded_anew(caplog):
    made, broken = [], []

    def factory():
        if broken:
            raise SphinxError(broken.pop())
        made.append(Fragile())
        return made[-1]

    worker = Worker(factory)
    worker.start()
    assert until(lambda: worker.state is State.READY)
    worker.inbox.offer(frame(1))
    broken.append("no memory")
    made[0].trouble = "process 1 ended"
    worker.watch()
    assert worker.state is State.LOADING and "process 1 ended" in worker.trouble
    refused = worker.result(worker.submit(ASK))
    assert refused.status is Status.NOT_ACTIVE and "loaded anew" in refused.text
    assert until(lambda: worker.watch() or worker.state is State.READY)
    assert made[0].closed and len(made) == 2, "after one try that failed"
    worker.inbox.offer(frame(2))
    assert worker.result(worker.submit(ASK)).status is Status.OK
    assert [r.levelname for r in caplog.records].count("ERROR") == 1
    assert worker.stop() and made[1].closed


def test_a_model_ordered_before_it_was_dropped_is_not_taken_for_the_next():
    begun, go, made = threading.Event(), threading.Event(), []

    def factory():
        made.append(Fragile())
        if len(made) == 1:
            begun.set()
            go.wait(PATIENCE)
        return made[-1]

    worker = Worker(factory)
    worker.start()
    try:
        assert begun.wait(PATIENCE)
        worker.unload()
        loaded = threading.Thread(target=worker.load)
        loaded.start()  # as with other parameters
        assert until(lambda: worker.state is State.LOADING)
        go.set()
        loaded.join(PATIENCE)
        assert worker.state is State.READY and len(made) == 2
        assert made[0].closed and not made[1].closed
    finally:
        go.set()
        worker.stop()


def test_a_model_is_ready_when_it_can_be_asked():
    looked_into, go = threading.Event(), threading.Event()

    class Slow(HandModel):
        @property
        def config(self):
            looked_into.set()
            go.wait(PATIENCE)

    worker = Worker(Slow)
    worker.start()
    try:
        assert looked_into.wait(PATIENCE) and worker.state is State.LOADING
        worker.inbox.offer(frame(1))
        refused = worker.result(worker.submit(ASK))
        assert refused.status is Status.NOT_ACTIVE and "still loading" in refused.text
        go.set()
        assert until(lambda: worker.state is State.READY)
        assert worker.result(worker.submit(ASK)).status is Status.OK
    finally:
        go.set()
        worker.stop()


def test_what_can_t_be_prepared_is_a_load_that_failed(make):
    def missing():
        raise ImportError("no such library")

    def factory():
        missing()

    worker = Worker(factory, prepare=missing)
    worker.open()
    assert not worker.load(5.0) and worker.state is State.FAILED
    assert "no such library" in worker.trouble
    worker.stop()


def test_who_was_told_that_it_is_cancelled_is_shown_no_answer(make):
    model, told, looking = HandModel(), [], threading.Event()

    class Seen(HandSeen):
        def ask(self, text, **options):
            looking.set()
            model.go.wait(PATIENCE)
            return Answer("late", raw_text="late")

    model.look = lambda rgb: Seen(model, rgb)
    model.go.clear()
    worker = make(model, on_pass=lambda *news: told.append(news))
    worker.inbox.offer(frame(1))
    job = worker.submit(ASK)
    assert looking.wait(PATIENCE)
    worker.rest()
    model.go.set()
    assert until(lambda: not worker.inbox.in_hand)
    assert worker.result(job).status is Status.CANCELLED and not told


def test_a_picture_that_comes_when_the_node_rests_is_not_kept(make):
    worker = make()
    worker.offer(frame(1))
    assert worker.inbox.slot_of("").newest is not None
    worker.rest()
    worker.offer(frame(2))
    assert worker.inbox.slot_of("").newest is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_the_worker_leaves_it_working(make):
    class Odd(HandModel):
        def look(self, rgb):
            raise SystemExit("a library that ends programs")

    model = Odd()
    worker = make(model)
    worker.inbox.offer(frame(1))
    job = worker.submit(ASK)
    assert until(lambda: worker.watch() or job.done), "nobody noticed that the thread ended"
    assert job.outcome.status is Status.INTERNAL
    model.look = HandModel().look
    worker.inbox.offer(frame(2))
    assert worker.result(worker.submit(ASK)).status is Status.OK


def test_what_comes_after_the_end_is_cancelled(make):
    worker = make()
    assert worker.stop()
    with pytest.raises(Cancelled):
        worker.inbox.put(Job(ASK, None, 1.0))


@pytest.mark.parametrize("broken", ["decode", "look", "ask"])
def test_a_picture_that_could_not_be_answered_is_let_go_with_the_next(make, broken):
    """Without the collector of cycles: an error's trace holds what its functions hold."""
    model, held, broken = HandModel(), [], [broken]

    def fail(what):
        try:
            raise ValueError("the cause")
        except ValueError as cause:
            raise BadImage(f"{what} is broken") from cause

    def decode():
        picture = np.zeros((4, 6, 3), np.uint8)
        held.append(weakref.ref(picture))
        if broken == ["decode"]:
            fail(picture)
        return picture

    def look(rgb):
        if broken == ["look"]:
            fail(rgb)
        return HandModel.look(model, rgb)

    model.look = look
    worker = make(model)
    gc.disable()
    try:
        for _ in range(3):
            if broken == ["ask"]:
                model.boom = BadRequest("no")
            job = worker.submit(ASK, Frame(decode, time.time(), time.time()))
            assert worker.result(job).status in (Status.BAD_IMAGE, Status.BAD_REQUEST)
        broken.clear()
        model.boom = None
        assert worker.result(worker.submit(ASK, frame(1))).status is Status.OK
        assert until(lambda: all(one() is None for one in held))
    finally:
        gc.enable()


def test_nothing_of_a_request_is_kept_when_it_has_been_answered(make):
    """Without the collector of cycles: each thread waits for its next request for ever."""
    worker, held = make(), []
    gc.disable()
    try:
        for number in range(3 * AT_ONCE):
            own = frame(number, own=True)
            held.append(weakref.ref(own))
            assert worker.result(worker.submit(ASK, own)).status is Status.OK
        del own
        assert until(lambda: all(one() is None for one in held))
    finally:
        gc.enable()


def test_a_model_that_is_not_there_costs_no_time():
    def broken():
        raise SphinxError("no such checkpoint: /nowhere")

    worker = Worker(broken, config=Config(queries=["ask: a"]))
    worker.start()
    assert until(lambda: worker.state is State.FAILED)
    worker.inbox.offer(frame(1))
    begun = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - begun < 0.25, "it turned in circles"
    assert worker.stop()


def short_questions(query):
    """The check of a model that has room for five letters."""
    if len(query.text) > 5:
        raise BadRequest("the text is too long")
    return query.checked()


def test_standing_queries_that_can_t_be_asked_are_said_once(caplog):
    """Those of the start came before the model could tell; later ones can be asked about."""
    model = HandModel()
    model.check = short_questions
    worker = Worker(lambda: model, config=Config(queries=("ask: how many?", "ask: mug", "pose")))
    assert worker.unaskable(worker.inbox.queries) == "", "there is no model to ask yet"
    worker.start()
    assert until(lambda: worker.state is State.READY and caplog.records)
    for number in range(3):
        worker.inbox.offer(frame(number))
        assert until(lambda: worker.counts["looked"] > number)  # noqa: B023
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert '"ask: how many?": the text is too long' in record.getMessage()
    assert "mug" not in record.getMessage()
    assert "too long" in worker.unaskable([ASK]) and worker.unaskable([Query(Task.POSE)]) == ""
    worker.stop()


def scene(noise: int, header: str = "", **options) -> Frame:
    """A picture at rest, with the noise of a camera."""
    rgb = np.full((48, 64, 3), 90, np.uint8)
    rgb[10:30, 20:40] = 180 if options.pop("bright", True) else 60
    rgb += np.random.default_rng(noise).integers(0, 3, rgb.shape).astype(np.uint8)
    return Frame(lambda: rgb, time.time(), time.time(), header=header, **options)


def passes(worker, told, frames):
    """Offer frames, each when the answers to the one before are there."""
    for one in frames:
        count = len(told)
        worker.inbox.offer(one)
        assert until(lambda count=count: len(told) > count)


def still_worker(make, **settings):
    told, model = [], HandModel()
    config = Config(queries=("ask: how many?",), **{"skip_still": True, **settings})
    worker = make(model, config=config, on_pass=lambda look, outcomes, _: told.append(outcomes[0]))
    return worker, model, told


def test_a_picture_that_shows_nothing_new_gets_the_last_answer_with_its_own_header(make):
    worker, model, told = still_worker(make)
    passes(worker, told, [scene(n, f"header {n}") for n in range(6)])
    assert model.looks == 1 and worker.counts["looked"] == 1 and worker.counts["reused"] == 5
    assert [one.header for one in told] == [f"header {n}" for n in range(6)]
    assert [one.reused for one in told] == [False] + [True] * 5
    assert len({one.result.text for one in told}) == 1 and worker.counts["OK"] == 6
    last = told[-1].times
    assert last.started > told[0].times.finished and np.isnan(last.look_ms) and last.decode_ms >= 0
    assert worker.inbox.slots[""].counts["reused"] == 5 and worker.counts["dropped"] == 0


def test_a_picture_that_shows_something_new_is_looked_at(make):
    worker, model, told = still_worker(make)
    passes(worker, told, [scene(1), scene(2), scene(3, bright=False), scene(4, bright=False)])
    assert model.looks == 2 and [one.reused for one in told] == [False, True, False, True]


def test_other_queries_and_parameters_and_failures_need_a_look(make):
    worker, model, told = still_worker(make)
    passes(worker, told, [scene(1), scene(2)])
    other = Config(queries=("ask: how many?", "ask: which?"), skip_still=True)
    worker.inbox.change(other)
    passes(worker, told, [scene(3)])
    assert model.looks == 2 and not told[-1].reused
    model.boom = SphinxError("no memory", status=Status.OUT_OF_MEMORY)
    worker.inbox.change(Config(queries=("ask: how many?",), skip_still=True, max_new_tokens=5))
    passes(worker, told, [scene(4), scene(5), scene(6)])
    assert [one.status for one in told[-3:]] == [Status.OUT_OF_MEMORY, Status.OK, Status.OK]
    assert [one.reused for one in told[-3:]] == [False, False, True] and model.looks == 4


def test_every_picture_is_looked_at_unless_skip_still_says_so(make):
    worker, model, told = still_worker(make, skip_still=False)
    passes(worker, told, [scene(1)] * 1 + [scene(2), scene(3)])
    assert model.looks == 3 and not any(one.reused for one in told)


def test_each_camera_is_compared_with_itself(make):
    worker, model, told = still_worker(make, cameras=("front", "wrist"))
    frames = [scene(n, camera=camera, bright=camera == "front") for n in range(3) for camera in
              ("front", "wrist")]  # fmt: skip
    passes(worker, told, frames)
    assert model.looks == 2 and [one.reused for one in told] == [False] * 2 + [True] * 4
    assert [one.camera for one in told] == ["front", "wrist"] * 3
    assert all(worker.inbox.slots[camera].counts["reused"] == 2 for camera in ("front", "wrist"))


def test_a_still_picture_is_looked_at_after_its_seconds(make):
    worker, model, told = still_worker(make, still_seconds=0.05)
    passes(worker, told, [scene(1), scene(2)])
    time.sleep(0.06)
    passes(worker, told, [scene(3)])
    assert [one.reused for one in told][-1] is False and model.looks >= 2


def test_a_node_that_comes_to_rest_while_it_compares_pictures_looks_at_none(make):
    worker, model, told = still_worker(make)
    passes(worker, told, [scene(1)])
    new, decoded = scene(2, bright=False), []

    def decode():
        decoded.append(worker.rest())
        return new.decode()

    worker.inbox.offer(Frame(decode, new.received, new.stamp))
    assert until(lambda: decoded)
    time.sleep(0.3)  # until the pass that decoded it is over
    worker.work()
    passes(worker, told, [scene(3)])
    assert model.looks == 1 and len(told) == 2, "nobody wanted a look at the second"


def test_a_request_about_a_picture_that_was_not_looked_at_makes_a_look(make):
    worker, model, told = still_worker(make)
    decoded = []
    passes(worker, told, [scene(1)])
    one = scene(2)
    counted = Frame(lambda: decoded.append(1) or one.decode(), one.received, one.stamp)
    passes(worker, told, [counted])
    assert told[-1].reused and model.looks == 1
    assert worker.result(worker.submit(ASK)).status is Status.OK
    assert model.looks == 2 and decoded == [1], "what was decoded to compare it serves the look"
