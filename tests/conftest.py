"""What several files of tests use: networks that are asked, and ROS kept apart from all else."""

import signal

import pytest
from small_network import random_checkpoint, taught_checkpoint

from sphinx_ros import Sphinx


def pytest_configure():
    """Let tests send Ctrl-C to what they start, also where a shell without job control has put all
    in the background: there it is ignored, and child processes inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def taught():
    """A small network that knows a dozen answers."""
    return Sphinx.from_pretrained(taught_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def random_one():
    """A small network of random numbers, which writes whatever it does at any length."""
    return Sphinx.from_pretrained(random_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def apart():
    """This process in the tests' own ROS domain."""
    import ros_support

    with ros_support.apart():
        yield


@pytest.fixture(scope="module")
def context():
    """An rclpy context in the tests' own ROS domain."""
    import ros_support

    with ros_support.own_context() as made:
        yield made


@pytest.fixture
def nodes(context):
    """A :class:`ros_support.Nodes`, whose nodes end with the test."""
    import ros_support

    made = ros_support.Nodes(context)
    yield made
    made.close()


@pytest.fixture
def hand():
    """A server in the hand of the test: its backend, and a connection to it."""
    import remote_support

    with remote_support.in_hand() as made:
        yield made
