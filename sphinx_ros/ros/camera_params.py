"""The parameters of the simulated camera, as rows. Knows no ROS and no OpenGL."""

from __future__ import annotations

from sphinx_ros.ros.parameter_row import Parameter, When
from sphinx_ros.world.camera_facts import SIDES

SOURCES = ("auto", "world", "clip")
"""Where its pictures come from."""

LEAST, MOST = SIDES

TABLE = (
    Parameter(
        "source",
        "auto",
        "world: a simulated tabletop, needs OpenGL; clip: a recorded one; auto: world where it "
        "can be had, else clip.",
        choices=SOURCES,
        when=When.START,
    ),
    Parameter("seed", 1, "Which tabletop is simulated.", low=0, high=2**31 - 1, when=When.START),
    Parameter(
        "width", 640, "Pixels of the simulated picture.", low=LEAST, high=MOST, when=When.START
    ),
    Parameter(
        "height", 480, "Pixels of the simulated picture.", low=LEAST, high=MOST, when=When.START
    ),
    Parameter("rate", 10.0, "Pictures per second.", low=0.1, high=120.0, when=When.START),
)
