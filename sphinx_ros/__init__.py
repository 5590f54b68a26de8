"""Ask a robot's camera: boxes, keypoints and text answers from SPHINX.

Importing this package is cheap: torch and all else that is heavy load with the first use of
:class:`Sphinx`, and rclpy only under :mod:`sphinx_ros.ros`.
"""

from pkgutil import extend_path

# The generated interfaces (sphinx_ros.msg, .srv, .action) live in the installed package. Started
# from the source checkout, this folder shadows that one; joining both keeps them visible.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

_LAZY = {
    "Sphinx": "sphinx_ros.pipeline",
    "Detection": "sphinx_ros.types",
    "Pose": "sphinx_ros.types",
    "Answer": "sphinx_ros.types",
    "Points": "sphinx_ros.types",
    "Piece": "sphinx_ros.events",
    "Found": "sphinx_ros.events",
    "Finished": "sphinx_ros.events",
    "Status": "sphinx_ros.errors",
    "SphinxError": "sphinx_ros.errors",
}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> object:
    """Load the public names on first use (PEP 562)."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
