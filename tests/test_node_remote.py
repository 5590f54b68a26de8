"""The node whose model is on a server: no torch, the same statuses, its loss and return."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import PATIENCE, until
from remote_support import Hand, busy, free_port
from ros_support import Client, process
from serve_support import served

from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.health import reports
from sphinx_ros.ros.loader import load_sphinx
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.state import State
from sphinx_ros.tasks import Task

pytestmark = pytest.mark.usefixtures("apart")

ASK = Query(Task.ASK, "how many?")


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def make(nodes):
    """A node that asks servers, begun."""

    def build(server, **values):
        node = nodes.make(lambda config, tell: load_sphinx(config, tell), server=server, **values)
        node.begin()
        return node

    return build


def ready(node):
    """Whether it takes requests."""
    return node.worker.state is State.READY and node.worker.life.working


def frame(number=0):
    """A picture of a request."""
    rgb = np.full((48, 64, 3), number, np.uint8)
    return Frame(lambda: rgb, time.time(), time.time(), own=True)


def asked(node, number=0, seconds=PATIENCE, **options):
    """What a request with a picture of its own is answered."""
    return node.worker.result(node.worker.submit(ASK, frame(number), seconds, **options))


def facts(node):
    """What /diagnostics says of the model: the level, the sentence, values by name."""
    status = reports("/sphinx", node)[0]
    return status.level, status.message, {pair.key: pair.value for pair in status.values}


def test_requests_are_answered_by_the_server(make, hand):
    with served(hand) as address:
        node = make(address)
        assert until(lambda: ready(node))
        texts = []
        outcome = asked(node, on_text=texts.append)
        assert outcome.status is Status.OK and outcome.result.text == "one two"
        assert texts == ["one", "one two"] and outcome.times.query_ms == 3.0
        _, _, said = facts(node)
        assert (said["server"], said["checkpoint"]) == (address, "hand")
        assert (
            said[f"server {address}"] == "reachable" and said[f"server {address} uploads"] == "1"
        )
        assert until(lambda: f"server {address} round trip p50 / p95" in facts(node)[2])


def test_standing_queries_bring_each_picture_once(make, hand):
    with served(hand) as address:
        node = make(address, queries=["caption", "pose", "ask: how many?"])
        assert until(lambda: ready(node))
        for number in range(3):
            rgb = np.full((48, 64, 3), number, np.uint8)
            stamp = node.now()
            node.worker.inbox.offer(Frame(lambda rgb=rgb: rgb, stamp, stamp))
            assert until(lambda number=number: len(hand.works) > number)
        assert [len(work.queries) for work in hand.works] == [3] * 3
        assert len(hand.sent) == 3


def test_no_server_is_there_at_the_start(make, hand):
    port = free_port()
    node = make(f"http://127.0.0.1:{port}")
    assert until(lambda: node.lifecycle_state == "active")
    assert node.worker.state is State.LOADING
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "connection refused" in outcome.text
    level, sentence, _ = facts(node)
    assert level == m.DiagnosticStatus.ERROR and "can't be reached" in sentence
    with served(hand, port=port):
        assert until(lambda: ready(node))
        assert asked(node).status is Status.OK and facts(node)[2]["checkpoint"] == "hand"


def test_a_server_whose_model_is_loading(make, hand):
    hand.state = "loading"
    with served(hand) as address:
        node = make(address)
        assert until(lambda: node.worker.trouble)
        outcome = asked(node)
        assert outcome.status is Status.NOT_ACTIVE and "is loading" in outcome.text
        hand.state = "ready"
        assert until(lambda: ready(node))
        assert asked(node).status is Status.OK


def test_a_server_that_is_lost_is_noticed_unasked_and_taken_back(make, hand):
    with served(hand) as address:
        node = make(address)
        assert until(lambda: ready(node))
        assert asked(node).status is Status.OK
    assert until(lambda: node.worker.state is State.LOADING)
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "can't be reached" in outcome.text
    with served(hand, port=int(address.rpartition(":")[2])):
        assert until(lambda: ready(node))
        assert asked(node).status is Status.OK
    assert node.lifecycle_state == "active"


def test_a_slow_server_and_a_cancel(make, hand):
    with served(hand) as address:
        node = make(address)
        assert until(lambda: ready(node))
        hand.go.clear()
        outcome = asked(node, seconds=1.0)
        assert outcome.status is Status.TIMEOUT and outcome.raw_text == "one"
        assert until(lambda: hand.gone == 1), "the work on the server has ended"
        job = node.worker.submit(ASK, frame(), PATIENCE)
        assert until(lambda: len(hand.works) == 2)
        node.worker.cancel(job)
        assert node.worker.result(job).status is Status.CANCELLED
        assert until(lambda: hand.gone == 2)
        hand.go.set()
        assert node.worker.state is State.READY


def test_a_server_that_refuses(make, hand):
    with served(hand) as address:
        node = make(address)
        assert until(lambda: ready(node))
        hand.refuse = [busy(2 * PATIENCE)]
        outcome = asked(node)
        assert outcome.status is Status.BUSY and "too many requests" in outcome.text
        assert asked(node).status is Status.OK


def test_another_server_is_asked_after_a_cleanup(make, hand):
    other = Hand()
    with served(hand) as address, served(other) as second:
        node = make(address)
        assert until(lambda: node.lifecycle_state == "active")
        for step in ("deactivate", "cleanup"):
            getattr(node, f"trigger_{step}")()
        from rclpy.parameter import Parameter

        (done,) = node.set_parameters([Parameter("server", value=second)])
        assert done.successful, done.reason
        node.trigger_configure()
        node.trigger_activate()
        assert asked(node).status is Status.OK and len(other.works) == 1


def test_an_address_that_is_none_is_refused(make):
    with pytest.raises(ValueError, match="parameter server: .* http://HOST:PORT"):
        make("gpu-box")


NOT_THERE = ("torch", "sentencepiece", "huggingface_hub", "safetensors", "filelock", "fastapi")


def test_the_node_runs_where_no_torch_is_installed(hand, tmp_path, monkeypatch):
    """Modules of these names that can't be imported stand for what is not installed."""
    for name in NOT_THERE:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "log"
    with served(hand) as address:
        words = ["-r", "__node:=thin", "-p", f"server:={address}"]
        with process("sphinx_ros.ros.node", *words, log=log) as node:
            client = Client(target="thin")
            image = m.image_message(np.zeros((48, 64, 3), np.uint8), m.Header())

            def answer():
                result = client.ask(question="how many?", image=image)
                return None if result.status.code == Status.NOT_ACTIVE else result

            result = until(answer)
            maps = Path(f"/proc/{node.pid}/maps").read_text()
            client.close()
    assert result.status.code == Status.OK and result.text == "one two", log.read_text()
    assert "cv2" in maps, "this looks at the right process"
    assert "libtorch" not in maps and "sentencepiece" not in maps
