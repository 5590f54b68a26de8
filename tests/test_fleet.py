"""Several replicas behind one address, on Ray Serve, with the demonstration model."""

import asyncio
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import patience
import pytest
from patience import PATIENCE
from process_support import lives, until

from sphinx_ros.commands.serve_fleet import replicas
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.events import Finished
from sphinx_ros.prompt.checks import MAX_STANDING
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.wire import event_to_json
from sphinx_ros.serve.asked_model import asking
from sphinx_ros.serve.desk import Limits
from sphinx_ros.serve.leftovers import descendants
from sphinx_ros.serve.rendezvous import Homes, ranked
from sphinx_ros.serve.reports import SILENT, Report, Reports
from sphinx_ros.serve.work import Busy, Health, NoModel, Work, picture_id
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer

ROOT = Path(__file__).parent.parent
NAMES = [f"replica {k}" for k in range(5)]
IDLE = dict.fromkeys(NAMES, 0)
PICTURES = [picture_id(bytes([k])) for k in range(200)]
WORDS = "red green blue yellow white black grey pink brown small large striped".split()
KINDS = ("cube", "ball", "can", "cone", "mug", "bottle")
ASKED = [f"detect: {word} {kind}" for word in WORDS for kind in KINDS]
LONG = ASKED[:MAX_STANDING]
"""As many questions as one request may have: a second of a processor."""


# Which replica


def test_a_picture_goes_to_the_same_replica_whatever_the_order_they_are_named_in():
    back = dict(reversed(IDLE.items()))
    assert [ranked(one, IDLE, 8) for one in PICTURES] == [ranked(one, back, 8) for one in PICTURES]


def test_pictures_are_spread_over_all_replicas():
    firsts = [ranked(one, IDLE, 8)[0] for one in PICTURES]
    assert min(firsts.count(name) for name in NAMES) >= 20  # 40 on average


def test_a_replica_that_ends_moves_its_own_pictures_alone():
    left = {name: 0 for name in NAMES[1:]}
    for picture in PICTURES:
        before, after = ranked(picture, IDLE, 8), ranked(picture, left, 8)
        assert after == [name for name in before if name != NAMES[0]]


@pytest.mark.parametrize("others", [0, 4])
def test_a_crowded_replica_is_the_last_that_is_asked(others):
    first = ranked(PICTURES[0], IDLE, 8)[0]
    waiting = dict.fromkeys(NAMES, others) | {first: 9}
    assert ranked(PICTURES[0], waiting, 8)[-1] == first
    assert ranked(PICTURES[0], waiting, 9)[0] == first  # not so many


def test_where_all_are_crowded_a_picture_stays_where_it_is():
    first = ranked(PICTURES[0], IDLE, 8)[0]
    assert ranked(PICTURES[0], dict.fromkeys(NAMES, 30) | {first: 59}, 8)[0] == first


def test_of_two_replicas_one_can_be_crowded():
    first, second = ranked(PICTURES[0], {"a": 0, "b": 0}, 8)
    assert ranked(PICTURES[0], {first: 9, second: 4}, 8) == [second, first]
    assert ranked(PICTURES[0], {first: 9, second: 5}, 8) == [first, second]


def test_one_replica_is_always_asked_and_none_is_none():
    assert ranked(PICTURES[0], {"a": 1000}, 8) == ["a"]
    assert ranked(PICTURES[0], {}, 8) == []


def test_the_pictures_of_a_camera_have_one_home():
    homes = Homes(3)
    assert [homes.of("b", "a"), homes.of("c", "b"), homes.of("x")] == ["a", "a", "x"]
    assert homes.of("c") == "a"  # asked again, by its name alone
    homes.of("y")
    assert homes.of("b") == "b"  # forgotten: it was not asked for longest


# What replicas have done


def report(name, looks, state="ready"):
    return Report(name, Health(state), {"looks": looks, "waiting": 1.0})


def test_what_a_replica_did_stays_done_when_it_ends():
    reports = Reports()
    reports.hear([report("a", 3.0), report("b", 4.0, "failed")])
    assert reports.figures() == {"looks": 7.0, "waiting": 2.0, "replicas": 2}
    reports.hear([report("b", 5.0, "failed")])
    assert reports.figures() == {"looks": 8.0, "waiting": 1.0, "replicas": 1}
    assert reports.ready() is None
    reports.hear([report("a", 4.0), report("b", 5.0)])
    assert reports.figures()["looks"] == 9.0, "it was slow, and is not counted twice"


def test_replicas_that_come_and_go_for_years_take_no_memory():
    reports = Reports()
    for number in range(20 * SILENT):
        reports.hear([report("steady", number), report(f"replica {number}", 1.0)])
    reports.hear([])
    assert reports.figures()["looks"] == 40 * SILENT - 1
    reports.hear([report("steady", 20 * SILENT)])
    assert reports.figures()["looks"] == 40 * SILENT, "one that lives is not among the ended"
    assert len(pickle.dumps(reports)) < 100 * len(pickle.dumps(report("a", 1.0)))


# The command line


@pytest.mark.parametrize(("said", "bounds"), [("1", (1, 1)), ("4", (4, 4)), (" 2..8", (2, 8))])
def test_numbers_of_replicas(said, bounds):
    assert replicas(said) == bounds


@pytest.mark.parametrize("said", ["0", "8..2", "-1", "two", "2..", "2...8", "1000000"])
def test_what_is_no_number_of_replicas(said):
    with pytest.raises(Exception, match=re.escape(said) + r".*no number of replicas.*2\.\.8"):
        replicas(said)


# What is left


ENDLESS = """
import subprocess, sys
from sphinx_ros.serve.desk import Limits
from sphinx_ros.serve.leftovers import watched_descendants
alone = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", alone])
import time; time.sleep(0.5)
with watched_descendants(patience=0.3):
    print("watched", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_that_a_killed_process_started_is_left(how):
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    child = int(process.stdout.readline())
    assert process.stdout.readline() == "watched\n" and child in descendants(process.pid)
    process.send_signal(how)
    process.wait(PATIENCE)
    until(lambda: not lives(child))


# A fleet

MISSING = 'Ray is missing: pip install "sphinx_ros[fleet]"'


@pytest.mark.filterwarnings("ignore")  # Ray's own, of pydantic
def test_a_refusal_keeps_its_fields_between_processes():
    pytest.importorskip("ray", reason=MISSING)
    from sphinx_ros.serve.replica import refusal, refused

    back = refused(json.loads(json.dumps(refusal(Busy("full", 7)))))
    assert isinstance(back, Busy) and back.retry_after == 7 and str(back) == "full"
    assert refused(refusal(Busy("full"))).status is Status.BUSY


class Replicas:
    """The handle of a deployment, whose replicas say what they are told to."""

    def __init__(self, *said):
        self.said = said

    def broadcast(self, method):
        return self

    def results(self, **how):
        return self.said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("given", [{"mugs": "runs/mugs"}, None])
def test_adapters_are_known_while_no_replica_answers(given, monkeypatch):
    pytest.importorskip("ray", reason=MISSING)
    from sphinx_ros.serve import fleet

    monkeypatch.setattr(fleet, "PERIOD", 0.01)
    ready = Report("a", Health("ready", "", "small", "cpu", ("mugs",)), {})
    replicas = Replicas(*([ready] if given is None else []))
    backend = fleet.FleetBackend(replicas, Limits(), "small", adapters=given)
    replicas.said = ()
    until(lambda: backend.health().state == "loading")
    work = Work("8c1f", model="mugs")
    assert asking(work, backend.health(), lenient=True) == work, "it is not the base model's"
    backend.close()


@pytest.mark.filterwarnings("ignore")
def test_a_door_that_has_heard_no_replica_does_not_guess_which_model_is_meant():
    pytest.importorskip("ray", reason=MISSING)
    from sphinx_ros.serve.fleet import FleetBackend

    backend = FleetBackend(Replicas(), Limits(), "small")

    async def asked():
        await anext(backend.do(asking(Work("8c1f", model="mugs"), backend.health(), lenient=True)))

    with pytest.raises(NoModel, match="no replica has said yet"):
        asyncio.run(asked())
    backend.close()


class Handle:
    """What Ray gives of a deployment: one after another is asked, each tells lists of events."""

    def __init__(self, *replicas):
        self.replicas, self.do = [*replicas], self

    def options(self, **_):
        return self

    def remote(self, *_):
        return Bunches(self.replicas.pop(0))


class Bunches:
    def __init__(self, told):
        self.told = iter(told)

    async def __anext__(self):
        for bunch in self.told:
            return bunch
        raise StopAsyncIteration

    def cancel(self):
        pass


LOOK = {"type": "look", "picture": "", "width": 8, "height": 8, "cached": False, "look_ms": 1.0}


def finished(number, result):
    return event_to_json(Finished(result, number), Task.CAPTION)


def told_of(*replicas):
    """The events of a work with two questions, by replicas that tell so."""
    from sphinx_ros.serve.fleet import FleetBackend

    async def all_of(backend):
        return [event async for event in backend.do(work)]

    work = Work(PICTURES[0], b"x", (Query(Task.CAPTION), Query(Task.CAPTION)))
    backend = FleetBackend(Handle(*replicas), Limits(), "demo", adapters=())
    try:
        return asyncio.run(all_of(backend))
    finally:
        backend.close()


@pytest.mark.filterwarnings("ignore")
def test_what_a_replica_that_is_to_end_leaves_is_asked_of_another_one():
    pytest.importorskip("ray", reason=MISSING)
    from sphinx_ros.serve.replica import refusal

    ends = SphinxError("it ends", status=Status.NOT_ACTIVE)
    yes, late = (Answer(text, raw_text=text) for text in ("yes", "late"))
    leaves = [[LOOK, finished(0, ends), finished(1, yes)]]
    answers = [[LOOK, finished(0, yes), finished(1, late)]]
    for several in ([leaves, answers], [[[refusal(ends)]], leaves, answers]):
        look, *rest = told_of(*several)
        texts = {event["number"]: event["answer"]["text"] for event in rest}
        assert look == LOOK and len(rest) == 2 and texts == {0: "yes", 1: "yes"}
    with pytest.raises(SphinxError, match="it ends") as ended:
        told_of(*[[[refusal(ends)]]] * 4)
    assert ended.value.status is Status.NOT_ACTIVE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_told_at_once(address):
    """Ray tries for ten minutes, and says nothing meanwhile."""
    pytest.importorskip("ray", reason=MISSING)
    from sphinx_ros.serve.fleet_start import Fleet, fleet_of

    with pytest.raises(SphinxError, match=f"no Ray cluster answers at {address}: .") as ended:
        with fleet_of(Fleet(1, 1, address=address), "demo", {}, Limits()):
            pass
    assert ended.value.status is Status.NOT_ACTIVE


class Served:
    """A server, and who asks it."""

    def __init__(self, log):
        words = ["--replicas", "2", "--replica-cpus", "1", "--port", "0"]
        words += ["--drain", f"{PATIENCE:g}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)  # Ray's processes must find the checkout without it
        command = [sys.executable, "-m", "sphinx_ros", "serve", *words]
        self.process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, cwd=ROOT)
        self.address = patience.until(lambda: self.printed(log.name), 2 * PATIENCE)
        assert self.address, Path(log.name).read_text()
        import httpx

        self.client = httpx.Client(base_url=self.address, timeout=PATIENCE)

    def printed(self, log):
        assert self.process.poll() is None, Path(log).read_text()
        found = re.search(r"serving demo by 2 replicas on (\S+) ", Path(log).read_text())
        return found and found[1]

    def ask(self, queries, jpeg=None, **more):
        headers = JPEG if jpeg else None
        params = {"query": queries, **more}
        answer = self.client.post("/v1/answer", params=params, content=jpeg, headers=headers)
        return answer.status_code, answer.json()

    def events(self, jpeg):
        """Each event of a long stream."""
        params = {"query": LONG, "stream": "true"}
        with self.client.stream(
            "POST", "/v1/answer", params=params, content=jpeg, headers=JPEG
        ) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])

    def figures(self):
        """Those of all replicas, which are asked every two seconds."""
        page = self.client.get("/metrics").text
        return {
            name: float(value)
            for name, value in re.findall(r"^sphinx_([a-z]+?)(?:_total)? (\S+)$", page, re.M)
        }

    def settled(self, **wanted):
        """Wait until figures are so, and return all."""

        def so():
            figures = self.figures()
            return figures if all(figures[one] == value for one, value in wanted.items()) else None

        return until(so)

    def steady(self):
        """Wait until all replicas have told all that was done, and nothing is under way."""
        last, since = None, time.monotonic()
        while (now := self.settled(running=0)) != last or time.monotonic() - since < 6:
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.2)
        return now

    def model_of(self, jpeg):
        """The process that answers about a picture."""
        names = {pid: Path(f"/proc/{pid}/cmdline") for pid in descendants(self.process.pid)}
        models = [pid for pid, name in names.items() if b":sphinx:replica" in name.read_bytes()]
        before = {pid: spent(pid) for pid in models}
        self.ask(LONG, jpeg)
        return max(models, key=lambda pid: spent(pid) - before[pid])


def spent(pid):
    """Ticks of a processor that a process has used."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    pytest.importorskip("ray", reason=MISSING)
    with open(tmp_path_factory.mktemp("fleet") / "log", "w") as log:
        served = Served(log)
        yield served
        served.client.close()
        served.process.send_signal(signal.SIGINT)
        served.process.wait(2 * PATIENCE)


@pytest.fixture(scope="module")
def clip():
    from sphinx_ros.world.clip import read_clip

    return [jpeg for _, jpeg, _ in read_clip()]


@pytest.fixture(scope="module")
def jpegs(clip):
    return clip[:: len(clip) // 10][:10]


@pytest.mark.demo
def test_a_picture_is_looked_at_by_one_replica_once(served, jpegs):
    with ThreadPoolExecutor(4) as several:
        for query in "detect: mug", "detect: ball", "detect: cube":
            said = list(several.map(served.ask, [query] * len(jpegs), jpegs))
            assert {http for http, _ in said} == {200}
            assert {one["cached"] for _, one in said} == {query != "detect: mug"}
    figures = served.settled(questions=30)
    assert (figures["looks"], figures["hits"], figures["replicas"]) == (10, 20, 2)
    again = served.ask("pose", picture=picture_id(jpegs[0]))
    assert again[0] == 200 and again[1]["cached"]


@pytest.mark.demo
def test_answers_are_those_of_the_model_here(served, jpegs):
    from sphinx_ros import Sphinx
    from sphinx_ros.image.formats import decode_file
    from sphinx_ros.remote.wire import answer_from_json

    seen = Sphinx.from_pretrained("demo", device="cpu").look(decode_file(jpegs[0]))
    queries = ["detect: cube", "pose", "caption"]
    _, said = served.ask(queries, jpegs[0])
    for there, here in zip(said["answers"], seen.answer(queries), strict=True):
        got = answer_from_json(there)
        assert got.raw_text == here.raw_text and got.status is here.status
        for one, other in zip(got.detections, here.detections, strict=True):
            assert one.box == pytest.approx(other.box, abs=0.01)  # other sizes of batches
            assert one.score == pytest.approx(other.score, abs=1e-3)


@pytest.mark.demo
def test_pictures_of_a_camera_are_looked_at_where_the_one_before_was(served, clip):
    before: dict[str, str] = {}
    for jpeg in clip[1:6]:
        answer = served.ask("detect: cube", jpeg, **before)[1]["answers"][0]
        assert (answer["cost"]["accepted"] > 0) == bool(before)
        before = {"after": picture_id(jpeg)}


@pytest.mark.demo
def test_what_cannot_be_begun_is_named(served):
    assert served.ask("pose", picture="0" * 32)[1]["error"]["code"] == "NO_IMAGE"
    assert served.ask("pose", b"no picture")[1]["error"]["code"] == "BAD_IMAGE"


@pytest.mark.demo
def test_a_client_that_goes_away_frees_its_slot(served, jpegs):
    before = served.steady()["tokens"]
    events = served.events(jpegs[1])
    assert next(events)["type"] == "look"
    events.close()
    after = served.steady()["tokens"]
    _, said = served.ask(LONG, jpegs[1])
    assert after - before < sum(one["tokens"] for one in said["answers"])


@pytest.mark.demo
def test_a_replica_that_is_killed_under_load(served, jpegs):
    victim = served.model_of(jpegs[0])
    streams, replies, stop = [[] for _ in jpegs], [], threading.Event()

    def stream(number):
        for event in served.events(jpegs[number]):
            streams[number].append(event)

    def load(first):
        for number in range(first, 10_000):
            if stop.is_set():
                return
            replies.append(served.ask(ASKED[number % len(ASKED)], jpegs[number % len(jpegs)]))

    threads = [threading.Thread(target=stream, args=[number]) for number in range(len(jpegs))]
    threads += [threading.Thread(target=load, args=[first]) for first in (0, 5)]
    for thread in threads:
        thread.start()
    until(lambda: any(event["type"] == "piece" for event in streams[0]))
    os.kill(victim, signal.SIGKILL)
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert {http for http, _ in replies} == {200}
    ended = [
        [one["answer"]["status"] for one in each if one["type"] == "finished"] for each in streams
    ]
    assert {len(each) for each in ended} == {len(LONG)}
    assert {one for each in ended for one in each} <= {"OK", "NOT_FOUND", "INTERNAL"}
    assert "INTERNAL" in ended[0]  # a part of it was told
    assert {served.ask("pose", picture=picture_id(jpeg))[0] for jpeg in jpegs} == {200}


@pytest.mark.demo
def test_at_the_end_what_was_begun_is_finished_and_nothing_is_left(served, jpegs):
    started = descendants(served.process.pid)
    events = served.events(jpegs[2])
    next(events)
    served.process.send_signal(signal.SIGINT)
    finished = [one for one in events if one["type"] == "finished"]
    assert len(finished) == len(LONG)
    assert {one["answer"]["status"] for one in finished} <= {"OK", "NOT_FOUND"}
    assert served.process.wait(2 * PATIENCE) == 0
    assert not [pid for pid in started if lives(pid)]
