"""A node driven as Nav2's lifecycle manager drives it: its services, in that order.

The order, the waits and the checks after each step are those of `nav2_lifecycle_manager`, read at
its main branch of August 2026: a transition is waited for without an end, then `get_state` has to
name the state it leads to. The manager itself is C++ and is not run here.
"""

import threading

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from patience import until
from ros_support import Client

from sphinx_ros.errors import CheckpointError
from sphinx_ros.ros.state import State as Worked
from sphinx_ros.types import Answer

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("apart")]

LEADS_TO = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: State.PRIMARY_STATE_FINALIZED,
}
STARTUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
RESET = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


class Manager:
    """What the manager does to one node."""

    def __init__(self, node: str):
        self._client = Client("manager", node)

    def step(self, transition: int) -> bool:
        """One transition; true where the node says so and is in the state it leads to."""
        request = Transition(id=transition)
        if not self._client.call("change_state", ChangeState, transition=request).success:
            return False
        return self._client.call("get_state", GetState).current_state.id == LEADS_TO[transition]

    def steps(self, *transitions: int) -> bool:
        """Some transitions, up to the first that fails."""
        return all(self.step(transition) for transition in transitions)

    def close(self) -> None:
        self._client.close()


class Model:
    """Answers at once."""

    def look(self, rgb):
        return self

    def ask(self, text, *, cancel, **options):
        cancel()
        return Answer("two", raw_text="two", tokens=1)


@pytest.fixture
def managed(nodes):
    """(node, manager, what the loads to come are to do) of a node that waits for its manager."""
    loads: list = []

    def factory(config, progress):
        step = loads.pop(0) if loads else Model()
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    node = nodes.make(factory, "/managed", autostart=False)
    node.begin()
    manager = Manager("managed/sphinx")
    yield node, manager, loads
    manager.close()


def test_startup_pause_resume_reset_and_shutdown(managed):
    node, manager, _ = managed
    assert manager.steps(*STARTUP) and node.worker.state is Worked.READY
    assert manager.step(Transition.TRANSITION_DEACTIVATE)  # pause
    assert manager.step(Transition.TRANSITION_ACTIVATE)  # resume
    assert manager.steps(*RESET)
    assert manager.steps(*STARTUP) and node.worker.state is Worked.READY
    assert manager.steps(*RESET, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert node.lifecycle_state == "finalized"


def test_a_startup_that_fails_can_be_tried_again(managed):
    node, manager, loads = managed
    loads.append(CheckpointError("no such folder"))
    assert not manager.steps(*STARTUP)
    assert node.lifecycle_state == "unconfigured"
    assert manager.steps(*STARTUP) and node.worker.state is Worked.READY


def test_a_long_load_is_waited_for(managed):
    node, manager, loads = managed
    go = threading.Event()

    def slowly():
        go.wait()
        return Model()

    loads.append(slowly)
    done: list[bool] = []
    starting = threading.Thread(target=lambda: done.append(manager.steps(*STARTUP)), daemon=True)
    starting.start()
    assert until(lambda: node.lifecycle_state == "configuring")
    other = Client("other", "managed/sphinx")
    state = other.call("get_state", GetState).current_state
    assert state.id == State.TRANSITION_STATE_CONFIGURING and not done
    other.close()
    go.set()
    assert until(lambda: done) and done == [True]
