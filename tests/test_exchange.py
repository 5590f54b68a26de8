"""Another adapter for a node that answers: what is under way, what waits, what is refused."""

import threading
import time
from types import SimpleNamespace

import pytest
from test_worker import ASK, HandModel, frame, until

from sphinx_ros.errors import CheckpointError, SphinxError, Status
from sphinx_ros.ros.exchanging import adapt, adapted
from sphinx_ros.ros.params import Config, When, check
from sphinx_ros.ros.worker import State, Worker
from sphinx_ros.types import Answer


class Named(HandModel):
    """Answers with its name."""

    def __init__(self, name="base"):
        super().__init__()
        self.name = name

    def adapt(self, folder):
        if folder is not None and "bad" in str(folder):
            raise CheckpointError(f"{folder} was made for another checkpoint")
        return Named("base" if folder is None else folder.name)

    def look(self, rgb):
        seen = super().look(rgb)
        seen.ask = lambda text, **options: Answer(self.name, raw_text=self._said(seen, options))
        return seen

    def _said(self, seen, options):
        seen._write("", options["cancel"], options["timeout"], None)
        return self.name


@pytest.fixture
def worker():
    made = Worker(Named, config=Config(max_image_age=0.0))  # on a slow machine, too
    made.start()
    assert until(lambda: made.state is State.READY, 60)
    yield made
    made.stop()


def changes(value):
    return [SimpleNamespace(name="checkpoint", value=value)]


def asked(worker):
    return worker.submit(ASK, frame(1, own=True), 60.0)


def test_what_has_begun_ends_with_the_old_weights_and_what_waits_gets_the_new(worker):
    old = worker.model
    old.go.clear()
    begun = [asked(worker) for _ in range(4)]
    assert until(lambda: len(old.asked) == 4, 60), "all threads are busy"
    waiting = [asked(worker) for _ in range(3)]
    assert adapt("demo+/x/new", Config(), worker) == ""
    assert worker.model.name == "new"
    assert not any(job.done for job in (*begun, *waiting)), "nobody waited, nothing was lost"
    old.go.set()
    assert {worker.result(job).raw_text for job in begun} == {"base"}
    assert {worker.result(job).raw_text for job in waiting} == {"new"}
    assert worker.result(asked(worker)).raw_text == "new"


def test_a_camera_s_picture_is_looked_at_anew(worker):
    worker.inbox.offer(frame(3))
    assert worker.result(worker.submit(ASK)).raw_text == "base"
    assert adapt("demo+/x/new", Config(), worker) == ""
    assert worker.result(worker.submit(ASK)).raw_text == "new" and worker.model.looks == 1
    assert adapt("demo", Config(checkpoint="demo+/x/new"), worker) == ""
    assert worker.result(worker.submit(ASK)).raw_text == "base"


def test_a_bad_adapter_leaves_the_old_one(worker):
    reason = adapt("demo+/x/bad", Config(checkpoint="demo+/x/old"), worker)
    assert "/x/bad was made for another checkpoint" in reason
    assert reason.startswith("checkpoint: ") and reason.endswith("goes on with demo+/x/old")
    assert worker.result(asked(worker)).raw_text == "base"


def test_a_model_that_is_let_go_meanwhile_does_not_come_back(worker):
    def make(model):
        worker.unload()
        return Named("late")

    with pytest.raises(SphinxError, match="let go, or loaded anew, meanwhile"):
        worker.exchange(make)
    assert worker.model is None and worker.state is State.UNLOADED
    with pytest.raises(SphinxError, match="no model is loaded") as refused:
        worker.exchange(lambda model: model)
    assert refused.value.status is Status.NOT_ACTIVE


def test_which_change_of_the_checkpoint_needs_no_load(worker):
    here = Config(checkpoint="demo+/x/old")
    for value in ("demo", "demo+/x/new", "demo+/x/old"):
        assert adapted(changes(value), here, worker) == value
        assert not check(changes(value), When.RUNNING, (), ("checkpoint",))
    for value in ("sphinx-1k", "/models/demo+/x/new", None, 3):
        assert adapted(changes(value), here, worker) == ""
    assert adapted([SimpleNamespace(name="active", value=True)], here, worker) == ""
    several = Config(checkpoint="demo", devices=("cuda:0", "cuda:1"))
    away = Config(checkpoint="demo", server="http://box:8000")
    assert adapted(changes("demo+/x/new"), several, worker) == ""
    assert adapted(changes("demo+/x/new"), away, worker) == ""
    refused = check(changes("demo+/x/new"), When.RUNNING)
    assert "while unconfigured" in refused and "cleanup" in refused
    worker.unload()
    assert adapted(changes("demo"), here, worker) == ""


# through DDS


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Name of each checkpoint -> what it answers, loaded by itself."""
    from adapter_support import random_adapter
    from ros_support import clip_pictures

    from sphinx_ros import Sphinx
    from sphinx_ros.checkpoint.names import find

    folder = tmp_path_factory.mktemp("adapters")
    picture = clip_pictures(1)[0][0]
    made = [random_adapter(folder / str(seed), find("demo"), seed) for seed in range(2)]
    names = ("demo", *(f"demo+{one}" for one in made))
    loaded = {name: Sphinx.from_pretrained(name, device="cpu", dtype="float32") for name in names}
    answers = {name: one.look(picture).detect("mug").raw_text for name, one in loaded.items()}
    assert len(set(answers.values())) == 3, answers
    return picture, answers


@pytest.mark.ros
@pytest.mark.usefixtures("apart")
def test_a_stream_of_requests_while_the_adapter_is_changed_ten_times(plain, tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from ros_support import Client, ready_node, set_parameters

    from sphinx_ros.ros import messages as m

    picture, answers = plain
    told, over, failed = [], threading.Event(), []

    def stream(number):
        client = Client(f"asking{number}", "swapped")
        try:
            while not over.is_set():
                image = m.image_message(picture, m.Header(frame_id="camera"))
                begun = time.monotonic()
                result = client.call("detect", m.Detect, label="mug", image=image).result
                told.append((begun, time.monotonic(), result.status.code, result.raw_text))
        except BaseException as error:
            failed.append(error)
        finally:
            client.close()

    names = list(answers)
    order = [names[1 + step % 2] if step % 3 else names[0] for step in range(1, 11)]
    options = ("-p", "checkpoint:=demo", "-p", "default_timeout:=120.0")
    with ready_node("swapped", *options, log=tmp_path / "log"):
        client = Client(target="swapped")
        threads = [threading.Thread(target=stream, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        assert client.until(lambda: len(told) >= 3 or failed, 60)
        steps = [(0.0, 0.0, "demo")]  # when each was asked for and done, and what it was
        for name in order:
            begun = time.monotonic()
            (result,) = set_parameters(client, [("checkpoint", name)])
            assert result.successful, result.reason
            steps.append((begun, time.monotonic(), name))
            seen = len(told)
            client.until(lambda seen=seen: len(told) >= seen + 4 or failed, 60)
        refusals = [
            set_parameters(client, [("checkpoint", value)])[0]
            for value in (f"demo+{tmp_path}", "sphinx-tiny-1k")
        ]
        last = len(told)
        assert client.until(lambda: len(told) >= last + 4 or failed, 60)
        over.set()
        for thread in threads:
            thread.join()
        heard = client.listen(m.DiagnosticArray, "/diagnostics")
        said = f"checkpoint {order[-1]}"
        assert client.until(lambda: any(said in shown(one) for one in heard), 20)
        client.close()
    assert not failed, failed
    missing, foreign = refusals
    assert not missing.successful and "holds no adapter_model.safetensors" in missing.reason
    assert f"goes on with {order[-1]}" in missing.reason
    assert not foreign.successful and "cleanup" in foreign.reason
    assert {code for _, _, code, _ in told} <= {Status.OK.value, Status.NOT_FOUND.value}
    assert {text for *_, text in told} == set(answers.values())
    crossing = judge(told, steps, answers)
    assert crossing, "no request was under way while the weights were changed"


def shown(message) -> str:
    return "\n".join(f"{one.key} {one.value}" for part in message.status for one in part.values)


def judge(told, steps, answers) -> int:
    """Each answer is that of weights which were there while it was asked, and of no others; how
    many were asked across a change.
    """
    crossing = 0
    for begun, ended, _, text in told:
        done = [done for _, done, _ in steps]
        first = max(index for index, at in enumerate(done) if at <= begun)
        last = max(index for index, (asked, _, _) in enumerate(steps) if asked <= ended)
        assert text in {answers[steps[index][2]] for index in range(first, last + 1)}
        crossing += last > first
    return crossing


def test_the_judge_knows_a_late_answer():
    answers, steps = {"demo": "a", "demo+x": "b"}, [(0.0, 0.0, "demo"), (1.0, 2.0, "demo+x")]
    assert judge([(0.5, 1.5, 0, "a"), (0.5, 1.5, 0, "b"), (2.5, 3.0, 0, "b")], steps, answers) == 2
    with pytest.raises(AssertionError):
        judge([(2.5, 3.0, 0, "a")], steps, answers)
    with pytest.raises(AssertionError):
        judge([(0.2, 0.5, 0, "b")], steps, answers)
