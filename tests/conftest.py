"""Networks that several files of tests ask."""

import pytest
from small_network import random_checkpoint, taught_checkpoint

from sphinx_ros import Sphinx


@pytest.fixture(scope="module")
def taught():
    """A small network that knows a dozen answers."""
    return Sphinx.from_pretrained(taught_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def random_one():
    """A small network of random numbers, which writes whatever it does at any length."""
    return Sphinx.from_pretrained(random_checkpoint(), device="cpu")
