"""Goals whose clients have gone: nobody can hear of their results."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import until
from ros_support import Client, find

from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.types import Answer

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("apart")]


class Slow:
    """Answers when it may, or when nobody wants it any more."""

    def __init__(self):
        self.asked, self.go = [], threading.Event()

    def look(self, rgb):
        return self

    def ask(self, text, *, cancel, **options):
        self.asked.append(text)
        while not self.go.is_set() and not cancel():
            time.sleep(0.005)
        return Answer("two", raw_text="two", tokens=1)


@pytest.fixture
def slow():
    model = Slow()
    yield model
    model.go.set()


@pytest.fixture
def node(nodes, slow):
    made = nodes.make(lambda *_: slow, "/goals")
    made.begin()
    assert until(lambda: made.lifecycle_state == "active")
    return made


def send(client, text):
    """A goal on its way, and the action's client, which holds it."""
    from rclpy.action import ActionClient

    action = ActionClient(client.node, m.QueryAction, "/goals/sphinx/query")
    find(action)
    goal = m.QueryAction.Goal(query=m.QueryMessage(task=m.QueryMessage.ASK, text=text))
    header = m.Header(stamp=client.node.get_clock().now().to_msg())
    goal.image = m.Image(header=header, width=2, height=1, step=6, encoding="rgb8", data=bytes(6))
    goal.timeout = 60.0
    return action, client.finish(action.send_goal_async(goal))


def test_a_goal_whose_client_has_gone_is_cancelled(node, slow):
    client = Client("leaving")
    action, handle = send(client, "who?")
    assert handle.accepted and until(lambda: slow.asked == ["who?"])
    assert not until(lambda: node.worker.counts["CANCELLED"], 1.5), "it is still there"
    action.destroy()
    client.close()
    assert until(lambda: node.worker.counts["CANCELLED"] == 1), "it ran on for nobody"
    assert until(lambda: not node.worker.inbox.in_hand)


def test_goals_of_others_go_on(node, slow):
    stays, leaves = Client("stays"), Client("leaves")
    kept, handle = send(stays, "mine?")
    action, _ = send(leaves, "yours?")
    assert until(lambda: len(slow.asked) == 2)
    action.destroy()
    leaves.close()
    assert not until(lambda: node.worker.counts["CANCELLED"], 1.5), "rclpy can't tell whose it is"
    result = handle.get_result_async()
    slow.go.set()
    assert stays.finish(result).result.answer.status.code == Status.OK
    kept.destroy()
    stays.close()
