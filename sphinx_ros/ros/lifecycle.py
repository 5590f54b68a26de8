"""The transitions of a managed node -> what the worker and the cameras do. Knows no model.

configure loads the model and opens the outputs; activate hears the cameras and takes requests;
deactivate keeps the weights; cleanup gives the memory back. What fails in between leaves a node
that can be configured again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from sphinx_ros.errors import Status
from sphinx_ros.ros.outcomes import name_error
from sphinx_ros.ros.parameter_row import When
from sphinx_ros.ros.running import destroy_waitables

log = logging.getLogger("sphinx_ros")

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

CHANGEABLE = {"unconfigured": When.UNCONFIGURED, "inactive": When.INACTIVE}
"""State -> the parameters that may be changed in it; in the others those of a running node."""


def said(step: Callable[[Any, LifecycleState], Any]) -> Callable[[Any, LifecycleState], Any]:
    """A transition whose error is logged; rclpy alone would take it in silence."""

    def transition(node: Any, state: LifecycleState) -> Any:
        """One transition, to its result. At the node's end there are no more of them."""
        try:
            with node.changing_state:
                return FAILURE if node.ending else step(node, state)
        except Exception as error:
            name, text = name_error(error)
            trace = error if name is Status.INTERNAL else None
            log.error("%s failed: %s: %s", step.__name__, name, text, exc_info=trace)
            node.worker.life.trouble = f"{step.__name__} failed: {text}"
            return ERROR

    return transition


class Managed(LifecycleNodeMixin):
    """The lifecycle of a node that has a worker, and opens and closes its cameras."""

    worker: Any
    web: Any
    cameras: Any
    open_cameras: Any
    close_cameras: Any
    changing_state: threading.RLock
    ending = False

    def manage(self) -> None:
        """Offer the lifecycle's services. A load takes long, so none of them waits for another."""
        self.changing_state = threading.RLock()
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())

    @property
    def lifecycle_state(self) -> str:
        """ "unconfigured", "inactive", "active", "finalized", or the name of a transition."""
        return str(self._state_machine.current_state[1])

    @property
    def changeable(self) -> When:
        """Which parameters may be changed now."""
        return CHANGEABLE.get(self.lifecycle_state, When.RUNNING)

    def autostart(self) -> None:
        """Configure and activate in a thread of its own, as a manager would."""
        threading.Thread(target=self._start_up, name="sphinx-autostart", daemon=True).start()

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> Any:
        """A transition that the state does not have is an ERROR in every rclpy.

        Before Kilted it raises out of the service's callback, and who asked gets no answer.
        """
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)
        except RuntimeError as error:
            log.warning(
                "transition %d in state %s: %s", transition_id, self.lifecycle_state, error
            )
            return ERROR

    def _start_up(self) -> None:
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    @said
    def on_configure(self, state: LifecycleState) -> Any:
        """Open the outputs, load the model, wait for it. A model that can't be loaded: FAILURE.

        One on a server that is away is not waited for: it is there when the server is back.
        """
        self.open_cameras()
        if self.worker.load():
            return SUCCESS
        self.close_cameras()
        return FAILURE

    @said
    def on_activate(self, state: LifecycleState) -> Any:
        """Take requests, hear the cameras."""
        self.worker.work()
        for camera in self.cameras.values():
            camera.listen()
        return SUCCESS

    @said
    def on_deactivate(self, state: LifecycleState) -> Any:
        """Cancel what is under way, hear the cameras no more."""
        self.worker.rest()  # before what is shown is taken down: it may be publishing
        self.web.rest()
        for camera in self.cameras.values():
            camera.unlisten()
        return SUCCESS

    @said
    def on_cleanup(self, state: LifecycleState) -> Any:
        """Let the model go, close the outputs."""
        self.worker.rest()
        self.web.rest()
        self.worker.unload()
        self.close_cameras()  # after the worker: it may be publishing
        return SUCCESS

    @said
    def on_error(self, state: LifecycleState) -> Any:
        """Whatever a transition left behind goes; the node can be configured again."""
        return self.on_cleanup(state)

    @said
    def on_shutdown(self, state: LifecycleState) -> Any:
        """As cleanup; requests are refused from now on."""
        self.worker.life.final = True
        self.worker.rest()
        self.web.rest(1.0)
        self.worker.unload(1.0)
        self.close_cameras()
        return SUCCESS

    def end_transitions(self, seconds: float) -> None:
        """Let no transition begin any more, and wait for the one that goes on; the worker stopped.

        A port that is opened while the node is destroyed keeps its shared memory for good.
        """
        self.ending = True
        if self.changing_state.acquire(timeout=seconds):
            self.changing_state.release()

    def destroy_node(self) -> None:
        """Destroy the node with its action server and its state machine.

        rclpy leaves both to the garbage collector. They hold the node's handle, and that the
        middleware's shared memory; clients still find such a server, which takes no goal.
        """
        destroy_waitables(self)
        self._state_machine.destroy_when_not_in_use()
        super().destroy_node()
