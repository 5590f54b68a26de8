"""A library that an extra brings and that is not there: what is said of it."""

import importlib

import pytest

from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.extras import extra
from sphinx_ros.world.render import _mujoco


def test_what_is_missing_is_said_with_its_remedy():
    with pytest.raises(BadRequest) as caught, extra("serve", "the page", "set web_port to 0"):
        import no_such_library  # noqa: F401
    said = "the page can't be used (No module named 'no_such_library'): "
    assert str(caught.value) == said + 'pip install "sphinx_ros[serve]", or set web_port to 0'


def test_a_library_of_another_version_is_no_missing_one():
    with pytest.raises(BadRequest, match="cannot import name 'no_such_name'"), extra("x", "this"):
        from json import no_such_name  # noqa: F401


def test_what_this_package_lacks_itself_is_a_defect():
    with pytest.raises(ModuleNotFoundError), extra("serve", "the page"):
        import sphinx_ros.no_such_module  # noqa: F401


def test_the_simulated_tabletop_says_what_is_missing(monkeypatch):
    """PyOpenGL without libEGL raises whatever its first use of it gives."""

    def without(name):
        if name == "triton":
            raise ImportError(name)
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(BadRequest, match="eglQueryString.*apt install libegl1"):
        _mujoco.__wrapped__()
