"""Answers to clients that the middleware has not discovered yet."""

import logging
import threading
import time
import warnings
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import until
from rclpy.service import Service
from ros_support import Client

from sphinx_ros.errors import Status
from sphinx_ros.ros import late_clients
from sphinx_ros.types import Answer

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("apart")]

WARNING = "failed to send response (timeout): client will not receive response"


class Talker:
    """A model that always says the same."""

    def look(self, rgb):
        return self

    def ask(self, text, **options):
        return Answer("two", raw_text="two", tokens=1)


class Deaf:
    """Stands before rclpy's own sending: the first answers of each service go nowhere."""

    def __init__(self, lost: int):
        self.lost, self.tries = lost, {}

    def on(self, monkeypatch, names: str) -> "Deaf":
        """names: the end of the services' names that are meant."""
        plain = Service.send_response

        def send(service, response, header):
            name = service.service_name
            done = self.tries[name] = self.tries.get(name, 0) + 1
            if name.endswith(names) and done <= self.lost:
                warnings.warn(WARNING, RuntimeWarning, stacklevel=2)
            else:
                plain(service, response, header)

        monkeypatch.setattr(Service, "send_response", send)
        return self


def quickly(monkeypatch):
    monkeypatch.setattr(late_clients, "PAUSES", (0.01, 0.01))
    monkeypatch.setattr(late_clients, "REST", 0.01)


def over():
    """Whether nothing waits to be sent again."""
    return not [one for one in threading.enumerate() if one.name == "send again"]


@pytest.fixture
def made(nodes):
    def make():
        node = nodes.make(lambda *_: Talker(), "/late")
        node.begin()
        assert until(lambda: node.lifecycle_state == "active")
        return node

    return make


def test_rclpy_says_it_in_the_words_that_are_listened_for():
    from rclpy.impl.implementation_singleton import rclpy_implementation

    assert late_clients.UNDELIVERED.encode() in Path(rclpy_implementation.__file__).read_bytes()
    assert WARNING.startswith(late_clients.UNDELIVERED)


def test_an_answer_that_nobody_heard_is_sent_again(made, monkeypatch):
    deaf = Deaf(3).on(monkeypatch, "/ask")
    made()
    client = Client("late", "late/sphinx")
    try:
        answer = client.ask(question="how many?")
    finally:
        client.close()
    assert answer.status.code in (Status.OK, Status.NO_IMAGE)
    assert deaf.tries["/late/sphinx/ask"] == 4


def test_lifecycle_and_parameters_are_answered_again_as_well(made, monkeypatch):
    from lifecycle_msgs.srv import GetState

    deaf = Deaf(1).on(monkeypatch, "")
    made()
    client = Client("late", "late/sphinx")
    try:
        assert client.call("get_state", GetState).current_state.label == "active"
    finally:
        client.close()
    assert (
        deaf.tries["/late/sphinx/get_state"] == 2 and "/late/sphinx/get_parameters" in deaf.tries
    )


def test_who_is_never_found_costs_a_line_and_no_thread(monkeypatch, caplog):
    quickly(monkeypatch)
    sent = []

    def send(response, header):
        sent.append(header)
        warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    with caplog.at_level(logging.WARNING, "sphinx_ros"):
        late_clients._send(send, "answer", "client")
        assert until(over)
    assert sent == ["client"] * 3
    assert "an answer was not delivered" in caplog.text


def test_a_crowd_that_is_never_found_takes_one_thread_and_is_bounded(monkeypatch, caplog):
    monkeypatch.setattr(late_clients, "PAUSES", (0.5,))
    monkeypatch.setattr(late_clients, "REST", 0.001)

    def send(response, header):
        warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    with caplog.at_level(logging.WARNING, "sphinx_ros"):
        for number in range(late_clients.WAITING + 20):
            late_clients._send(send, "answer", number)
        threads = [one for one in threading.enumerate() if one.name == "send again"]
        assert len(threads) == 1
        assert until(over)
    assert caplog.text.count("too many clients") >= 20
    assert caplog.text.count("was not found") == late_clients.WAITING


def test_who_is_found_soon_does_not_wait_for_who_is_not(monkeypatch):
    monkeypatch.setattr(late_clients, "REST", 0.01)
    sent = []

    def never(response, header):
        warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    def second(response, header):
        sent.append(time.monotonic())
        if len(sent) == 1:
            warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    monkeypatch.setattr(late_clients, "PAUSES", (3.0,))
    late_clients._send(never, "answer", 1)
    monkeypatch.setattr(late_clients, "PAUSES", (0.1,))
    late_clients._send(second, "answer", 2)
    assert until(lambda: len(sent) == 2) and sent[1] - sent[0] < 2.5
    assert until(over)


def test_who_ignores_warnings_for_a_while_changes_nothing():
    def send(response, header):
        warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not late_clients._sent(send, None, None)
    assert not late_clients._sent(send, None, None), "each time, not once per place"
    assert not late_clients._sent(send, None, None)


def test_a_service_that_is_gone_ends_the_tries(monkeypatch):
    quickly(monkeypatch)
    sent = []

    def send(response, header):
        sent.append(header)
        if len(sent) > 1:
            raise RuntimeError("destroyed")
        warnings.warn(WARNING, RuntimeWarning, stacklevel=2)

    late_clients._send(send, "answer", "client")
    assert until(over)
    assert len(sent) == 2


def test_other_warnings_are_shown_and_other_threads_not_confused(monkeypatch):
    seen = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest: seen.append(str(message)))
    late_clients._listen()
    told = threading.Thread(target=warnings.warn, args=(WARNING, RuntimeWarning))

    def send(response, header):
        told.start()
        told.join()
        warnings.warn("something else", UserWarning, stacklevel=2)

    assert late_clients._sent(send, None, None), "another thread's answer was lost, not this one"
    assert seen == ["something else"]


def test_our_clients_ask_until_they_are_heard(made, monkeypatch):
    deaf = Deaf(2).on(monkeypatch, "/get_parameters")
    monkeypatch.setattr(late_clients, "send_again", lambda node: None)
    monkeypatch.setattr("sphinx_ros.ros.node.send_again", lambda node: None)
    made()
    client = Client("late", "late/sphinx")
    try:
        client.meet()
        assert deaf.tries["/late/sphinx/get_parameters"] >= 3
        begun = time.monotonic()
        assert not late_clients.meet(client.node, "/nobody", client.until, 0.3)
        assert time.monotonic() - begun >= 0.3
    finally:
        client.close()
